"""`tfopt ship`, in this process."""

from pathlib import Path

import numpy as np
import pytest

from tfopt import cli

RESULT = Path(__file__).parents[2] / "tflite_models" / "digits_cnn_int8"


def run(capsys, *arguments):
    code = cli.main(["ship", str(RESULT), *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_ship_writes_a_folder(tmp_path, capsys):
    labels, samples = tmp_path / "names.txt", tmp_path / "x.npy"
    labels.write_text("\n".join("abcdefghij"), encoding="utf-8")
    np.save(samples, np.zeros((2, 8, 8, 1), np.float32))
    output = tmp_path / "app"
    arguments = ("--for=android", f"--output={output}", f"--labels={labels}")
    code, out, err = run(capsys, *arguments, "--mean=0", "--std=255", f"--samples={samples}")
    assert code == 0, err
    assert out.startswith(f"Wrote {output}: MediaPipeClassifier.kt, Model.kt, README.md")
    assert (output / "labels.txt").read_text() == "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n"
    assert len(list((output / "examples").glob("*_input_0.bin"))) == 2
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "--overwrite" in err
    assert run(capsys, *arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "no --for"),
        (("--for=phone",), "expected"),
        (("--for=ios",), "no --output"),
        (("--for=ios", "--output=x", "--mean=3"), "both, or none of them"),
        (("--for=ios", "--output=x", "--mean=3", "--std=much"), "expected numbers"),
        (("--for=ios", "--output=x", "--labels=none.txt"), "none.txt"),
        (("--for=ios", "--output=x", f"--samples={__file__}"), "which holds no arrays"),
    ],
)
def test_ship_says_what_is_wrong(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *flags)
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())


def test_labels_have_to_be_text(tmp_path, capsys):
    labels = tmp_path / "names.txt"
    labels.write_bytes(b"caf\xe9\n")
    code, _, err = run(capsys, "--for=ios", f"--output={tmp_path / 'app'}", f"--labels={labels}")
    assert code == 2 and "not in UTF-8" in err
