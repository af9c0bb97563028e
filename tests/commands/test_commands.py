"""Each command does its work, in this process."""

import contextlib
import json
import re
import subprocess
import sys

import pytest
from absl import flags

import tfopt
from tfopt import cli, reproduction
from tfopt.commands.steps import check_steps, define_steps
from tfopt.testing import dense_net, small_cnn


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cnn, int8_file, float_file):
    """A Keras model and two files."""
    directory = tmp_path_factory.mktemp("commands")
    cnn.save(directory / "model.h5")
    dense_net().save(directory / "dense.h5")
    (directory / "int8.tflite").write_bytes(int8_file)
    (directory / "float.tflite").write_bytes(float_file)
    return directory


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_inspect_shows_what_a_file_holds(folder, capsys):
    code, out, _ = run(capsys, "inspect", folder / "int8.tflite")
    assert code == 0
    assert "CONV_2D" in out and "integer only" in out
    code, out, _ = run(capsys, "inspect", folder / "int8.tflite", "--json")
    assert json.loads(out)["integer_only"] is True


def test_inspect_answers_whether_a_file_is_integer_only(folder, capsys):
    assert run(capsys, "inspect", folder / "int8.tflite", "--integer_only")[0] == 0
    assert run(capsys, "inspect", folder / "float.tflite", "--integer_only")[0] == 1


def test_evaluate_prints_the_metric(folder, capsys):
    file = folder / "int8.tflite"
    code, out, _ = run(capsys, "evaluate", file, "--dataset=digits")
    assert code == 0
    assert out.startswith("accuracy 0.") and "359 test samples" in out
    code, out, _ = run(
        capsys, "evaluate", file, "--dataset=digits", "--split=validation",
        "--metric=top_5_accuracy", "--kernels=builtin", "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert (found["metric"], found["split"]) == ("top_5_accuracy", "validation")


def test_evaluate_compares_two_models_sample_by_sample(folder, capsys):
    pair = (folder / "int8.tflite", f"--against={folder / 'float.tflite'}", "--dataset=digits")
    code, out, _ = run(capsys, "evaluate", *pair)
    assert code == 0
    assert "against accuracy 0." in out and "difference " in out and "KL divergence" in out
    assert "samples that only this model gets wrong" in out
    assert re.search(r"^7 +class +\d+", out, re.M)
    code, out, _ = run(capsys, "evaluate", *pair, "--json")
    found = json.loads(out)
    assert found["quality"]["samples"] == found["reference"]["samples"] == 359
    assert len(found["groups"]) == 10 and found["kl"] >= 0


def test_profile_shows_where_the_time_goes(folder, capsys):
    code, out, _ = run(capsys, "profile", folder / "int8.tflite", "--runs=5")
    assert code == 0
    assert "CONV_2D" in out and "XNNPACK" in out and "of the" in out.splitlines()[-1]
    code, out, _ = run(capsys, "profile", folder / "int8.tflite", "--runs=2", "--json")
    assert {op["op"] for op in json.loads(out)["ops"]} >= {"CONV_2D", "SOFTMAX"}
    code, _, err = run(capsys, "profile", folder / "int8.tflite", "--kernels=buildin")
    assert code == 2 and "'builtin' is nearest" in err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--split=tests", "'test' is nearest"),
        ("--metric=acuracy", "'accuracy' is nearest"),
        ("--kernels=buildin", "'builtin' is nearest"),
    ],
)
def test_evaluate_names_the_nearest(folder, capsys, flag, message):
    code, _, err = run(capsys, "evaluate", folder / "int8.tflite", "--dataset=digits", flag)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("metric", ["F1Score", "top_5_accuracy"])
def test_steps_are_measured_by_any_metric_by_name(metric):
    values = flags.FlagValues()
    define_steps(values)
    values(["tfopt", "--dataset=digits", f"--metric={metric}"])
    check_steps(values)


def test_benchmark_times_one_or_several(folder, capsys):
    files = (folder / "int8.tflite", folder / "float.tflite")
    code, out, _ = run(capsys, "benchmark", files[0], "--runs=20")
    assert code == 0
    assert " ms (median" in out
    code, out, _ = run(capsys, "benchmark", *files, "--runs=20")
    assert out.count("ms (median") == 2 and out.startswith(str(files[0]))
    assert f"{files[1]} takes x" in out and f"of the time of {files[0]}" in out
    code, out, _ = run(capsys, "benchmark", *files, "--runs=20", "--json")
    assert [record["runs"] for record in json.loads(out)] == [20, 20]
    code, out, _ = run(capsys, "benchmark", files[0], "--runs=20", "--json")
    assert json.loads(out)["file"] == str(files[0])


