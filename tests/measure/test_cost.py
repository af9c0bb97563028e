import itertools
import time

import numpy as np
import pytest

from tfopt.errors import InterpreterError, SettingError
from tfopt.measure import cost
from tfopt.measure.cost import Latency, benchmark, benchmark_interleaved
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.tensor_spec import TensorSpec


def test_latency_is_in_milliseconds_and_ordered(int8_file):
    latency = benchmark(int8_file, runs=60)
    assert latency.runs == 60 and latency.threads == 1
    assert 0.0005 < latency.p10_ms <= latency.median_ms <= latency.p90_ms < 100
    assert latency.to_dict()["runs"] == 60
    assert str(Latency(1.5, 1.0, 20.25, 500, 2)) == (
        "1.5 ms (median; 1 to 20.2 from the 10th to the 90th percentile) over 500 runs "
        "on 2 thread(s)"
    )


def test_percentiles_are_those_of_the_runs():
    latency = Latency.of([[1_000_000 * i for i in range(101)]], threads=4)
    assert (latency.median_ms, latency.p10_ms, latency.p90_ms) == (50.0, 10.0, 90.0)
    assert (latency.runs, latency.threads) == (101, 4)


@pytest.fixture
def slow(monkeypatch):
    """Every run takes 5 ms; counts them."""
    counted = []

    def invoke(self):
        counted.append(1)
        time.sleep(0.005)

    monkeypatch.setattr(TFLiteModel, "invoke", invoke)
    return counted


def test_a_slow_file_is_not_run_500_times(float_file, slow):
    latency = benchmark(float_file, seconds=0.15)
    assert 20 <= latency.runs <= 40
    assert len(slow) < latency.runs + 10 + 15  # warm-up for a fifth of the time, one at each turn


def test_the_time_never_costs_the_fewest_runs(float_file, slow):
    assert 20 <= benchmark(float_file, seconds=0).runs <= 25
    assert benchmark(float_file, seconds=0, runs=3).runs == 3


def test_files_take_turns(float_file, int8_file, monkeypatch):
    order = []
    invoke = TFLiteModel.invoke

    def noted(self):
        order.append(id(self))
        invoke(self)

    monkeypatch.setattr(TFLiteModel, "invoke", noted)
    latencies = benchmark_interleaved([float_file, int8_file], runs=100, warmup=0)
    assert [latency.runs for latency in latencies] == [100, 100]
    turns = sum(before != after for before, after in itertools.pairwise(order))
    assert turns >= 19


def test_the_ratio_of_a_file_to_itself_is_about_one(float_file):
    ours, theirs = benchmark_interleaved([float_file, float_file], runs=400)
    assert 0.5 < ours.median_ms / theirs.median_ms < 2


def test_every_kind_of_input_gets_a_sample(multi_file, lstm_file, make_file):
    import tensorflow as tf

    words = make_file(lambda x: tf.gather(tf.constant([1.0, 2.0]), x), None, None, dtype="int32")
    for file in (multi_file, lstm_file[0], words):
        assert benchmark(file, runs=20, threads=2).runs == 20


@pytest.mark.parametrize(
    ("dtype", "scale", "low", "high"),
    [("float32", None, 0, 1), ("int8", 0.1, -128, 127), ("uint8", 0.1, 0, 255),
     ("int32", None, 0, 1), ("bool", None, 0, 1)],
)  # fmt: skip
def test_samples_fill_the_range_of_their_type(dtype, scale, low, high):
    spec = TensorSpec("x", (None, 50, None, None), dtype, scale, 0 if scale else None, 0)
    sample = cost._sample(spec, (1, 50, 32, 1), np.random.default_rng(0))
    assert sample.shape == (1, 50, 32, 64) and sample.dtype == dtype
    assert low <= sample.min() < sample.max() <= high
    assert sample.max() > high * 0.9 and sample.min() < low + 0.1 * (high - low)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"runs": 0}, "runs=0; expected a whole number, at least 1"),
        ({"runs": "5"}, "runs='5'; expected a whole number, at least 1"),
        ({"runs": 2.5}, "runs=2.5; expected a whole number, at least 1"),
        ({"warmup": -1}, "warmup=-1; expected a whole number, at least 0"),
        ({"seconds": -1}, "seconds=-1; expected a number, at least 0"),
        ({"seconds": "1"}, "seconds='1'; expected a number, at least 0"),
        ({"seconds": float("nan")}, "seconds=nan; expected a number, at least 0"),
        ({"threads": 0}, "threads=0; expected a whole number, at least 1"),
        ({"threads": "2"}, "threads='2'; expected a whole number, at least 1"),
    ],
)
def test_bad_settings_are_refused(float_file, setting, message):
    with pytest.raises(SettingError) as caught:
        benchmark(float_file, **setting)
    assert message in str(caught.value)


def test_a_bad_file_is_refused():
    with pytest.raises(InterpreterError, match="no TensorFlow Lite file"):
        benchmark(b"hello")


def test_the_ratio_of_turns_holds_where_the_machine_slows_down():
    slowing = np.linspace(1, 5, 30)
    generator = np.random.default_rng(0)
    ours = [(200 * slow * generator.uniform(0.97, 1.03, 9)).astype(int) for slow in slowing]
    theirs = [(100 * slow * generator.uniform(0.97, 1.03, 9)).astype(int) for slow in slowing]
    found = cost.ratio(Latency.of(ours, 1), Latency.of(theirs, 1))
    assert found.value == pytest.approx(2, rel=0.02)
    assert 1.95 < found.low <= found.value <= found.high < 2.05
    assert str(found).startswith("x2.0") and "95 % interval" in str(found)


def test_the_ratio_of_a_file_to_itself_holds_one_in_reach(float_file):
    ours, theirs = benchmark_interleaved([float_file, float_file], runs=300)
    found = cost.ratio(ours, theirs)
    assert 0.5 < found.low <= found.value <= found.high < 2
    assert len(ours.quantiles_ms) == 21 and ours.quantiles_ms[10] == ours.median_ms
    assert list(ours.quantiles_ms) == sorted(ours.quantiles_ms)


def test_a_ratio_needs_turns():
    plain = Latency(1.0, 1.0, 1.0, 9, 1)
    with pytest.raises(SettingError, match="time both files in one call"):
        cost.ratio(plain, plain)
