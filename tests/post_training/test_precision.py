import dataclasses

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.errors import BudgetError, ConversionError, SettingError
from tfopt.post_training import precision
from tfopt.post_training.choice import refine
from tfopt.post_training.trials import Bench, Trial
from tfopt.report import Difference
from tfopt.techniques.round_weights import RoundWeights
from tfopt.testing import residual_net, small_cnn

PLAIN_INT4 = tfopt.Target.int4_weights(refine=False)


def test_finer_numbers_make_no_layer_worse_and_some_better(digits, trained):
    bench = Bench(trained(small_cnn), digits)
    rows = precision.sensitivity(bench, bench.trial((), PLAIN_INT4))
    assert {row.layer for row in rows} == {"stem_conv", "block_conv", "probabilities"}
    assert sum(row.cost for row in rows) == pytest.approx(1)
    assert max(row.gain for row in rows) > 0


def test_what_follows_a_layer_goes_with_it(digits, trained):
    groups = precision.layer_groups(Bench(trained(residual_net), digits).trial((), PLAIN_INT4))
    assert groups["second_conv"].layers[:2] == ("second_conv", "add")
    assert "pool" in groups["second_conv"].layers
    assert groups["stem_conv"].layers == ("stem_conv",)


@pytest.fixture(scope="module")
def imitation(digits, trained):
    return imitating(trained(residual_net), digits)


def imitating(model, digits):
    """A model, and the task of answering as it does: any rounding costs some of the metric."""
    x = next(digits.validation.batches(200))[0]
    own = (x, model.predict(x, verbose=0))
    return model, tfopt.Task.from_arrays(own, own, loss="mse", metric="mae")


def test_a_budget_is_kept_with_as_few_layers_as_it_takes(imitation):
    model, task = imitation
    bench = Bench(model, task)
    plain, eight = (bench.trial((), t) for t in (PLAIN_INT4, tfopt.Target.int8(refine=False)))
    limit = 0.6 * bench.drop(plain).value + 0.4 * bench.drop(eight).value
    target = dataclasses.replace(PLAIN_INT4, max_accuracy_drop=limit)
    refined = refine(model, task=task, target=target)
    assert refined.keeps_budget and refined.drop.value <= limit
    groups = precision.layer_groups(plain)
    kept = [row.layer for row in refined.sensitivity if row.kept == "int8"]
    assert kept and len(kept) < len(groups)
    fewer = tuple(n for name in kept[:-1] for n in groups[name].layers)
    assert bench.drop(bench.trial((), dataclasses.replace(target, keep_int8=fewer))).value > limit
    assert len(plain.tflite) < len(refined.best.tflite) < len(eight.tflite)


def test_layers_of_an_int8_file_are_kept_in_16_bits(imitation):
    model, task = imitation
    bench = Bench(model, task)
    plain = bench.trial((), tfopt.Target.int8(refine=False))
    target = tfopt.Target.int8(refine=False, max_accuracy_drop=0.8 * bench.drop(plain).value)
    refined = refine(model, task=task, target=target)
    assert refined.best.target.keep_int16 and refined.drop.value < bench.drop(plain).value
    assert tfopt.inspect(refined.best.tflite).integer_only
    result = tfopt.optimize(model, [], task=task, target=target)
    assert result.tflite == refined.best.tflite
    assert "in int16: the best of " in result.report.steps[-1].settings


def test_a_budget_that_nothing_keeps_is_refused_with_how_near_it_came(imitation):
    model, task = imitation
    target = dataclasses.replace(PLAIN_INT4, max_accuracy_drop=0.0)
    with pytest.raises(BudgetError, match=r"drops by .* \(95 % interval .*max_accuracy_drop=0\."):
        tfopt.convert(model, task=task, target=target)


def test_a_budget_needs_data():
    with pytest.raises(SettingError, match=r"max_accuracy_drop=0\.01 without a task"):
        tfopt.convert(small_cnn(), target=tfopt.Target.dynamic_range(max_accuracy_drop=0.01))


@pytest.mark.slow
def test_eight_bits_bring_back_what_rounding_to_four_took(imitation):
    model, task = imitation
    bench = Bench(model, task)
    rounded = bench.trial((RoundWeights(bits=4, method="gptq"),), tfopt.Target.int4_weights())
    eight = bench.trial((), tfopt.Target.int8(refine=False))
    rows = precision.sensitivity(bench, rounded)
    assert max(row.gain for row in rows) > 0.2 * rounded.error
    limit = 0.5 * (bench.drop(rounded).value + bench.drop(eight).value)
    best = precision.meet(bench, rounded, limit).best
    assert bench.drop(best).value <= limit and best.target.keep_int8


