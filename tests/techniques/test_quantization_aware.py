"""Quantization-aware training on small nets, up to the integers of the converted file."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfopt import facts, training
from tfopt.errors import DataError, LostGainError, SettingError, TechniqueError
from tfopt.keras_gate import clone, load_model, save_model, tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers


@pytest.fixture(scope="module")
def task():
    return Task.digits()


def conv_bn_relu(x, name, kind=layers.Conv2D, *settings, **more):
    x = kind(*settings, padding="same", use_bias=False, name=name, **more)(x)
    x = layers.BatchNormalization(momentum=0.8, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def cnn():
    """Convolutions, a depthwise one, a residual, a concatenation, a dense classifier."""
    image = layers.Input((8, 8, 1), name="image")
    stem = conv_bn_relu(image, "stem", layers.Conv2D, 12, 3)
    x = conv_bn_relu(stem, "depthwise", layers.DepthwiseConv2D, 3)
    x = layers.Conv2D(12, 1, name="second")(x)
    x = layers.ReLU(name="add_relu")(layers.Add(name="add")([x, stem]))
    x = layers.Concatenate(name="join")(
        [layers.MaxPooling2D(name="max")(x), conv_bn_relu(x, "b", layers.Conv2D, 8, 3, strides=2)]
    )
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(image, layers.Dense(10, activation="softmax", name="top")(x))


@pytest.fixture(scope="module")
def trained(task):
    tf_keras.utils.set_random_seed(0)
    model = cnn()
    training.fine_tune(model, task, epochs=6, learning_rate=1e-2)
    return model


def thinned(model, *, sparse, clustered):
    """A copy with half of each kernel zero, or with few different weights, or both."""
    model = clone(model)
    for layer in model.layers:
        for kernel in facts.kernels(layer).values():
            value = kernel.numpy()
            if sparse:
                value = np.where(np.abs(value) <= np.median(np.abs(value)), 0, value)
            if clustered:
                step = np.abs(value).max() / 4
                value = np.round(value / step) * step
            kernel.assign(value)
    return model


def agreement(model, other, task):
    ours, theirs = (m.predict(task.test.x, verbose=0).argmax(1) for m in (model, other))
    return np.mean(ours == theirs)


def accuracy(outputs, task):
    return np.mean(outputs.argmax(1) == task.test.y)


def int8(model, task):
    return convert(model, task=task, target=Target.int8())


def test_calibrated_ranges_agree_with_float_before_the_first_step(trained, task):
    technique = QuantizationAware()
    x = task.representative_inputs(256)
    wrapped = technique.wrap(trained, steps_per_epoch=30, representative=x)
    assert agreement(wrapped.model, trained, task) >= 0.95


def test_every_layer_is_touched(trained):
    selection = QuantizationAware().select(trained)
    assert selection.skipped == ()
    assert len(selection.touched) == len(trained.layers) - 1


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("clustered", [False, True])
def test_the_file_is_what_was_trained_and_gains_are_in_it(trained, task, sparse, clustered):
    model = thinned(trained, sparse=sparse, clustered=clustered)
    optimized = QuantizationAware(epochs=1).apply(model, task)
    tflite = int8(optimized, task)
    inspection = inspect(tflite)
    assert inspection.integer_only

    (outputs,) = TFLiteModel(tflite, kernels="builtin").predict(task.test.x)
    expected = optimized.predict(task.test.x, verbose=0)
    assert np.mean(outputs.argmax(1) == expected.argmax(1)) >= 0.98
    assert abs(accuracy(outputs, task) - accuracy(expected, task)) <= 0.02

    before, after = facts.measure(model), facts.measure(optimized)
    assert facts.lost_gains(before, after) == []
    if sparse:
        assert after.sparsity >= before.sparsity >= 0.5
        assert inspection.sparsity >= 0.5
    if clustered:
        assert after.unique_weights <= before.unique_weights <= 9
        assert inspection.unique_weights <= 9  # whatever batch norms were folded into the kernels


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("clustered", [False, True])
def test_weights_of_4_bits_are_what_was_trained(trained, task, sparse, clustered):
    model = thinned(trained, sparse=sparse, clustered=clustered)
    optimized = QuantizationAware(epochs=2, bits=4, learning_rate=1e-3).apply(model, task)
    expected = optimized.predict(task.test.x, verbose=0)
    before = accuracy(model.predict(task.test.x, verbose=0), task)
    assert clustered or accuracy(expected, task) >= before - 0.03
    assert facts.lost_gains(facts.measure(model), facts.measure(optimized)) == []
    for target, bits in ((Target.int4_weights(), 4), (Target.int8(), 8)):
        tflite = convert(optimized, task=task, target=target)
        found = inspect(tflite)
        assert found.integer_only
        assert {op.weight_bits for op in found.ops} == {bits, None}
        (outputs,) = TFLiteModel(tflite, kernels="builtin").predict(task.test.x)
        assert np.mean(outputs.argmax(1) == expected.argmax(1)) >= 0.95


def test_layers_with_8_bits_among_those_with_4(trained, task):
    technique = QuantizationAware(epochs=0.5, bits=4, keep_int8=("stem", "DepthwiseConv2D"))
    optimized = technique.apply(trained, task)
    steps = {}
    for layer in optimized.layers:
        for kernel in facts.kernels(layer).values():
            parts = kernel.numpy().reshape(-1, kernel.shape[-1])
            if isinstance(layer, layers.DepthwiseConv2D):
                parts = kernel.numpy().reshape(-1, kernel.shape[2])
            steps[layer.name] = max(len(np.unique(np.abs(channel))) for channel in parts.T)
    assert all(steps[name] <= 8 for name in ("second", "b", "top"))
    assert steps["stem"] == 9 and steps["depthwise"] == 9  # as many as a channel has weights
    with pytest.raises(SettingError, match=r"keep_int8=.*'stam'.*'stem' is nearest"):
        QuantizationAware(bits=4, keep_int8=("stam",)).select(trained)


def test_inner_kernels_of_4_bits_are_what_was_trained(task):
    """Those of attention and of layers repeated in time, which the file has as dense layers."""
    tf_keras.utils.set_random_seed(0)
    image = layers.Input((8, 8), name="image")
    x = layers.GRU(12, return_sequences=True, name="gru")(image)
    x = layers.MultiHeadAttention(2, 6, name="attention")(x, x)
    x = layers.TimeDistributed(layers.Dense(8), name="each")(x)
    model = tf_keras.Model(image, layers.Dense(10, activation="softmax")(layers.Flatten()(x)))
    rows = {
        name: (part.x[..., 0], part.y)
        for name, part in (("train", task.train), ("validation", task.validation))
    }
    flat = Task.from_arrays(
        rows["train"], rows["validation"], loss="sparse_categorical_crossentropy"
    )
    training.fine_tune(model, flat, epochs=3, learning_rate=1e-2)
    optimized = QuantizationAware(epochs=1, bits=4, learning_rate=1e-3).apply(model, flat)
    tflite = convert(optimized, task=flat, target=Target.int4_weights())
    assert 4 in {op.weight_bits for op in inspect(tflite).ops}
    (outputs,) = TFLiteModel(tflite, kernels="builtin").predict(rows["validation"][0])
    expected = optimized.predict(rows["validation"][0], verbose=0)
    assert np.mean(outputs.argmax(1) == expected.argmax(1)) >= 0.95


def test_the_input_is_left_alone_and_the_same_seed_gives_the_same_weights(trained, task):
    trained.compile("sgd", "mse")
    before = trained.get_weights()
    first, second = (QuantizationAware(epochs=0.3).apply(trained, task) for _ in range(2))
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert type(trained.optimizer).__name__ == "SGD"


def test_frozen_layers_stay_frozen_and_untouched(trained, task):
    model = clone(trained)
    for name in ("stem", "stem_bn", "top"):
        model.get_layer(name).trainable = False
    optimized = QuantizationAware(epochs=0.5).apply(model, task)
    for name in ("stem", "stem_bn", "top"):
        layer = optimized.get_layer(name)
        assert not layer.trainable
        for ours, theirs in zip(layer.weights, model.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert optimized.get_layer("second").trainable
    assert not np.array_equal(optimized.get_layer("second").bias, model.get_layer("second").bias)


def test_strip_gives_the_model_that_was_trained(trained, task):
    x = task.representative_inputs(64)
    wrapped = QuantizationAware().wrap(trained, steps_per_epoch=30, representative=x)
    np.testing.assert_allclose(
        wrapped.strip().predict(x, verbose=0), wrapped.model.predict(x, verbose=0), atol=1e-6
    )
    names = [layer.name for layer in wrapped.strip().layers]
    assert [layer.name for layer in trained.layers if layer.name not in names] == []


def test_without_representative_inputs_ranges_come_from_training(trained, task):
    wrapped = QuantizationAware().wrap(trained, steps_per_epoch=34)
    wrapped.model.compile(tf_keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    wrapped.model.fit(task.train.x, task.train.y, epochs=1, verbose=0)
    assert agreement(wrapped.strip(), trained, task) >= 0.95


def test_layers_left_out_are_neither_rounded_nor_split(trained, task):
    technique = QuantizationAware(only=("Conv2D", "top"), skip=("second",))
    selection = technique.select(trained)
    assert selection.touched == ("stem", "b", "top")
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert reasons["second"] == "named in skip=('second',)"
    wrapped = technique.wrap(trained, steps_per_epoch=30)
    names = {layer.name for layer in wrapped.model.layers}
    assert {"quant_stem", "quant_b", "quant_top", "top_softmax", "second"} <= names
    assert {"quant_second", "add_quantize"}.isdisjoint(names)


def outside_net():
    """Kernels that train without being fake-quantized: recurrent, attention, nested, skipped."""
    image = layers.Input((8, 8), name="image")
    x = layers.LSTM(8, return_sequences=True, name="lstm")(image)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.TimeDistributed(layers.Dense(8), name="each")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten()(x))
    return tf_keras.Model(image, layers.Dense(10, activation="softmax", name="top")(x))


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("settings", [{"skip": ("hidden",)}, {"only": ("top",)}])
def test_kernels_that_are_not_rounded_keep_their_gains_in_a_loop_of_the_users(
    task, clustered, settings
):
    tf_keras.utils.set_random_seed(0)
    model = thinned(outside_net(), sparse=True, clustered=clustered)
    wrapped = QuantizationAware(**settings).wrap(model, steps_per_epoch=4)
    wrapped.model.compile(tf_keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    wrapped.model.fit(task.train.x[:128, ..., 0], task.train.y[:128], verbose=0)
    optimized = wrapped.strip()
    assert facts.lost_gains(facts.measure(model), facts.measure(optimized)) == []
    for name in ("lstm", "attention", "each", "hidden"):
        before, after = (facts.kernels(m.get_layer(name)) for m in (model, optimized))
        for key, kernel in before.items():
            kept = kernel.numpy() == 0
            assert kept.any() and not after[key].numpy()[kept].any()
            assert np.array_equal(kernel, after[key]) == clustered  # held, or trained on


def test_a_pruned_embedding_keeps_its_zeros():
    tf_keras.utils.set_random_seed(0)
    tokens = layers.Input((6,), dtype="int32", name="tokens")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(20, 8, name="table")(tokens))
    model = tf_keras.Model(tokens, layers.Dense(2, name="top")(x))
    model = thinned(model, sparse=True, clustered=False)
    wrapped = QuantizationAware().wrap(model, steps_per_epoch=4)
    wrapped.model.compile("adam", "mse")
    x = np.random.default_rng(0).integers(0, 20, (64, 6))
    wrapped.model.fit(x, np.ones((64, 2)), verbose=0)
    before, after = (m.get_layer("table").embeddings.numpy() for m in (model, wrapped.strip()))
    assert not after[before == 0].any() and not np.array_equal(before, after)


def test_layers_that_only_train_leave_the_file_with_integers_only(task):
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([
        layers.Input((8, 8, 1)), layers.RandomRotation(0.1), layers.RandomTranslation(0.1, 0.1),
        layers.Conv2D(8, 3), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.1),
        layers.Flatten(), layers.GaussianNoise(0.1), layers.Dense(10, name="top"),
    ])  # fmt: skip
    optimized = QuantizationAware(epochs=0.2).apply(model, task)
    tflite = int8(optimized, task)
    assert inspect(tflite).integer_only
    (outputs,) = TFLiteModel(tflite, kernels="builtin").predict(task.test.x)
    expected = optimized.predict(task.test.x, verbose=0)
    assert np.mean(outputs.argmax(1) == expected.argmax(1)) >= 0.97


def hard_net():
    """Layers TF-MOT refuses, one after the other."""
    image = layers.Input((8, 8, 3), name="image")
    x = layers.Rescaling(0.5)(
        layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(image)
    )
    x = layers.BatchNormalization()(layers.SeparableConv2D(6, 3, activation="swish")(x))
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2DTranspose(6, 3)(x))
    x = layers.LayerNormalization()(layers.Multiply()([x, layers.Activation("sigmoid")(x)]))
    x = x[:, 1:-1] * 2.0
    x = layers.Reshape((-1, 6))(x)
    x = layers.Conv1D(6, 3, activation="gelu")(x + layers.MultiHeadAttention(2, 3)(x, x))
    x = layers.Lambda(tf.abs)(layers.AveragePooling1D()(x))
    return tf_keras.Model(image, layers.Dense(2, activation="sigmoid")(layers.Flatten()(x)))


def test_layers_that_tfmot_refuses_are_fake_quantized_too():
    tf_keras.utils.set_random_seed(0)
    model = hard_net()
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype(np.float32)
    y = np.zeros((64, 2), np.float32)
    task = Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)
    technique = QuantizationAware(epochs=1)
    assert technique.select(model).skipped == ()
    optimized = technique.apply(model, task)
    tflite = int8(optimized, task)
    assert inspect(tflite).integer_only
    (outputs,) = TFLiteModel(tflite).predict(x)
    assert np.abs(outputs - optimized.predict(x, verbose=0)).mean() < 0.02


def test_several_inputs_by_name():
    left, right = layers.Input((3,), name="left"), layers.Input((3,), name="right")
    model = tf_keras.Model([right, left], layers.Subtract()([layers.Dense(3)(left), right]))
    inputs = {"left": np.ones((8, 3), np.float32), "right": np.full((8, 3), 5, np.float32)}
    wrapped = QuantizationAware().wrap(model, steps_per_epoch=1, representative=inputs)
    ranges = wrapped.model.get_layer("right_quantize").quantizer_vars
    assert float(ranges["max"]) == 5.0


def test_the_result_can_be_saved_and_loaded(trained, task, tmp_path):
    x = task.representative_inputs(32)
    model = thinned(trained, sparse=False, clustered=True)
    optimized = QuantizationAware().wrap(model, steps_per_epoch=9, representative=x).strip()
    save_model(optimized, tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(x), optimized(x), atol=1e-6)


def test_settings_survive_json():
    technique = QuantizationAware(epochs=0.5, only=("conv",))
    settings = json.loads(json.dumps({"epochs": technique.epochs, "only": technique.only}))
    assert QuantizationAware(**settings) == technique


def test_a_layer_of_the_users_may_be_called_like_one_of_tfmots():
    kind = type("QuantizeLayer", (layers.ReLU,), {})
    model = tf_keras.Sequential([layers.Dense(3, input_shape=(4,)), kind(), layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    optimized = QuantizationAware().wrap(model, steps_per_epoch=1, representative=x).strip()
    assert kind in map(type, optimized.layers)
    assert inspect(convert(optimized, representative=x, target=Target.int8())).integer_only


def test_a_fake_quantized_model_is_refused(trained):
    once = QuantizationAware().wrap(trained, steps_per_epoch=1)
    with pytest.raises(TechniqueError) as error:
        QuantizationAware().select(once.strip())
    assert str(error.value) == (
        f"Received model {trained.name!r}, which is fake-quantized already; expected a model that "
        "has not been through quantization-aware training. Fix: apply QuantizationAware once, as "
        "the last step; to train longer, raise epochs."
    )


def test_a_model_without_a_layer_to_touch_is_refused():
    x = layers.Input((4, 2), name="x")
    model = tf_keras.Model(x, layers.Lambda(lambda t: tf.argmax(t, 1), name="largest")(x), name="m")
    with pytest.raises(TechniqueError) as error:
        QuantizationAware().select(model)
    assert str(error.value) == (
        "Received model 'm', of which QuantizationAware can touch no layer (largest: its output is "
        "not floating-point); expected at least one layer that can be "
        "fake-quantized. Fix: correct only and skip, or convert the model without this step."
    )


def test_weights_set_from_outside_lose_what_was_gained(trained):
    model = thinned(trained, sparse=True, clustered=False)
    wrapped = QuantizationAware().wrap(model, steps_per_epoch=1)
    kernel = wrapped.model.get_layer("quant_second")._weight_vars[0][0]
    kernel.assign(np.ones(kernel.shape))
    with pytest.raises(LostGainError) as error:
        wrapped.strip()
    assert str(error.value) == (
        "Received a model in which, after training, the sparsity of second (kernel) fell from "
        "0.500 to 0.000; expected the zeros and the shared weights that earlier steps had gained. "
        "Fix: train the model that wrap returned with its own weights: they must not be set from "
        "outside, nor its layers be replaced."
    )


def test_representative_inputs_that_do_not_fit_are_refused(trained):
    with pytest.raises(DataError, match=r"shape \(28, 28, 1\) for 'image'"):
        QuantizationAware().wrap(
            trained, steps_per_epoch=1, representative=np.zeros((4, 28, 28, 1))
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "Received epochs=0; expected a number above 0"),
        ({"learning_rate": -1.0}, "Received learning_rate=-1.0; expected a number above 0"),
        ({"skip": "conv"}, "Received skip='conv'; expected a tuple of layer names"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingError) as error:
        QuantizationAware(**settings)
    assert str(error.value).startswith(message)


def test_an_unknown_layer_is_refused_with_the_nearest(trained):
    with pytest.raises(SettingError, match="'second' is nearest"):
        QuantizationAware(skip=("secnd",)).select(trained)
