"""A process that may crash or hang without harm."""

import os
import sys
import time

import pytest

from tfopt.tflite import proof
from tfopt.tflite.sandbox import Crashed, Failed, Sandbox


@pytest.fixture(scope="module")
def sandbox():
    box = Sandbox()
    yield box
    box.close()


def test_returns_what_the_function_returns(sandbox):
    assert sandbox.call(divmod, 7, 3, time_limit_s=60) == (2, 1)
    assert len(sandbox.call(os.urandom, 3_000_000, time_limit_s=60)) == 3_000_000


def test_runs_in_one_other_process(sandbox):
    first, second = (sandbox.call(os.getpid, time_limit_s=60) for _ in range(2))
    assert first == second != os.getpid()


def test_an_error_comes_back_with_its_trace(sandbox):
    with pytest.raises(Failed, match="Traceback") as caught:
        sandbox.call(int, "four", time_limit_s=60)
    assert caught.value.error == "ValueError: invalid literal for int() with base 10: 'four'"
    assert sandbox.call(int, "4", time_limit_s=60) == 4


def test_printing_does_not_get_into_the_answers(sandbox):
    assert sandbox.call(os.write, 1, b"printed", time_limit_s=60) == 7
    assert sandbox.call(os.getpid, time_limit_s=60) > 0


def test_a_crash_is_told_and_the_next_call_works(sandbox):
    with pytest.raises(Crashed) as caught:
        sandbox.call(os.abort, time_limit_s=60)
    assert caught.value.how == "SIGABRT"
    with pytest.raises(Crashed) as caught:
        sandbox.call(os._exit, 3, time_limit_s=60)
    assert caught.value.how == "exit code 3"
    assert sandbox.call(len, "four", time_limit_s=60) == 4


def test_a_hang_is_ended(sandbox):
    sandbox.call(len, "", time_limit_s=60)
    began = time.perf_counter()
    with pytest.raises(Crashed, match=r"no answer in 0\.3 s"):
        sandbox.call(time.sleep, 60, time_limit_s=0.3)
    assert time.perf_counter() - began < 20
    assert sandbox.call(len, "four", time_limit_s=60) == 4


def test_loads_no_tensorflow(sandbox):
    sandbox.call(len, "", time_limit_s=60)
    assert "tensorflow" not in sandbox.call(
        eval, "list(__import__('sys').modules)", time_limit_s=60
    )
    assert sandbox.call(eval, "__import__('sys').path", time_limit_s=60)[-1] in sys.path


def test_no_sandbox_starts_another_one(sandbox):
    with pytest.raises(Failed, match=r"called in a sandbox: a script .* has the name of a module"):
        sandbox.call(proof.prepare, time_limit_s=120)
