"""Small `.tflite` files that several tests read, each made once."""

import numpy as np
import pytest

from tfopt.task import Task


@pytest.fixture(scope="session")
def cnn():
    """A small network whose weights are not what it was born with: outputs differ by input."""
    from tfopt.keras_gate import tf_keras
    from tfopt.testing import small_cnn

    tf_keras.utils.set_random_seed(0)
    model = small_cnn()
    generator = np.random.default_rng(0)
    model.set_weights(
        [np.abs(w) + 0.3 * generator.standard_normal(w.shape) ** 2 if w.ndim == 1 else 3 * w
         for w in model.get_weights()]
    )  # fmt: skip
    return model


def to_tflite(model, *, integer=False, io="float32", samples=None):
    """A Keras model as a file, straight from TensorFlow's converter."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, io)
    return converter.convert()


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(1).random((150, 8, 8, 1), np.float32)


@pytest.fixture(scope="session")
def float_file(cnn):
    return to_tflite(cnn)


@pytest.fixture(scope="session")
def int8_file(cnn, images):
    return to_tflite(cnn, integer=True, io="int8", samples=images[:50])


@pytest.fixture(scope="session")
def int8_float_io_file(cnn, images):
    return to_tflite(cnn, integer=True, samples=images[:50])


@pytest.fixture(scope="session")
def multi_file():
    """Two inputs of one shape and two outputs: `left` minus `right`, and `left` twice."""
    from tfopt.keras_gate import tf_keras

    left, right = (tf_keras.layers.Input((3,), name=name) for name in ("left", "right"))
    difference = tf_keras.layers.Subtract(name="difference")([left, right])
    double = tf_keras.layers.Add(name="double")([left, left])
    return to_tflite(tf_keras.Model([right, left], [difference, double]))


@pytest.fixture(scope="session")
def lstm_file():
    """A recurrent network of a fixed batch of one, and the Keras model it was made from."""
    import tensorflow as tf

    from tfopt.keras_gate import tf_keras

    tf_keras.utils.set_random_seed(0)
    sequence = tf_keras.layers.Input((7, 3))
    model = tf_keras.Model(sequence, tf_keras.layers.LSTM(4)(sequence))
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec((1, 7, 3), tf.float32, name="sequence")
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    return converter.convert(), model


def from_function(function, *shape, dtype="float32"):
    """A function of one tensor as a file."""
    import tensorflow as tf

    spec = tf.TensorSpec(shape, dtype, name="x")
    concrete = tf.function(function).get_concrete_function(spec)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()


@pytest.fixture(scope="session")
def digits():
    return Task.digits()


@pytest.fixture(scope="session")
def trained(digits):
    """Trains a small net of `tfopt.testing` on the digits, each once: `trained(small_cnn)`."""
    from tfopt.keras_gate import tf_keras
    from tfopt.training import fine_tune

    models = {}

    def train(build):
        if build not in models:
            tf_keras.utils.set_random_seed(0)
            models[build] = build()
            fine_tune(models[build], digits, epochs=8, learning_rate=5e-3)
        return models[build]

    return train


@pytest.fixture(scope="session")
def make_file():
    """`from_function`, for tests."""
    return from_function


@pytest.fixture(scope="session")
def make_task():
    """Tasks whose training data is what they validate on: for what only measures."""

    def make(x, y, *, metric="accuracy", loss="sparse_categorical_crossentropy", test=None):
        return Task.from_arrays((x, y), (x, y), test, loss=loss, metric=metric)

    return make
