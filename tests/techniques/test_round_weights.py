"""Rounding of weights on trained nets, up to the integers of the converted file."""

import numpy as np
import pytest

import tfopt
from tfopt import facts, training
from tfopt.errors import DataError, SettingError, TechniqueError
from tfopt.graph.batch_norm import fold_batch_norm
from tfopt.keras_gate import clone, tf_keras
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.techniques.round_weights import RoundWeights
from tfopt.tflite import schema

layers = tf_keras.layers
QUICK = {"samples": 256, "steps": 300}


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


def conv(x, filters, name, size=3, strides=1, *, relu=True):
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.8, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def cnn():
    """A residual block, a depthwise-separable one, a dense classifier of logits."""
    image = layers.Input((8, 8, 1), name="image")
    stem = conv(image, 12, "stem")
    x = conv(conv(stem, 12, "a"), 12, "b", relu=False)
    x = layers.ReLU(name="add_relu")(layers.Add(name="add")([x, stem]))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8, name="depthwise_bn")(x))
    x = conv(conv(x, 24, "pointwise", size=1), 24, "c", strides=2)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(image, layers.Dense(10, name="top")(x), name="cnn")


@pytest.fixture(scope="module")
def trained():
    tf_keras.utils.set_random_seed(0)
    model = cnn()
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    training.fine_tune(model, tfopt.Task.digits(loss=loss), epochs=6, learning_rate=1e-2)
    return model


def kernels(model):
    return {layer.name: value for layer in model.layers for value in facts.kernels(layer).values()}


def channels(name, kernel):
    """A kernel with its output channels last."""
    kernel = np.asarray(kernel)
    return kernel.reshape(-1, kernel.shape[-1] * (kernel.shape[-2] if "depthwise" in name else 1))


def integers(name, kernel, largest):
    """A kernel as the exporter sees it, which must be whole numbers of its scale."""
    values = channels(name, kernel)
    scale = np.abs(values).max(axis=0) / largest
    steps = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    return np.rint(steps).astype(int)


def stored_integers(tflite):
    """The kernels of a file, channels last, by their layers."""
    model = schema.unpack(tflite)
    graph = model.subgraphs[0]
    found = {}
    for op in tfopt.inspect(tflite).ops:
        if op.kernels:
            tensor = graph.tensors[op.kernels[0].index]
            values = schema.values(model.buffers[tensor.buffer].data, tensor)
            last = tensor.quantization.quantizedDimension
            moved = np.moveaxis(values, last, -1)
            found[op.layer] = moved.reshape(-1, moved.shape[-1])
    return found


def off(model, trained, task):
    """Mean squared error of the outputs."""
    ours, theirs = (each.predict(task.test.x, verbose=0) for each in (model, trained))
    return np.square(ours - theirs).mean()


def accuracy(model, task):
    return np.mean(model.predict(task.test.x, verbose=0).argmax(1) == task.test.y)


@pytest.mark.slow
def test_every_method_beats_the_nearest_integers_at_4_bits(trained, task):
    errors, accuracies = {}, {}
    ways = {
        "max": RoundWeights(bits=4, method="nearest", ranges="max"),
        "mse": RoundWeights(bits=4, method="nearest", ranges="mse"),
        "gptq": RoundWeights(bits=4, method="gptq", samples=256),
        "adaround": RoundWeights(bits=4, **QUICK),
        "block": RoundWeights(bits=4, scope="block", **QUICK),
    }
    for name, way in ways.items():
        rounded = way.apply(trained, task)
        for layer, kernel in kernels(rounded).items():
            assert np.abs(integers(layer, kernel, 7)).max() == 7
        errors[name], accuracies[name] = off(rounded, trained, task), accuracy(rounded, task)
    usual = min(errors["max"], errors["mse"])
    assert errors["gptq"] < 0.4 * usual
    assert errors["adaround"] < 0.3 * usual
    assert errors["block"] < 0.4 * usual
    best = accuracy(trained, task)
    assert min(accuracies[name] for name in ("gptq", "adaround", "block")) >= best - 0.015
    assert min(accuracies["gptq"], accuracies["adaround"]) >= accuracies["max"]


@pytest.mark.parametrize(
    ("method", "bits"),
    [
        pytest.param("adaround", 8, marks=pytest.mark.slow),
        ("adaround", 4),
        ("gptq", 4),
    ],
)
def test_the_file_holds_the_chosen_integers(trained, task, method, bits):
    rounded = RoundWeights(method=method, bits=bits, samples=64, steps=30).apply(trained, task)
    target = tfopt.Target.int8() if bits == 8 else tfopt.Target.int4_weights()
    found = stored_integers(tfopt.convert(rounded, task=task, target=target))
    expected = {
        name: integers(name, kernel, 2 ** (bits - 1) - 1)
        for name, kernel in kernels(rounded).items()
    }
    assert found.keys() == expected.keys()
    differs = 0
    for name, theirs in expected.items():
        np.testing.assert_array_equal(found[name], theirs)
        plain = np.rint(integers_of_nearest(trained, name, 2 ** (bits - 1) - 1))
        differs += np.count_nonzero(plain != theirs)
    assert differs > 0  # or there would be nothing to show


