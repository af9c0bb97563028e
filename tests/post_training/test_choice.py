import dataclasses

import pytest

import tfopt
from tfopt.post_training.choice import can_refine, refine
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.techniques.weight_clustering import WeightClustering
from tfopt.testing import depthwise_net, small_cnn
from tfopt.testing.stress import stress


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
    assert tfopt.inspect(refined.tflite).integer_only


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
    assert len(refined.tflite) < len(eight)


def test_clusters_are_not_given_up(digits, trained):
    clustered = WeightClustering(clusters=8, epochs=0.5).apply(trained(small_cnn), digits)
    refined = refine(clustered, task=digits, target=tfopt.Target.int8())
    reasons = [trial.reason for trial in refined.trials if "Equalize" in trial.name]
    assert not refined.is_changed and "before clustering" in reasons[0]


def test_a_fake_quantized_model_is_taken_as_it_is(digits, trained):
    target = tfopt.Target.int8()
    aware = QuantizationAware(epochs=0.2).apply(trained(small_cnn), digits)
    assert can_refine(trained(small_cnn), target) and not can_refine(aware, target)
    assert not can_refine(trained(small_cnn), tfopt.Target.float32())
    assert not can_refine(trained(small_cnn), dataclasses.replace(target, refine=False))


def test_the_report_tells_what_was_tried(uneven, digits):
    result = tfopt.optimize(uneven, [], task=digits, target=tfopt.Target.int8())
    assert [step.name for step in result.report.steps] == [
        "baseline", "conversion only", "post-training",
    ]  # fmt: skip
    assert "EqualizeChannels" in result.report.steps[-1].settings
    assert "Tried after training" in str(result.report)
    again = tfopt.optimize(uneven, [], task=digits, target=tfopt.Target.int8())
    assert again.tflite == result.tflite
