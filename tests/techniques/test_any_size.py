"""Models that leave image sizes or lengths open, through every technique to an int8 file."""

import keras
import numpy as np
import pytest

import tfopt
from tfopt.facts import measure
from tfopt.keras_gate import tf_keras

INT8 = tfopt.Target.int8(refine=False)


def of_images(api):
    """Has nothing left to compute of 16x16 pixels; is for 32x32."""
    layers = api.layers
    image = api.Input((None, None, 3), name="image")
    x = layers.Conv2D(16, 5, strides=2, activation="relu", name="stem")(image)
    x = layers.Conv2D(24, 5, use_bias=False, name="wide")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(32, 1, activation="relu", name="pointwise")(x)
    x = layers.Conv2D(24, 3, activation="relu", name="last")(x)
    x = layers.Dense(4, activation="softmax", name="top")(layers.GlobalAveragePooling2D()(x))
    return api.Model(image, x)


def of_signals(api):
    """Has nothing left to compute of 16 steps; is for 50, and says something of each fourth."""
    layers = api.layers
    signal = api.Input((None, 3), name="signal")
    x = layers.Conv1D(32, 7, activation="relu", name="stem")(signal)
    x = layers.Conv1D(32, 5, strides=2, activation="relu", name="wide")(x)
    x = layers.Conv1D(48, 3, activation="relu", name="last")(layers.MaxPooling1D(2)(x))
    return api.Model(signal, layers.Dense(4, activation="softmax", name="top")(x))


MODELS = {"images": (of_images, (32, 32, 3), ()), "signals": (of_signals, (50, 3), (8,))}


def task_of(shape, places):
    """Classes that differ in the first channel."""
    random = np.random.default_rng(0)

    def pair(count):
        y = random.integers(0, 4, (count, *[1] * (len(shape) - 1)))
        x = random.normal(0.2, 0.3, (count, *shape)).astype(np.float32)
        x[..., 0] += y / 2
        return x, np.broadcast_to(y.reshape(count, *[1] * len(places)), (count, *places)).copy()

    return tfopt.Task.from_arrays(
        pair(96), pair(48), batch_size=16, loss="sparse_categorical_crossentropy"
    )


@pytest.fixture(
    scope="module", params=[("images", tf_keras), ("signals", keras)], ids=lambda x: x[0]
)
def example(request):
    """A model of either Keras, its task, and what becomes of it without a technique."""
    name, api = request.param
    build, shape, places = MODELS[name]
    api.utils.set_random_seed(0)
    model, task = build(api), task_of(shape, places)
    return model, task, tfopt.optimize(model, [], task=task, target=INT8)


@pytest.mark.parametrize(
    "technique",
    [
        tfopt.MagnitudePruning(sparsity=0.6, steps=2),
        tfopt.MagnitudePruning(sparsity=0.6, allocation="sensitivity", steps=2),
        tfopt.WeightClustering(clusters=16, epochs=0.2),
        tfopt.ChannelPruning(channels=0.5, epochs=0.2),
        tfopt.ChannelPruning(macs=0.4, allocation="sensitivity", importance="taylor", epochs=0.2),
        tfopt.ChannelPruning(latency_ms=1000, epochs=0.2),
        tfopt.LowRank(energy=0.6, epochs=0.2),
        tfopt.EqualizeChannels(),
        tfopt.EqualizeChannels(ranges="weights"),
        tfopt.CorrectBias(),
        tfopt.RoundWeights(steps=20),
        tfopt.QuantizationAware(epochs=0.2),
        tfopt.Distillation(epochs=0.2),
    ],
    ids=lambda technique: f"{technique.name}({technique.settings})",
)
def test_every_technique_ends_in_a_file_of_any_size(example, technique):
    model, task, _ = example
    result = tfopt.optimize(model, [technique], task=task, target=INT8)
    file = tfopt.inspect(result.tflite)
    assert file.integer_only
    assert set(file.inputs[0].shape[:-1]) == {-1}


@pytest.mark.parametrize("technique", [tfopt.ChannelPruning, tfopt.LowRank])
@pytest.mark.parametrize("field", ["macs", "parameters"])
def test_a_share_is_that_of_the_file_at_the_nominal_size(example, technique, field):
    _, task, plain = example
    settings = {"multiple_of": 1} if technique is tfopt.ChannelPruning else {}
    smaller = technique(epochs=0.2, **{field: 0.3}, **settings).apply(plain.baseline, task)
    if field == "parameters":
        before, after = (measure(model).parameters for model in (plain.baseline, smaller))
    else:
        float32 = tfopt.Target.float32()  # without data, of 64 pixels or steps
        before, after = (
            tfopt.inspect(tfopt.convert(model, target=float32)).macs
            for model in (plain.baseline, smaller)
        )
    assert 0.64 <= after / before <= 0.7


def test_half_of_the_operations_is_half_of_those_at_the_samples_size(example):
    model, task, plain = example
    technique = tfopt.ChannelPruning(macs=0.5, multiple_of=1, epochs=0.2)
    result = tfopt.optimize(model, [technique], task=task, target=INT8)
    share = tfopt.inspect(result.tflite).macs / tfopt.inspect(plain.tflite).macs
    assert share == pytest.approx(0.5, abs=0.03)


def test_fake_quantization_without_data_is_proven_on_sizes_it_can_take(example):
    wrapped = tfopt.QuantizationAware().wrap(example[2].baseline, steps_per_epoch=1)
    assert wrapped.selection.touched


def test_sensitivity_is_measured(example):
    model, task, _ = example
    for technique in (
        tfopt.MagnitudePruning(), tfopt.ChannelPruning(macs=0.5), tfopt.LowRank(macs=0.3),
        tfopt.RoundWeights(),
    ):  # fmt: skip
        found = tfopt.measure_sensitivity(model, technique, task=task, strengths=(0.5,))
        assert found.curves


@pytest.mark.slow
def test_the_best_file_is_searched(example):
    model, task, _ = example
    result = tfopt.optimize(model, [], task=task, target=tfopt.Target.int8(max_accuracy_drop=0.5))
    assert tfopt.inspect(result.tflite).integer_only