def test_convert_writes_a_file_once(folder, capsys, tmp_path):
    output = tmp_path / "new" / "model.tflite"
    arguments = ("convert", folder / "model.h5", f"--output={output}", "--dataset=digits")
    code, out, err = run(capsys, *arguments, "--input_type=uint8")
    assert code == 0, err
    assert out.endswith(f"wrote {output} ({output.stat().st_size:,} bytes, integer only)\n")
    assert re.search(r"^as it is .*0\.\d{4} \[", out, re.M) and "taken" in out
    assert re.search(r"accuracy drops by [+-]0\.\d+ \(95 % interval", out)
    assert tfopt.inspect(output).inputs[0].dtype == "uint8"
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "which exists" in err and "--overwrite" in err
    code, out, _ = run(
        capsys, *arguments[:3], "--numerics=dynamic_range", "--overwrite"
    )  # needs no data
    assert code == 0
    assert not tfopt.inspect(output).integer_only
    assert "integer only" not in out


def test_convert_as_it_is_says_nothing_of_trials(folder, capsys, tmp_path):
    output = tmp_path / "model.tflite"
    arguments = ("convert", folder / "model.h5", f"--output={output}", "--dataset=digits")
    code, out, err = run(capsys, *arguments, "--refine=false")
    assert code == 0, err
    assert out == f"wrote {output} ({output.stat().st_size:,} bytes, integer only)\n"


def test_sensitivity_shows_layers(folder, capsys, tmp_path):
    svg, cache = tmp_path / "drawn.svg", tmp_path / "cache"
    arguments = ("sensitivity", folder / "dense.h5", "--dataset=digits", "--samples=64")
    more = ("--strengths=0.5,0.9", f"--svg={svg}", f"--cache={cache}")
    code, out, _ = run(capsys, *arguments, *more)
    assert code == 0
    assert "hidden (kernel)" in out and "90%" in out
    assert svg.read_text().count("<rect") == 4 and "hidden (kernel)" in svg.read_text()
    code, _, err = run(capsys, *arguments, *more)
    assert code == 2 and "which exists" in err
    code, out, _ = run(capsys, *arguments, *more, "--json", "--overwrite")  # from the cache
    assert json.loads(out)["change"] == "MagnitudePruning"
    assert len(list(cache.iterdir())) == 1
    code, _, err = run(capsys, *arguments, "--strengths=half")
    assert code == 2 and "numbers above 0" in err
    code, _, err = run(capsys, *arguments, "--step=WeightClustering()")
    assert code == 2 and "changes layers one by one" in err


def test_compare_shows_layers(folder, capsys):
    arguments = ("compare", folder / "model.h5", folder / "int8.tflite", "--dataset=digits")
    code, out, err = run(capsys, *arguments, "--samples=20")
    assert code == 0, err
    assert "SQNR dB" in out and "20 samples." in out
    code, out, _ = run(capsys, *arguments, "--json")
    assert {"layer", "sqnr_db", "lost_db"} <= set(json.loads(out)["layers"][0])
    code, _, err = run(capsys, "compare", folder / "model.h5", "--dataset=digits")
    assert code == 2 and "two arguments, MODEL FILE.tflite" in err


def test_convert_needs_data_for_integers(folder, capsys, tmp_path):
    output = tmp_path / "model.tflite"
    code, _, err = run(capsys, "convert", folder / "model.h5", f"--output={output}")
    assert code == 2
    assert "no --dataset" in err
    assert not output.exists()


@pytest.fixture(scope="module")
def result(folder, tmp_path_factory):
    """What `tfopt optimize` wrote."""
    directory = tmp_path_factory.mktemp("optimized") / "result"
    code = cli.main(
        [
            "optimize",
            str(folder / "dense.h5"),
            f"--output={directory}",
            "--dataset=digits",
            "--step=MagnitudePruning(sparsity=0.75, epochs=0.1)",
            "--max_bytes=1_000_000",
        ]
    )
    assert code == 0
    return directory


def test_optimize_saves_a_result(result):
    names = {"model.tflite", "report.json", "report.md", "report.html", "recipe.json"}
    assert names <= {path.name for path in result.iterdir()}
    recipe = tfopt.Recipe.load(result)
    assert recipe.techniques == (tfopt.MagnitudePruning(sparsity=0.75, epochs=0.1),)
    assert recipe.target.max_bytes == 1_000_000


def test_reproduce_says_that_it_comes_out_the_same(result, capsys):
    code, out, err = run(capsys, "reproduce", result)
    assert code == 0, err
    assert out.startswith(f"{result}: the same")


def test_reproduce_says_that_another_file_comes_out(result, capsys, monkeypatch):
    def reproduce(directory, *, data_dir):
        return reproduction.Reproduction(False, "another file came out", b"")

    monkeypatch.setattr(reproduction, "reproduce", reproduce)
    code, out, _ = run(capsys, "reproduce", result)
    assert code == 1
    assert out == f"{result}: another file came out\n"


