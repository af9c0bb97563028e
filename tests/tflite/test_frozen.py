"""The frozen graph goes to the converter without another copy of it, and gives the same file."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfopt.keras_gate import tf_keras
from tfopt.testing import small_cnn
from tfopt.tflite import frozen

layers = tf_keras.layers


def function_of(model, batch=None):
    specs = [tf.TensorSpec([batch, *x.shape[1:]], x.dtype) for x in model.inputs]
    function = tf.function(lambda *inputs: model(list(inputs), training=False))
    return function.get_concrete_function(*specs)


def several_inputs_and_outputs():
    image, number = layers.Input((8, 8, 1), name="image"), layers.Input((), name="number")
    x = layers.Flatten()(layers.Conv2D(4, 3)(image))
    x = layers.Concatenate()([x, layers.Reshape((1,))(number)])
    shift = tf.constant(np.arange(3.0), tf.float32)
    y = layers.Lambda(lambda z: z + shift)(layers.Dense(3)(x))
    return tf_keras.Model([image, number], [y, x])


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("make", [small_cnn, several_inputs_and_outputs])
@pytest.mark.parametrize("optimized", [False, True])
def test_the_file_is_the_one_of_tensorflows_own_way(tmp_path, make, batch, optimized):
    model = make()
    function = function_of(model, batch)
    frozen.write(function, str(tmp_path))
    files = []
    for converter in (
        tf.lite.TFLiteConverter.from_concrete_functions([function], model),
        frozen.Converter(str(tmp_path)),
    ):
        converter.exclude_conversion_metadata = True
        converter.experimental_lower_to_saved_model = False
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimized else []
        files.append(converter.convert())
    assert files[0] == files[1]


def test_what_was_traced_before_does_not_show_in_the_file(tmp_path):
    table = tf.random.stateless_normal((40, 40), (0, 0))  # too large to be a constant of the graph

    def converted(model):
        frozen.write(function_of(model), str(tmp_path))
        return frozen.Converter(str(tmp_path)).convert()

    words = tf_keras.Sequential(
        [
            layers.Input((6,), dtype="int32"),
            layers.Embedding(40, 40, embeddings_initializer="ones"),
            layers.Lambda(lambda x: x @ table),
        ]
    )
    files = []
    for others in (0, 100):
        for _ in range(others):
            tf.function(lambda x: x @ table).get_concrete_function(tf.TensorSpec((1, 40)))
        files.append(converted(words))
    assert files[0] == files[1]
    assert b"captured_" in files[0]


_PEAK = """
import resource, sys
import numpy as np
import tensorflow as tf
from tfopt.target import Target
from tfopt.tflite import converter, keeping, tracing
from tfopt.keras_gate import tf_keras

layers = tf_keras.layers
model = tf_keras.Sequential(
    [layers.Input((2, 2, 1024)), *(layers.Conv2D(1024, 3, padding="same") for _ in range(3))]
)
np.save(sys.argv[1] + "/00000.npy", np.ones((2, 2, 2, 1024), np.float32))
traced = tracing.trace(model, batch=None, lstm_ops=True, fake_quantized=True, integer=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
converter.frozen.write(traced.function, sys.argv[1])
file = converter.run_frozen(sys.argv[1], Target.int8(), keeping.LayerNames.of(traced))
assert isinstance(file, bytes), file
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - before) * 1024 / sum(weight.numpy().nbytes for weight in model.weights))
"""


def test_few_copies_of_the_weights_are_in_memory_at_once(tmp_path):
    command = [sys.executable, "-c", _PEAK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 14  # TensorFlow's own way: 28