def integers_of_nearest(model, name, largest):
    values = channels(name, kernels(fold_batch_norm(model))[name])
    return values / (np.abs(values).max(axis=0) / largest)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_one_others(trained, task):
    technique = RoundWeights(bits=4, samples=128, steps=50)
    before = trained.get_weights()
    first, second = (technique.apply(trained, task) for _ in range(2))
    other = technique.apply(trained, tfopt.Task.digits(seed=1))
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any(
        not np.array_equal(*pair)
        for pair in zip(first.get_weights(), other.get_weights(), strict=True)
    )
    for ours, theirs in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_zeros_stay_and_clustered_kernels_are_left_to_the_exporter(trained, task):
    model = clone(trained)
    kernel = model.get_layer("c").kernel
    kernel.assign(np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0, kernel))
    shared = model.get_layer("pointwise").kernel
    shared.assign(np.sign(shared) * 0.1)
    technique = RoundWeights(bits=4, method="gptq", samples=64)
    reasons = {skip.layer: skip.reason for skip in technique.select(model).skipped}
    assert reasons["pointwise"] == (
        "its weights share few values, which the exporter's own rounding keeps"
    )
    rounded = technique.apply(model, task)
    assert facts.lost_gains(facts.measure(model), facts.measure(rounded)) == []
    assert not kernels(rounded)["c"].numpy()[kernel.numpy() == 0].any()
    model.get_layer("pointwise").trainable = False
    assert "pointwise" in {skip.layer for skip in technique.select(model).skipped}


def test_frozen_layers_are_rounded_and_stay_frozen(trained, task):
    model = clone(trained)
    model.get_layer("stem").trainable = False
    rounded = RoundWeights(method="nearest").apply(model, task)
    integers("stem", rounded.get_layer("stem").kernel, 127)
    assert not rounded.get_layer("stem").trainable


@pytest.mark.slow
def test_dead_channels_and_dead_inputs(task):
    tf_keras.utils.set_random_seed(0)
    model = clone(cnn())
    kernel = model.get_layer("a").kernel
    kernel.assign(np.where(np.arange(12) < 4, 0, kernel))
    model.get_layer("a_bn").beta.assign(np.full(12, -100.0))  # the ReLU lets nothing through
    for technique in (
        RoundWeights(bits=4, samples=64, steps=20),
        RoundWeights(bits=4, samples=64, method="gptq"),
        RoundWeights(bits=4, samples=64, steps=20, scope="block"),
    ):
        rounded = technique.apply(model, task)
        assert all(np.isfinite(weight).all() for weight in rounded.get_weights())
        assert not kernels(rounded)["a"].numpy()[..., :4].any()


