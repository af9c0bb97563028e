"""The command line as a user meets it: help, errors, exit codes, pipes."""

import json
import signal
import subprocess
import sys
import time
import warnings

import pytest

import tfopt
from tfopt import cli, commands
from tfopt.commands import inspect
from tfopt.data import DataWarning

HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "tensorflow_datasets"}


@pytest.fixture(scope="module")
def file(int8_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "model.tflite"
    path.write_bytes(int8_file)
    return str(path)


@pytest.mark.parametrize("name", ["", *commands.NAMES])
def test_help_fits_a_screen(name, capsys):
    assert cli.main([*filter(None, [name]), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Usage: tfopt {name}")
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80


def test_help_of_a_command_names_every_flag_with_its_default(capsys):
    assert cli.main(["optimize", "model.keras", "--nonsense", "-h"]) == 0
    told = capsys.readouterr().out
    assert "--step=" in told and '"MagnitudePruning(sparsity=0.5)"' in told
    assert "(default accuracy)" in told and "--overwrite " in told


def test_help_and_reading_a_file_load_no_tensorflow(file):
    lines = [["--help"], ["--version"], *([name, "--help"] for name in commands.NAMES)]
    lines += [["inspect", file], ["benchmark", file], ["evaluate", file, "--dataset=digits"]]
    code = (
        f"from tfopt.cli import main\nimport sys\ncodes = [main(line) for line in {lines!r}]\n"
        "print(codes, *sorted(name.split('.')[0] for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()[-1]
    assert told.startswith(str([0] * len(lines)))
    assert HEAVY.isdisjoint(told.split())


def test_the_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tfopt {tfopt.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: tfopt COMMAND"),
        (["optimise"], "unknown command 'optimise'; 'optimize' is nearest; one of ablate"),
        (["--debug"], "unknown command '--debug'"),
        (["inspect", "x.tflite", "--jsn"], "unknown flag --jsn; --json is nearest; see tfopt ins"),
        (["inspect", "--qqqq"], "unknown flag --qqqq; see tfopt inspect --help"),
        (["benchmark", "x.tflite", "--runs=many"], "flag --runs=many: invalid literal"),
        (["inspect"], "Received no argument; expected one argument, FILE.tflite"),
        (["inspect", "a", "b"], "Received a b; expected one argument"),
        (["benchmark"], "Received no argument; expected FILE.tflite..."),
        (["inspect", "nowhere.tflite"], "nowhere.tflite, which cannot be read"),
        (["evaluate", "nowhere.tflite", "--dataset=digits"], "nowhere.tflite"),
        (["evaluate", "m.keras", "--kernels=builtin"], "--kernels=builtin for 'm.keras'; expected"),
        (["convert", "m.keras", "--output=m"], "--output=m; expected a name ending in .tflite"),
        (["convert", "m.keras"], "Received no --output; expected --output: the file to write"),
        (["optimize", "m.keras", "--dataset=digits"], "Received no --output"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_exit_code_2(arguments, message, capsys):
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert "Traceback" not in told.err
    if arguments:
        assert told.err.count("\n") == 1


def test_debug_shows_the_traceback(capsys):
    assert cli.main(["inspect", "nowhere.tflite", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "tfopt: interrupted"),
        (PermissionError("no right to write here"), 2, "tfopt: no right to write here"),
        (ZeroDivisionError("a mistake"), 70, "Traceback"),
    ],
)
def test_what_goes_wrong_has_its_exit_code(error, code, message, capsys, monkeypatch):
    def fail(values, arguments):
        raise error

    monkeypatch.setattr(inspect, "run", fail)
    assert cli.main(["inspect"]) == code
    assert message in capsys.readouterr().err


def test_warnings_of_tfopt_are_one_line(capsys, monkeypatch):
    def warn(values, arguments):
        warnings.warn("the data is odd", DataWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(inspect, "run", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(["inspect"]) == 0
    assert capsys.readouterr().err == "tfopt: warning: the data is odd\n"


def test_a_reader_that_goes_early_gets_no_traceback(file):
    code = f"{sys.executable} -m tfopt inspect {file} --json"
    done = subprocess.run(
        ["bash", "-c", f"{code} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
    )
    first, status = done.stdout.split()
    assert first == "{"
    assert status in ("0", "141")  # 0 if everything had been written before the reader left
    assert done.stderr == ""


def test_ctrl_c_ends_a_command_in_words(file):
    line = ["benchmark", file, "--runs=1000000000", "--seconds=60"]
    code = (
        "import signal, sys, tfopt.measure.cost\nfrom tfopt.cli import main\n"
        # which a shell that runs the tests in the background has switched off for its children
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"print('ready', flush=True)\nsys.exit(main({line!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "tfopt: interrupted"
    assert "Traceback" not in err


def test_no_bars_and_no_colours_when_not_a_terminal(file):
    command = [sys.executable, "-m", "tfopt", "evaluate", file, "--dataset=digits", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert json.loads(done.stdout)["samples"] == 359
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
