import dataclasses

import numpy as np
import pytest

import tfopt
from tfopt import facts
from tfopt.errors import TechniqueError
from tfopt.post_training import choice
from tfopt.post_training.choice import _best, can_refine, refine
from tfopt.post_training.trials import Bench
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.techniques.weight_clustering import WeightClustering
from tfopt.testing import depthwise_net, small_cnn
from tfopt.testing.stress import stress
from tfopt.tflite.convert import converted


@pytest.fixture(scope="module")
def uneven(trained):
    """A net whose channels differ 1,000 times in range, with the function it was trained for."""
    return stress(trained(depthwise_net), seed=0)


def test_what_helps_is_found_where_the_plain_conversion_fails(uneven, digits):
    refined = refine(uneven, task=digits, target=tfopt.Target.int8())
    plain = refined.trials[0]
    assert plain.name == "as it is" and plain.validation.value < 0.7
    assert "EqualizeChannels" in refined.name
    assert refined.drop.value < 0.02
    assert tfopt.inspect(refined.best.tflite).integer_only


def test_it_is_never_worse_than_the_plain_conversion(digits, trained):
    for build in (small_cnn, depthwise_net):
        refined = refine(trained(build), task=digits, target=tfopt.Target.int8())
        plain, taken = refined.trials[0], next(t for t in refined.trials if t.chosen)
        assert taken.validation.value >= plain.validation.value
        assert all(trial.reason for trial in refined.trials if trial.validation is None)


def test_four_bit_weights_are_learned(digits, trained):
    model = trained(depthwise_net)
    refined = refine(model, task=digits, target=tfopt.Target.int4_weights())
    plain = refined.trials[0]
    assert "RoundWeights" in refined.name
    taken = next(trial for trial in refined.trials if trial.chosen)
    assert taken.error < 0.5 * plain.error
    eight = tfopt.convert(model, task=digits, target=tfopt.Target.int8(refine=False))
    assert len(refined.best.tflite) < len(eight)


def test_clusters_are_not_given_up(digits, trained):
    clustered = WeightClustering(clusters=8, epochs=0.5).apply(trained(small_cnn), digits)
    refined = refine(clustered, task=digits, target=tfopt.Target.int8())
    reasons = [trial.reason for trial in refined.trials if "Equalize" in trial.name]
    assert not refined.is_changed
    assert reasons[0].startswith("not possible") and "few different weights" in reasons[0]


def test_what_the_plain_conversion_refuses_is_tried_in_other_ways(uneven, digits, monkeypatch):
    monkeypatch.setattr(choice, "_ways", lambda _: ((tfopt.EqualizeChannels(),),))
    target = tfopt.Target.int8(exporter="litert")  # which has no integer MINIMUM
    refined = refine(uneven, task=digits, target=target)
    assert refined.name == "EqualizeChannels" and refined.is_changed
    assert "MINIMUM" in next(t.reason for t in refined.trials if t.name == "as it is")


def test_a_fake_quantized_model_is_taken_as_it_is(digits, trained):
    target = tfopt.Target.int8()
    aware = QuantizationAware(epochs=0.2).apply(trained(small_cnn), digits)
    assert can_refine(trained(small_cnn), target) and not can_refine(aware, target)
    assert not can_refine(trained(small_cnn), tfopt.Target.float32())
    assert not can_refine(trained(small_cnn), dataclasses.replace(target, refine=False))


def test_the_report_tells_what_was_tried_each_file_made_once(uneven, digits, monkeypatch):
    made = []

    def counted(model, *, task, target):
        made.append((model, target))
        return converted(model, task=task, target=target)

    monkeypatch.setattr("tfopt.measurement.converted", counted)
    result = tfopt.optimize(uneven, [], task=digits, target=tfopt.Target.int8())
    assert len({(id(model), target) for model, target in made}) == len(made) >= 4
    assert [step.name for step in result.report.steps] == [
        "baseline", "conversion only", "post-training",
    ]  # fmt: skip
    assert "EqualizeChannels" in result.report.steps[-1].settings
    assert "Tried after training" in str(result.report)
    again = tfopt.optimize(uneven, [], task=digits, target=tfopt.Target.int8())
    assert again.tflite == result.tflite


def test_layers_that_the_target_keeps_are_no_change(digits, trained):
    target = tfopt.Target.int8(keep_int16=("block_conv",))
    refined = refine(trained(small_cnn), task=digits, target=target)
    assert refined.trials[0].name == "block_conv in int16"
    assert refined.is_changed is not refined.trials[0].chosen


def test_what_tensorflow_raises_in_a_technique_is_a_reason_like_others(digits, monkeypatch):
    def fails(self, model, task):
        raise MemoryError("no more of it\nat address 5")

    monkeypatch.setattr(tfopt.EqualizeChannels, "apply", fails)
    message = "on which EqualizeChannels fails with MemoryError: no more of it at address 5; exp"
    with pytest.raises(TechniqueError, match=message):
        Bench(small_cnn(), digits).trial((tfopt.EqualizeChannels(),), tfopt.Target.int8())


def test_a_model_that_several_files_are_made_of_is_measured_once(digits, monkeypatch):
    measured, measure = [], facts.measure
    monkeypatch.setattr(facts, "measure", lambda model: measured.append(model) or measure(model))
    bench, technique = Bench(small_cnn(), digits), tfopt.EqualizeChannels()
    for target in (tfopt.Target.int8(), tfopt.Target.int8(keep_int16=("stem_conv",))):
        bench.trial((), target)
        bench.trial((technique,), target)
    bench.smaller(64).trial((technique,), target)
    assert len(measured) == 2


def test_of_files_that_differ_by_chance_one_that_keeps_the_budget_is_taken(digits, trained):
    bench = Bench(trained(small_cnn), digits)
    plain = bench.trial((), tfopt.Target.int8(max_accuracy_drop=0.0))
    right = bench.reference.right
    wrong_once = right.copy()
    wrong_once[np.flatnonzero(right)[0]] = False
    worse = dataclasses.replace(plain.quality, value=wrong_once.mean(), right=wrong_once)
    exact = dataclasses.replace(plain.quality, value=right.mean(), right=right)
    breaking = dataclasses.replace(plain, quality=worse, error=0.0)
    keeping = dataclasses.replace(plain, quality=exact, error=0.1)
    assert _best([breaking, keeping], bench) is keeping
    lost = dataclasses.replace(plain, quality=dataclasses.replace(exact, value=float("nan")))
    assert _best([lost], bench) is lost