def other_kinds():
    """Layers of one dimension, transposed ones, groups; and those that are skipped."""
    tokens = layers.Input((8,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 4, name="table")(tokens)
    x = layers.Conv1D(6, 3, padding="causal", activation="relu", name="conv1")(x)
    x = layers.DepthwiseConv1D(3, depth_multiplier=2, name="depthwise1")(x)
    x = layers.Conv1DTranspose(4, 3, strides=2, name="transposed1")(x)
    x = layers.Reshape((13, 1, 4))(x)
    x = layers.Conv2DTranspose(4, 3, padding="same", strides=2, name="transposed2")(x)
    x = layers.Conv2D(4, 3, groups=2, padding="same", name="groups")(x)
    x = layers.SeparableConv2D(4, 2, name="separable")(x)
    shared = layers.Dense(4, activation="relu", name="shared")
    x = layers.Flatten()(shared(shared(x)))
    x = layers.Reshape((-1, 4))(x)
    x = layers.LSTM(3, name="lstm")(x)
    return tf_keras.Model(tokens, layers.Dense(2, name="top")(x))


@pytest.mark.slow
def test_all_kinds_of_layers():
    tf_keras.utils.set_random_seed(0)
    model = other_kinds()
    x = np.random.default_rng(0).integers(0, 20, (64, 8))
    task = tfopt.Task.from_arrays((x, np.zeros(64, int)), (x, np.zeros(64, int)), loss="mse")
    technique = RoundWeights(bits=4, samples=32, steps=20, keep_int8=("conv1",))
    selection = technique.select(model)
    assert selection.touched == (
        "conv1", "depthwise1", "transposed1", "transposed2", "groups", "top"
    )  # fmt: skip
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert (
        reasons["separable"] == "two convolutions in one layer: make it a DepthwiseConv and a Conv"
    )
    assert reasons["shared"] == "called 2 times: its rounding would have to suit each"
    assert reasons["lstm"] == "a LSTM: only convolutions and dense layers are rounded"
    assert reasons["table"] == "a Embedding: only convolutions and dense layers are rounded"
    rounded = technique.apply(model, task)
    for name in selection.touched:
        (kernel,) = facts.kernels(rounded.get_layer(name)).values()
        if "transposed" in name:
            kernel = np.swapaxes(kernel, -1, -2)
        largest = 127 if name == "conv1" or "transposed" in name else 7
        assert np.abs(integers(name, kernel, largest)).max() == largest


def of_one_image(count):
    x = np.repeat(np.random.default_rng(0).random((1, 8, 8, 1), np.float32), count, axis=0)
    y = np.zeros(count, int)
    return tfopt.Task.from_arrays((x, y), (x + 1, y), loss="mse")


@pytest.mark.parametrize(
    ("count", "received"),
    [(1, "a single representative sample"), (8, "8 representative samples that are all the same")],
)
def test_data_that_shows_nothing_is_refused(trained, count, received):
    with pytest.raises(DataError) as error:
        RoundWeights().apply(trained, of_one_image(count))
    assert str(error.value) == (
        f"Received {received}; expected samples that differ, some hundreds of them. Fix: give the "
        "task more data, or use RoundWeights(method='nearest'), which needs none."
    )
    RoundWeights(method="nearest").apply(trained, of_one_image(count))


def test_two_images_are_enough(trained):
    x = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    task = tfopt.Task.from_arrays((x, [0, 1]), (x + 1, [0, 1]), loss="mse")
    for method in ("adaround", "gptq"):
        rounded = RoundWeights(bits=4, method=method, steps=10).apply(trained, task)
        assert all(np.isfinite(weight).all() for weight in rounded.get_weights())


def test_data_with_nan_is_refused(trained):
    x = np.random.default_rng(0).random((8, 8, 8, 1), np.float32)
    task = tfopt.Task.from_arrays((x, np.zeros(8, int)), (x + 1, np.zeros(8, int)), loss="mse")
    task.train.x[3] = np.nan
    with pytest.raises(DataError, match="NaN or infinity in 1 of 8 samples"):
        RoundWeights().apply(trained, task)


def test_kernels_that_are_no_numbers_once_a_batch_norm_is_folded_are_refused(trained, task):
    model = clone(trained)
    for name, weight in (("c", "kernel"), ("c_bn", "gamma")):
        variable = getattr(model.get_layer(name), weight)
        variable.assign(np.full(variable.shape, 1e30))
    told = "layer 'c' with NaN or infinity in its kernel"
    with np.errstate(over="ignore"), pytest.raises(TechniqueError, match=told):
        RoundWeights().apply(model, task)


def test_a_fake_quantized_model_is_refused(trained):
    aware = QuantizationAware().wrap(trained, steps_per_epoch=1).strip()
    with pytest.raises(TechniqueError) as error:
        RoundWeights().select(aware)
    assert str(error.value) == (
        "Received model 'cnn', which simulates quantization, for RoundWeights; expected a float "
        "model: one from quantization-aware training has learned to do with the nearest integers. "
        "Fix: round the model it was trained from, or leave RoundWeights out."
    )


def test_a_model_without_a_kernel_to_round_is_refused():
    image = layers.Input((4,))
    model = tf_keras.Model(image, layers.ReLU(name="relu")(image), name="net")
    with pytest.raises(TechniqueError) as error:
        RoundWeights().select(model)
    assert str(error.value).startswith(
        "Received model 'net', of which RoundWeights can round no layer (relu: has no kernel)"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "adaruond"}, "method='adaruond'; expected 'adaround' is nearest"),
        ({"bits": 5}, "bits=5; expected 8 or 4, the bits of a weight in the file"),
        ({"ranges": "min"}, "ranges='min'; expected"),
        ({"scope": "block", "method": "gptq"}, "scope='block' with method='gptq'"),
        ({"samples": 1}, "samples=1; expected a whole number, at least 2"),
        ({"steps": 0}, "steps=0; expected a whole number, at least 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0; expected a number above 0"),
        ({"only": "conv"}, "only='conv'; expected a tuple of layer names"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings, message):
    with pytest.raises(SettingError) as error:
        RoundWeights(**settings)
    assert message in str(error.value)


def test_a_name_that_is_no_layers_is_refused(trained):
    for field in ("only", "skip", "keep_int8"):
        with pytest.raises(SettingError, match="has no layer 'stam'"):
            RoundWeights(**{field: ("stam",)}).select(trained)


@pytest.mark.parametrize("method", ["gptq", "adaround"])
def test_numbers_that_are_not_finite_are_refused(trained, task, method):
    model = clone(trained)
    norm = next(layer for layer in model.layers if type(layer).__name__ == "BatchNormalization")
    norm.moving_mean.assign(np.full(norm.moving_mean.shape, -np.inf))
    with pytest.raises(TechniqueError, match="numbers that are not finite"):
        RoundWeights(method=method, samples=32).apply(model, task)
