"""Result directories with files missing, changed or broken, and disks that take no page."""

import errno
import json
import os
import subprocess
import sys

import pytest

from tfopt import cli
from tfopt.errors import OutputError, SettingError
from tfopt.reporting.saved import read_result


def test_a_result_is_read_and_its_page_drawn_without_tensorflow(make_result):
    folder = make_result("my result")
    code = (
        f"import sys\nfrom tfopt.cli import main\ncode = main(['report', {str(folder)!r}])\n"
        "assert {'tensorflow', 'keras', 'tf_keras'}.isdisjoint(sys.modules)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Wrote {folder / 'report.html'}\n"
    text = (folder / "report.html").read_text()
    assert read_result(folder).sha256 in text and "Optimization report of my result" in text


@pytest.mark.parametrize("name", ["report.json", "recipe.json", "model.tflite"])
def test_a_missing_file_is_named(make_result, name):
    folder = make_result()
    (folder / name).unlink()
    with pytest.raises(SettingError, match=rf"without a readable {name}.*No such file"):
        read_result(folder)


def test_what_is_no_directory_is_said_to_be_none(tmp_path):
    with pytest.raises(SettingError, match="which is no directory"):
        read_result(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("report.json", "{", "no report .Expecting property name"),
        ("report.json", "\xff", "no report"),
        ("report.json", "[]", "no report"),
        ("report.json", "null", "no report"),
        ("report.json", "{}", "no report .it has no 'metric'"),
        ("report.json", "[" * 100_000, "no report"),
        ("recipe.json", "{", "no recipe"),
        ("recipe.json", "[]", "no recipe .it is a JSON list"),
        ("recipe.json", "{}", "no recipe .techniques is None"),
        ("recipe.json", '{"techniques": [3], "target": {}, "seed": 0, "made_from": {}}', "3 is no"),
        (
            "recipe.json",
            '{"techniques": [], "target": {}, "seed": 0, "made_from": {"source": "digits"}}',
            "no recipe .source is 'digits'",
        ),
    ],
)
def test_broken_json_is_named(make_result, name, content, message):
    folder = make_result()
    (folder / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(SettingError, match=rf"{name}', which is {message}|{message}"):
        read_result(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", []),
        ("steps", [{}]),
        ("metric", 3),
        ("budgets", [{"name": "max_bytes", "limit": "x", "spent": 1, "measured": ""}]),
        ("groups", 7),
        ("environment", None),
        ("environment", {"machine": 3}),
        ("layers", [{"layer": "a", "kind": "b", "bytes": "<b>", "parameters": 1, "macs": 1}]),
        ("higher_is_better", 1),
        ("difference", {"value": True, "low": 0.0, "high": 0.0}),
    ],
)
def test_reports_of_other_types_are_refused(make_result, key, value):
    folder = make_result()
    record = json.loads((folder / "report.json").read_text()) | {key: value}
    (folder / "report.json").write_text(json.dumps(record))
    with pytest.raises(SettingError, match=r"report\.json', which is no report"):
        read_result(folder)


@pytest.mark.parametrize("key", ["bytes", "deflated_bytes", "latency_ms"])
def test_a_step_of_nothing_is_refused(make_result, key):
    folder = make_result()
    record = json.loads((folder / "report.json").read_text())
    record["steps"][0][key] = 0
    (folder / "report.json").write_text(json.dumps(record))
    with pytest.raises(SettingError, match="a file or a latency of nothing"):
        read_result(folder)


def test_a_changed_file_is_named_by_both_checksums(make_result, capsys):
    folder = make_result()
    sha256 = read_result(folder).sha256
    (folder / "model.tflite").write_bytes((folder / "model.tflite").read_bytes()[:-1] + b"!")
    assert cli.main(["report", str(folder)]) == 2
    told = capsys.readouterr().err
    assert f"expected {sha256}, as recipe.json names it" in told
    assert "model.tflite' with the SHA-256" in told and "Traceback" not in told
    assert not (folder / "report.html").exists()


def test_a_report_of_another_file_is_refused(make_result):
    folder = make_result()
    record = json.loads((folder / "report.json").read_text())
    record["steps"][-1]["bytes"] += 1
    (folder / "report.json").write_text(json.dumps(record))
    with pytest.raises(SettingError, match=r"as the last step of report\.json says"):
        read_result(folder)


def test_a_full_disk_leaves_the_old_page_whole(make_result, monkeypatch, capsys):
    folder = make_result()
    (folder / "report.html").write_text("the old page")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main(["report", str(folder)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (folder / "report.html").read_text() == "the old page"
    names = {"report.json", "recipe.json", "model.tflite", "report.html"}
    assert {path.name for path in folder.iterdir()} == names


def test_the_page_is_drawn_again_but_no_other_file_replaced(make_result, tmp_path, capsys):
    folder, other = make_result(), tmp_path / "other.html"
    for _ in range(2):
        assert cli.main(["report", str(folder)]) == 0
    other.write_text("my notes")
    assert cli.main(["report", str(folder), f"--output={other}"]) == 2
    assert "which exists" in capsys.readouterr().err and other.read_text() == "my notes"
    assert cli.main(["report", str(folder), f"--output={other}", "--overwrite"]) == 0
    assert other.read_text() == (folder / "report.html").read_text()


def test_a_place_that_cannot_be_written_is_named(make_result, capsys):
    folder = make_result()
    for place in ("/proc/nowhere/report.html", str(folder / "model.tflite" / "report.html")):
        assert cli.main(["report", str(folder), f"--output={place}"]) == 2
        told = capsys.readouterr().err
        assert place in told and "cannot be written" in told
    assert issubclass(OutputError, OSError)