def test_optimize_keeps_an_earlier_result(result, folder, capsys):
    before = (result / "model.tflite").read_bytes()
    code, _, err = run(
        capsys, "optimize", folder / "model.h5", f"--output={result}", "--dataset=digits"
    )
    assert code == 2
    assert "which exists" in err
    assert (result / "model.tflite").read_bytes() == before


def test_optimize_by_a_recipe_and_a_broken_budget(result, folder, capsys, tmp_path):
    record = json.loads((result / "recipe.json").read_text())
    record |= {"techniques": [], "seed": 5}
    record["target"]["max_bytes"] = 1
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(record))
    arguments = ("optimize", folder / "model.h5", "--dataset=digits", f"--recipe={recipe}")
    output = tmp_path / "result"
    code, out, err = run(capsys, *arguments, f"--output={output}", "--json")
    assert code == 1, err
    assert json.loads(out)["kept"] is False
    assert tfopt.Recipe.load(output).seed == 5
    for flag in ("--seed=1", "--step=QuantizationAware", "--max_bytes=9", "--numerics=int8"):
        code, _, err = run(capsys, *arguments, f"--output={tmp_path / 'other'}", flag)
        assert code == 2
        assert f"{flag.split('=')[0]} and --recipe" in err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--step=MagnitudePrunning(sparsity=0.5)", "'MagnitudePruning' is nearest"),
        ("--step=MagnitudePruning(sparsity=2)", "sparsity=2"),
        ("--step=import os", "the step 'import os'"),
        ("--recipe=nowhere.json", "'nowhere.json'"),
    ],
)
def test_steps_are_checked_before_anything_is_loaded(folder, capsys, tmp_path, flag, message):
    output = tmp_path / "result"
    code, _, err = run(
        capsys, "optimize", folder / "model.h5", "--dataset=mnitz", f"--output={output}", flag
    )
    assert code == 2
    assert message in err
    assert not output.exists()


def test_models_that_are_none_are_explained(capsys, tmp_path):
    (tmp_path / "broken.h5").write_bytes(b"nothing")
    for name in ("missing.keras", "broken.h5"):
        code, _, err = run(
            capsys, "convert", tmp_path / name, f"--output={tmp_path / 'm.tflite'}",
            "--dataset=digits",
        )  # fmt: skip
        assert code == 2
        assert name in err and err.startswith("tfopt: Received")
        assert "Traceback" not in err


def test_data_that_does_not_fit_is_explained(capsys, tmp_path):
    small_cnn((9, 9, 1)).save(tmp_path / "other.h5")
    code, _, err = run(
        capsys, "optimize", tmp_path / "other.h5", "--dataset=digits",
        f"--output={tmp_path / 'result'}",
    )  # fmt: skip
    assert code == 2
    assert "(9, 9, 1)" in err and "(8, 8, 1)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "{}/int8.tflite"], "no --dataset"),
        (["evaluate", "{}/model.h5"], "no --dataset"),
        (["convert", "{}/model.h5", "--output={}/new.tflite"], "no --dataset"),
        (["optimize", "{}/model.h5", "--output={}/new"], "no --dataset"),
        (
            [
                "optimize",
                "{}/model.h5",
                "--output={}/new",
                "--dataset=digits",
                "--step=MagnitudePruning",
                "--step=QuantizationAwar()",
            ],
            "nearest",
        ),
        (
            ["optimize", "{}/model.h5", "--output=/proc/zzz", "--dataset=digits"],
            "the output '/proc/zzz', which cannot be written",
        ),
    ],
)
def test_cheap_checks_come_before_tensorflow(folder, arguments, message):
    words = [word.replace("{}", str(folder)) for word in arguments]
    code = (
        "import sys; from tfopt import cli; code = cli.main(sys.argv[1:]);"
        "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


def test_the_report_is_printed_though_saving_fails(folder, capsys, tmp_path, monkeypatch):
    def fail(self, directory, *, overwrite=False):
        raise OSError("disk full")

    monkeypatch.setattr(tfopt.Result, "save", fail)
    with contextlib.suppress(OSError):
        cli.main(
            ["optimize", str(folder / "model.h5"), "--dataset=digits", f"--output={tmp_path / 'r'}"]
        )
    assert "conversion only" in capsys.readouterr().out


def test_ablate_measures_each_step_alone_then_stacked(folder, capsys):
    steps = ("--step=MagnitudePruning(epochs=0.1)", "--step=WeightClustering(epochs=0.1)")
    code, out, _ = run(
        capsys, "ablate", folder / "dense.h5", "--dataset=digits", *steps, "--json"
    )  # fmt: skip
    names = [step["name"] for step in json.loads(out)["steps"]]
    assert code == 0
    assert names[2:] == [
        "MagnitudePruning alone",
        "WeightClustering alone",
        "MagnitudePruning + WeightClustering",
    ]


def test_ablate_of_nothing_is_refused(folder, capsys):
    code, _, err = run(capsys, "ablate", folder / "dense.h5", "--dataset=digits")
    assert code == 2 and "no --step" in err
