"""Fake quantization behind a masking layer: masks go on as they do in the float model."""

import keras
import numpy as np
import pytest

import tfopt
from tfopt import facts
from tfopt.graph.calls import nodes, outputs
from tfopt.keras_gate import load_model, save_model, tf_keras
from tfopt.quantization.insert import fake_quantization_off, insert, separate_activations
from tfopt.quantization.kernels import MaskedWrapper
from tfopt.quantization.layout import plan
from tfopt.quantization.ranges import QuantizeLayer, calibrate, has_mask, is_quantize_layer
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.tflite.interpreter import TFLiteModel

LENGTH, WORDS = 10, 40
RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(1, WORDS, (48, LENGTH)).astype("int32")
TOKENS[np.arange(LENGTH) >= RANDOM.integers(2, LENGTH, (48, 1))] = 0
SIGNALS = np.where((TOKENS > 0)[..., None], RANDOM.normal(size=(48, LENGTH, 6)), 0)
SIGNALS = SIGNALS.astype("float32")


def attention(layers, x):
    return layers.MultiHeadAttention(2, 4)(x, x)


MIDDLES = {
    "Dense": lambda layers, x: layers.Dense(6, "tanh")(layers.Dense(8, "relu")(x)),
    "Conv1D": lambda layers, x: layers.Conv1D(6, 3, padding="same")(x),
    "BatchNormalization": lambda layers, x: layers.BatchNormalization()(x),
    "LayerNormalization": lambda layers, x: layers.LayerNormalization()(x),
    "EinsumDense": lambda layers, x: layers.EinsumDense("abc,cd->abd", (None, 5))(x),
    "GRU": lambda layers, x: layers.GRU(5, return_sequences=True)(x),
    "LSTM": lambda layers, x: layers.LSTM(5, return_sequences=True)(x),
    "Bidirectional": lambda layers, x: layers.Bidirectional(layers.GRU(4))(x),
    "MultiHeadAttention": attention,
    "TimeDistributed": lambda layers, x: layers.TimeDistributed(layers.Dense(5))(x),
    "Add": lambda layers, x: layers.Add()([layers.Dense(5)(x), layers.Dense(5, "relu")(x)]),
}


def net(kind, middle, masking):
    """A model of a Keras with a dense layer in front of the layer to test, and its samples."""
    layers = kind.layers
    if masking == "Embedding":
        samples, inputs = TOKENS, kind.Input((LENGTH,), dtype="int32")
        x = layers.Embedding(WORDS, 6, mask_zero=True)(inputs)
    else:
        samples, inputs = SIGNALS, kind.Input((LENGTH, 6))
        x = layers.Masking()(inputs)
    if middle != "MultiHeadAttention":
        x = layers.Dense(6)(x)
    x = MIDDLES[middle](layers, x)
    if len(x.shape) == 3:
        x = layers.GlobalAveragePooling1D()(x)
    model = load_model(kind.Model(inputs, layers.Dense(4)(x)))
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return model, samples


