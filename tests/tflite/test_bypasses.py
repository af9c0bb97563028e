"""What two layers have in common is computed once, and rounded once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import tfopt
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.tflite import schema
from tfopt.tflite.bypasses import closed
from tfopt.tflite.interpreter import TFLiteModel

TARGET = Target.int8(refine=False)


def by_variance(x):
    mean = tf.reduce_mean(x, -1, keepdims=True)
    return (x - mean) / tf.sqrt(tf.math.reduce_variance(x, -1, keepdims=True) + 0.1)


def by_deviation(x):
    mean = tf.reduce_mean(x, -1, keepdims=True)
    return (x - mean) / (tf.math.reduce_std(x, -1, keepdims=True) + 0.1)


def by_moments_and_mean(x):
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - tf.reduce_mean(x, -1, keepdims=True)) * tf.math.rsqrt(variance + 0.1) + mean


def by_squared_difference(x):
    mean = tf.reduce_mean(x, -1, keepdims=True)
    squares = tf.math.squared_difference(x, mean)
    return (x - mean) * tf.math.rsqrt(tf.reduce_mean(squares, -1, keepdims=True) + 0.1)


def beside_a_layer(x):
    return tf_keras.layers.LayerNormalization(epsilon=0.1)(x) + tf.reduce_mean(x, -1, keepdims=True)


def of_keras3(x):
    return (x - ops.mean(x, -1, keepdims=True)) / ops.sqrt(ops.var(x, -1, keepdims=True) + 0.1)


def of_keras3_deviation(x):
    return (x - ops.mean(x, -1, keepdims=True)) / (ops.std(x, -1, keepdims=True) + 0.1)


def net(normalized):
    own = keras if "keras3" in normalized.__name__ else tf_keras
    inputs = own.Input((16,))
    x = own.layers.Dense(12, activation="relu", name="first")(inputs)
    return own.Model(inputs, own.layers.Dense(4, name="top")(normalized(x)))


@pytest.mark.parametrize(
    "normalized",
    [
        *(by_variance, by_deviation, by_moments_and_mean, by_squared_difference),
        *(beside_a_layer, of_keras3, of_keras3_deviation),
    ],
)
def test_a_normalization_by_hand_is_integer_only_after_quantization_aware_training(normalized):
    tf_keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(128, 16)).astype(np.float32)
    technique = tfopt.QuantizationAware()
    model = technique.wrap(net(normalized), steps_per_epoch=1, representative=x).strip()
    tflite = tfopt.convert(model, representative=x, target=TARGET)
    assert tfopt.inspect(tflite).integer_only
    found, expected = TFLiteModel(tflite).predict(x)[0], model.predict(x, verbose=0)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.05 * np.std(expected)


def test_a_file_without_bypasses_is_left_as_it_is():
    tflite = tfopt.convert(net(by_variance), target=Target.float32())
    assert closed(tflite) is tflite


def test_all_readers_read_the_rounded_numbers_in_an_order_that_runs():
    @tf.function(input_signature=[tf.TensorSpec([1, 4])])
    def both(x):
        y = tf.nn.relu(x)
        rounded = tf.quantization.fake_quant_with_min_max_args(y, 0.0, 2.0)
        return tf.exp(y) + tf.sin(y), rounded * 2.0

    function = both.get_concrete_function()
    tflite = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    once = closed(tflite)
    graph = schema.unpack(once).subgraphs[0]
    relu = next(op for op in graph.operators if len(op.inputs) == 1).outputs[0]
    assert sum(relu in op.inputs for op in graph.operators) == 1
    x = np.array([[0.011, 1.013, -1.0, 2.0]], np.float32)
    y = np.rint(np.maximum(x, 0) / 2 * 255) * 2 / 255
    outputs = {found.round(4).tobytes() for found in TFLiteModel(once).predict(x)}
    wanted = {
        array.astype(np.float32).round(4).tobytes() for array in (np.exp(y) + np.sin(y), y * 2)
    }
    assert outputs == wanted


def test_integers_that_were_reshaped_are_not_read_as_real_numbers():
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.layers.Input((4, 9, 6))
    x = tf_keras.layers.Reshape((-1, 6))(image * 2.0)
    x = x + tf_keras.layers.MultiHeadAttention(2, 3)(x, x)
    model = tf_keras.Model(image, tf_keras.layers.Dense(2)(tf_keras.layers.Flatten()(x)))
    x = np.random.default_rng(0).normal(size=(64, 4, 9, 6)).astype(np.float32)
    y = np.zeros((64, 2), np.float32)
    task = tfopt.Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)
    trained = tfopt.QuantizationAware(epochs=1).apply(model, task)
    tflite = tfopt.convert(trained, task=task, target=TARGET)
    (found,) = TFLiteModel(tflite).predict(x)
    expected = trained.predict(x, verbose=0)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.05 * np.std(expected)
