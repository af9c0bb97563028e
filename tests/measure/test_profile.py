import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.errors import InterpreterError, SettingError
from tfopt.report import OpTime, Profile
from tfopt.tflite.inspect import inspect


def test_every_op_has_its_time_layer_and_kernel(int8_file):
    found = tfopt.profile(int8_file, runs=20)
    ops = inspect(int8_file).ops
    assert [(row.op, row.layer, row.macs) for row in found.ops] == [
        (op.name, op.layer, op.macs) for op in ops
    ]
    assert sum(row.share for row in found.ops) == pytest.approx(1)
    assert found.whole_us > 0 and found.overhead_us > 0
    kernels = {row.op: row.kernel for row in found.ops}
    assert kernels["CONV_2D"] == "XNNPACK" and kernels["SOFTMAX"] == "builtin"
    assert set(row.kernel for row in tfopt.profile(int8_file, runs=1, kernels="builtin").ops) == {
        "builtin"
    }


def test_a_profile_is_read_as_text_and_json(float_file):
    found = tfopt.profile(float_file, runs=20)
    told = str(found).splitlines()
    assert told[0].split()[:2] == ["op", "layer"]
    assert (
        "Each op timed alone on one thread" in told[-1] and "that the whole file takes" in told[-1]
    )
    assert found.to_dict()["ops"][0]["op"] == "CONV_2D"
    assert found.slowest_first[0].microseconds == max(op.microseconds for op in found.ops)


def test_recurrent_files_and_several_inputs_are_timed(multi_file, lstm_file):
    for content in (multi_file, lstm_file[0]):
        found = tfopt.profile(content, runs=5)
        assert all(not op.reason for op in found.ops)


def test_an_op_that_does_not_run_alone_is_named(int8_file, monkeypatch):
    from tfopt.measure import profile as module

    class Failing(module.Cutter):
        def cut(self, place, shapes):
            if place == 0:
                raise InterpreterError(received="an op of another world", expected="-", fix="-")
            return super().cut(place, shapes)

    monkeypatch.setattr(module, "Cutter", Failing)
    found = tfopt.profile(int8_file, runs=2)
    assert (found.ops[0].kernel, found.ops[0].microseconds) == ("", 0)
    assert "CONV_2D 0: does not run alone: an op of another world." in str(found)
    assert sum(row.share for row in found.ops) == pytest.approx(1)


def test_the_time_is_bounded(float_file, monkeypatch):
    from tfopt.tflite.interpreter import TFLiteModel

    monkeypatch.setattr(TFLiteModel, "invoke", lambda self: time.sleep(0.001))
    start = time.perf_counter()
    tfopt.profile(float_file, seconds=0.1, runs=1000)
    assert time.perf_counter() - start < 3


def test_bad_settings_are_refused(float_file):
    with pytest.raises(SettingError, match="runs=0; expected a whole number, at least 1"):
        tfopt.profile(float_file, runs=0)
    with pytest.raises(InterpreterError):
        tfopt.profile(b"hello")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=9), st.floats(1, 1e5))
def test_the_sum_is_of_the_ops_and_the_coverage_of_the_whole(times, whole):
    rows = tuple(
        OpTime(i, "ADD", "", "int8", time, time / sum(times), "builtin", 0)
        for i, time in enumerate(times)
    )
    found = Profile(rows, whole_us=whole, overhead_us=1.0)
    assert found.sum_us == pytest.approx(sum(times))
    assert found.coverage == pytest.approx(sum(times) / whole)
    assert f"{found.coverage:.0%}" in str(found)