def apart(received, expected):
    return np.abs(received - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("masking", ["Embedding", "Masking"])
@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras3", "tf_keras"])
def test_fake_quantization_hands_masks_on_as_the_layers_do(kind, middle, masking):
    model, samples = net(kind, middle, masking)
    touched = frozenset(QuantizationAware().select(model).touched)
    model, touched = separate_activations(model, touched)
    pair = insert(model, plan(model, touched), facts.measure(model).kernels)
    calibrate(model, pair.ranges, samples)
    assert any(is_quantize_layer(layer) for layer in pair.model.layers)
    for tensor in (tensor for node in nodes(model) for tensor in outputs(node)):
        assert has_mask(pair.doubles[id(tensor)]) == has_mask(tensor), tensor.name
    expected = model(samples).numpy()
    with fake_quantization_off(pair.model):
        assert apart(pair.model(samples).numpy(), expected) < 1e-5
    rounded = pair.model(samples).numpy()
    assert 0 < apart(rounded, expected) < 0.2
    np.testing.assert_allclose(rounded, pair.model.predict(samples, verbose=0), atol=1e-2)


@pytest.mark.parametrize("middle", ["Dense", "Conv1D", "GRU", "MultiHeadAttention"])
@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras3", "tf_keras"])
def test_the_integer_file_of_a_masking_model_is_the_model(kind, middle):
    model, tokens = net(kind, middle, "Embedding")
    labels = model(tokens).numpy()
    task = tfopt.Task.from_arrays(
        (tokens, labels), (tokens, labels), loss="mse", metric="mae", batch_size=16
    )
    step = QuantizationAware(steps=3)
    result = tfopt.optimize(model, [step], task=task, target=tfopt.Target.int8(refine=False))
    trained = result.model(tokens).numpy()
    assert tfopt.inspect(result.tflite).integer_only
    assert apart(TFLiteModel(result.tflite).predict(tokens)[0], trained) < 0.05
    assert apart(trained, labels) < 0.2


def test_a_chain_that_ends_in_quantization_aware_training_takes_a_masking_model():
    model, tokens = net(keras, "Dense", "Embedding")
    labels = model(tokens).numpy()
    task = tfopt.Task.from_arrays(
        (tokens, labels), (tokens, labels), loss="mse", metric="mae", batch_size=16
    )
    steps = [tfopt.ChannelPruning(macs=0.7, steps=2), tfopt.LowRank(energy=0.3, steps=2)]
    target = tfopt.Target.int8(refine=False)
    result = tfopt.optimize(model, [*steps, QuantizationAware(steps=2)], task=task, target=target)
    assert tfopt.inspect(result.tflite).integer_only


def clustered():
    """Layers whose channels share their values, behind masks, which a Dense and a Conv2D have."""
    image = tf_keras.Input((6, 6, 2), name="image")
    x = tf_keras.layers.Masking(name="masked")(image)
    x = tf_keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = tf_keras.layers.Masking(name="again")(tf_keras.layers.Flatten()(x))
    x = tf_keras.layers.Dense(6, name="hidden")(x)
    model = tf_keras.Model(image, tf_keras.layers.Dense(3, name="top")(x))
    random = np.random.default_rng(2)
    for layer in model.layers:
        for kernel in facts.kernels(layer).values():
            kernel.assign(random.choice([-0.5, -0.2, 0.1, 0.4], kernel.shape))
    return model


def test_a_layer_with_one_scale_takes_a_masked_input(tmp_path):
    samples = np.random.default_rng(3).normal(size=(32, 6, 6, 2)).astype("float32")
    model = clustered()
    wrapped = QuantizationAware().wrap(model, steps_per_epoch=2, representative=samples)
    stripped = wrapped.strip()
    expected = stripped(samples).numpy()
    assert apart(expected, model(samples).numpy()) < 0.1
    kinds = {layer.name: type(layer) for layer in stripped.layers}
    assert {kinds["quant_conv"], kinds["quant_hidden"], kinds["quant_top"]} == {MaskedWrapper}
    save_model(stripped, tmp_path / "stripped.keras")
    again = load_model(tmp_path / "stripped.keras")
    np.testing.assert_array_equal(again(samples), expected)
    labels = model(samples).numpy()
    task = tfopt.Task.from_arrays((samples, labels), (samples, labels), loss="mse", metric="mae")
    tflite = tfopt.convert(again, task=task, target=tfopt.Target.int8(refine=False))
    assert apart(TFLiteModel(tflite).predict(samples)[0], expected) < 0.05


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_stored_model_goes_on_masking(tmp_path, suffix):
    model, tokens = net(tf_keras, "GRU", "Embedding")
    wrapped = QuantizationAware().wrap(model, steps_per_epoch=2, representative=tokens)
    for name, made in (("wrapped", wrapped.model), ("stripped", wrapped.strip())):
        path = tmp_path / f"{name}{suffix}"
        save_model(made, path)
        again = load_model(path)
        np.testing.assert_allclose(again(tokens), made(tokens), atol=1e-6)
        assert any(type(layer) is QuantizeLayer for layer in again.layers)


def test_without_masks_the_layers_are_those_of_tfmot():
    x = tf_keras.Input((8,))
    model = tf_keras.Model(x, tf_keras.layers.Dense(3)(x))
    samples = np.random.default_rng(0).random((32, 8), np.float32)
    stripped = QuantizationAware().wrap(model, steps_per_epoch=1, representative=samples).strip()
    kinds = [type(layer) for layer in stripped.layers if is_quantize_layer(layer)]
    assert kinds and QuantizeLayer not in kinds
