import json
import subprocess
import sys
from pathlib import Path

import pytest

import tfopt

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def parts():
    """The package beside the script; the script itself would hide the package `coverage`."""
    sys.path.append(str(SCRIPTS))
    import coverage_parts
    from coverage_parts import jobs, judging, rows, table

    yield coverage_parts, jobs, judging, rows, table
    sys.path.remove(str(SCRIPTS))


def run(*flags):
    command = [sys.executable, SCRIPTS / "coverage.py", *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_fast_models_are_measured_stored_and_not_measured_again(tmp_path):
    flags = ["--fast", f"--output={tmp_path}", f"--table={tmp_path}/table.md"]
    done = run(*flags, "--rows_per_process=3", "--columns=load,float32,int8,converter int8")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "table.md").read_text()
    assert "| logits | ok | . | . | . | . | ok | ok | . | . | . | . | . | . | ok |" in page
    assert "| regression | ok | . | . | . | . | ok | ok | . | . | . | . | . | . | ok |" in page
    assert "| subclassed_untraceable | refused: ModelError: the model" in page
    assert "models are not measured yet" in page

    stored = tmp_path / "zoo" / "tf_keras" / "logits.json"
    before = stored.read_bytes()
    cells = json.loads(before)["cells"]
    assert cells["int8"]["details"]["integer_only"] is True
    assert 0 < cells["int8"]["details"]["error"]["builtin"] < 0.35
    done = run(*flags, "--columns=load,float32,int8")
    assert done.returncode == 0, done.stderr
    assert stored.read_bytes() == before
    assert "logits" not in done.stdout


def test_an_unknown_model_is_refused(tmp_path):
    done = run("--only=zoo/keras/nothing", f"--output={tmp_path}")
    assert done.returncode == 1
    assert (
        "No model is called 'zoo/keras/nothing'; the first is 'zoo/tf_keras/lenet'" in done.stderr
    )


def test_every_application_is_a_row(parts):
    import keras
    import tf_keras

    _, _, _, rows, _ = parts
    for module in (tf_keras, keras):
        found = {name for name, value in vars(module.applications).items() if callable(value)}
        named = {
            r.model
            for r in rows.all_rows()
            if r.name.startswith(f"applications/{module.__name__}/")
        }
        assert named == found
    sizes = [row.millions for row in rows.all_rows() if row.group == "applications"]
    assert sizes == sorted(sizes)


@pytest.fixture
def a_worker(parts, monkeypatch, tmp_path):
    """Runs rows with a script in the place of a worker."""
    package, jobs, _, rows, _ = parts
    some = [rows.Row("zoo", "keras", name) for name in ("a", "b")]

    def fill(code, **settings):
        script = tmp_path / "worker.py"
        script.write_text(f"import sys, time, os\nfrom pathlib import Path\n{code}")
        plain = subprocess.Popen

        def start(command, **options):
            from_row = command.index("x,y") - 2
            return plain([sys.executable, script, *command[from_row:]], **options)

        monkeypatch.setattr(jobs.subprocess, "Popen", start)
        limits = {"time_limit_s": 60.0} | settings
        plan = jobs.Plan(
            output=tmp_path / "out", columns=("x", "y"), jobs=1, rows_per_process=2,
            memory_gb=4.0, **limits,
        )  # fmt: skip
        jobs.fill_table(some, plan)
        return [package.RowFile(plan.output, row.name).cells for row in some]

    return fill


FILLS = """
from coverage_parts import Cell, RowFile
output, _, columns, *names = sys.argv[1:]
for name in names:
    file = RowFile(Path(output), name)
    for column in columns.split(","):
        if column not in file.cells:
            file.start(column)
            {}
            file.finish(column, Cell("ok"))
"""


def test_a_crash_is_a_cell_and_the_others_are_filled(a_worker):
    first, second = a_worker(FILLS.format("if column == 'x' and name[-1] == 'a': os.abort()"))
    assert (first["x"].status, first["y"].status) == ("crashed", "ok")
    assert first["x"].note.startswith("SIGABRT")
    assert {cell.status for cell in second.values()} == {"ok"}


def test_a_cell_that_takes_too_long_is_one(a_worker, parts, monkeypatch):
    monkeypatch.setattr(parts[1], "_STARTING_S", 5.0)
    hang = FILLS.format("if column == 'y' and name[-1] == 'b': time.sleep(60)")
    first, second = a_worker(hang, time_limit_s=1.0)
    assert second["y"].status == "late"
    assert second["y"].note == "no answer in 1 s"
    assert {first["x"].status, first["y"].status, second["x"].status} == {"ok"}


def test_a_worker_that_cannot_start_ends_the_command(a_worker):
    with pytest.raises(SystemExit, match=r"before its first cell: exit code 1: .*no module"):
        a_worker("raise ImportError('no module')")