def test_layers_that_the_user_keeps_stay_kept(imitation):
    model, task = imitation
    target = tfopt.Target.int8(refine=False, keep_int16=("stem_conv",), max_accuracy_drop=0.0)
    refined = refine(model, task=task, target=target)
    assert "stem_conv" in refined.best.target.keep_int16


@pytest.mark.parametrize("numerics", ["float16", "dynamic_range", "int16x8"])
def test_a_file_without_finer_numbers_is_refused_for_its_drop(digits, trained, numerics):
    model, task = imitating(trained(small_cnn), digits)
    with pytest.raises(BudgetError, match=r"a best file .* max_accuracy_drop=0\."):
        tfopt.convert(model, task=task, target=getattr(tfopt.Target, numerics)(max_accuracy_drop=0))


def test_own_calibration_data_does_not_switch_the_budget_off(imitation):
    model, task = imitation
    inputs = task.representative_inputs(32)
    target = dataclasses.replace(PLAIN_INT4, max_accuracy_drop=0.0)
    with pytest.raises(BudgetError):
        tfopt.convert(model, task=task, target=target, representative=inputs)


class Imagined:
    """A bench whose files keep the budget if the layers needed are in finer numbers."""

    def __init__(self, needed, impossible):
        self.needed, self.impossible, self.made = needed, impossible, 0

    def smaller(self, samples):
        return self

    def trial(self, techniques, target):
        self.made += 1
        kept = set(target.keep_int8)
        if kept & self.impossible:
            raise ConversionError(received="a layer", expected="another", fix="leave it out")
        missed = sum(2.0 ** -ord(name) for name in LAYERS if name not in kept)
        return Trial(
            model=None, target=target, tflite=b"", quality=None, techniques=(), error=missed,
            seconds=0.0,
        )  # fmt: skip

    def drop(self, trial):
        missed = len(self.needed - set(trial.target.keep_int8)) / len(LAYERS)
        return Difference(missed, missed, missed)


LAYERS = "abcdefgh"


@given(st.integers(1, 255), st.integers(0, 255))
@example(0b10001, 0)
@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
def test_layers_that_need_it_are_kept_and_no_others(monkeypatch, ones, others):
    needed, impossible = (
        {name for place, name in enumerate(LAYERS) if bits >> place & 1} for bits in (ones, others)
    )
    groups = {name: precision.Group((name,), 1 / len(LAYERS)) for name in LAYERS}
    monkeypatch.setattr(precision, "layer_groups", lambda trial: groups)
    bench = Imagined(needed, impossible)
    plain = bench.trial((), tfopt.Target.int4_weights())
    mixed = precision.meet(bench, plain, 0.0)
    assert {row.layer for row in mixed.sensitivity if "leave it out" in row.reason} == impossible
    kept = {row.layer for row in mixed.sensitivity if row.kept == "int8"}
    assert set(mixed.best.target.keep_int8) == kept and not kept & impossible
    if needed & impossible:
        least = min(bench.drop(one).value for one in (plain, *mixed.tried))
        assert bench.drop(mixed.best).value == least > 0
    else:
        assert kept == needed
    assert len(mixed.tried) <= 4 + 8 and not mixed.refused


def test_layers_that_are_impossible_together_only_are_tried_in_parts(monkeypatch):
    groups = {name: precision.Group((name,), 1 / len(LAYERS)) for name in LAYERS}
    monkeypatch.setattr(precision, "layer_groups", lambda trial: groups)

    class Narrow(Imagined):
        def trial(self, techniques, target):
            self.impossible = {"h"} if len(target.keep_int8) > 4 else set()
            return super().trial(techniques, target)

    bench = Narrow({"a", "c"}, set())
    mixed = precision.meet(bench, bench.trial((), tfopt.Target.int4_weights()), 0.0)
    assert mixed.best.target.keep_int8 == ("a", "c")
    assert [trial.name for trial in mixed.refused] == ["8 of 8 groups of layers in int8"]
    assert "leave it out" in mixed.refused[0].reason