def test_wrong_outputs_are_failures(parts):
    import numpy as np

    _, _, judging, _, _ = parts
    ours, theirs = [np.ones((2, 3)) * 1.1], [np.ones((2, 3))]
    assert judging.typical_error(ours, theirs) == pytest.approx(0.1)
    assert judging.largest_error(theirs, theirs) == 0
    with pytest.raises(
        judging.WrongResult, match=r"wrong outputs: the file is off by 0\.1 \(limit 0\.05\)"
    ):
        judging.require_close("the file", judging.typical_error(ours, theirs), 0.05)
    with pytest.raises(judging.WrongResult, match="is off by nan"):
        judging.require_close("the file", float("nan"), 0.05)
    with pytest.raises(judging.WrongResult, match=r"shapes \[\(2, 3\)\] instead of \[\(3, 2\)\]"):
        judging.largest_error(ours, [np.ones((3, 2))])


@pytest.fixture
def a_strict_judge(parts, monkeypatch):
    """A model, and how its int8 file is judged if no error at its outputs is small enough."""
    from coverage_parts import ours
    from coverage_parts.subject import Subject

    monkeypatch.setitem(ours.CLOSE, "int8", 0.0)
    return Subject(parts[3].row_named("zoo/tf_keras/lenet")), ours


def test_rounding_that_adds_up_is_told_from_a_wrong_layer(a_strict_judge, parts, monkeypatch):
    subject, ours = a_strict_judge
    cell = ours.COLUMNS["int8"](subject)
    assert (cell.status, cell.note) == ("ok", "judged layer by layer")

    def convert_another(model, **settings):
        other = tfopt.load_model(model)
        layer = [layer for layer in other.layers if type(layer).__name__ == "Conv2D"][1]
        layer.set_weights([-weight for weight in layer.get_weights()])
        return tfopt.convert(other, **settings)

    monkeypatch.setattr(ours, "convert", convert_another)
    with pytest.raises(parts[2].WrongResult, match="wrong outputs: the int8 file is off by"):
        ours.COLUMNS["int8"](subject)


def test_an_error_of_tfopt_is_a_refusal_and_any_other_a_failure(parts):
    from tfopt.errors import ModelError

    _, _, judging, _, _ = parts
    refused = judging.cell_of_error(ModelError(received="a", expected="b", fix="c"), "trace")
    assert (refused.status, refused.note) == ("refused", "ModelError: a; expected b. Fix: c.")
    failed = judging.cell_of_error(ValueError("first line\nsecond"), "trace")
    assert (failed.status, failed.note) == ("failed", "ValueError: first line")
    assert failed.reason == "ValueError: first line\nsecond\n\ntrace"


def test_the_page_counts_and_shows_cells(parts, tmp_path):
    package, _, _, rows, table = parts
    row = rows.Row("zoo", "keras", "a")
    file = package.RowFile(tmp_path, row.name)
    file.finish("QAT", package.Cell("ok", "2 calibrated"))
    file.finish("QAT int8", package.Cell("partial", "in float: ELU"))
    file.finish("load", package.Cell("failed", "ValueError: x", "ValueError: x\n\ntrace"))
    left = "relu (ReLU): too small\nrelu_1 (ReLU): too small"
    file.finish("save", package.Cell("partial", "2 layers skipped", left))
    page = table.markdown(
        [row, rows.Row("zoo", "keras", "b")], tmp_path, ["load", "QAT", "QAT int8", "save"]
    )
    assert (
        "| a | failed: ValueError: x | ok (2 calibrated) | partial (in float: ELU) | partial"
        in page
    )
    assert "| QAT int8 | 0 | 1 | 0 | 0 | 0 | 0 | 1 | 1 |" in page
    assert "integer-only file on 0 of 1 models (0%)" in page
    assert "1 of 2 models are not measured yet" in page and "in Keras 3: b)" in page
    assert "- load, failed, zoo/keras/a: ValueError: x\n" in page
    assert "- save, partial, zoo/keras/a: (ReLU): too small\n" in page


def test_a_softmax_is_held_against_the_logits_that_it_reads(parts):
    from coverage_parts import ours, rows, subject

    from tfopt.testing import small_cnn
    from tfopt.tflite import schema

    lenet = subject.Subject(rows.row_named("zoo/tf_keras/lenet"))
    model, task = small_cnn(), tfopt.Task.digits()
    lenet.__dict__["task"] = task
    tflite = tfopt.convert(model, task=task, target=tfopt.Target.int8(refine=False))
    layer = tfopt.compare_layers(tflite, model, task=task).layers[-1]
    assert layer.op == "SOFTMAX"
    assert ours._is_softmax_of_what_it_reads(lenet, model, tflite, layer.layer)

    other = schema.unpack(tflite)
    softmax = next(op for op in other.subgraphs[0].operators if hasattr(op.builtinOptions, "beta"))
    softmax.builtinOptions.beta = 0.2
    assert not ours._is_softmax_of_what_it_reads(lenet, model, schema.pack(other), layer.layer)
