"""The hard layers as integer files that run, with and without XNNPACK, near the Keras model."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.errors import FloatOpsError
from tfopt.graph.cost import model_cost
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers


def stack(shape, *over, dtype="float32"):
    tf_keras.utils.set_random_seed(0)
    x = inputs = layers.Input(shape, dtype=dtype)
    for layer in over:
        x = layer()(x)
    return tf_keras.Model(inputs, x)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def task_for(model, count=48):
    generator = np.random.default_rng(0)
    (tensor,) = model.inputs
    shape = (count, *tensor.shape[1:])
    if tensor.dtype.is_integer or isinstance(model.layers[1], layers.Embedding):
        x = generator.integers(0, 250 if tensor.dtype == tf.uint8 else 9, shape)
    else:
        x = generator.normal(size=shape)
    x = x.astype(tensor.dtype.as_numpy_dtype)
    y = np.asarray(model(x, training=False))
    return Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)


def relative_error(model, tflite, kernels="default"):
    """Root mean square of the difference to Keras, in standard deviations of the outputs."""
    x = task_for(model).representative_inputs(48)
    want = np.asarray(model(x, training=False))
    (got,) = TFLiteModel(tflite, kernels=kernels).predict(x)
    return float(np.sqrt(np.mean((got - want) ** 2)) / np.std(want))


def twice(layer):
    """A recurrent layer over what another one of its kind makes of the sequence."""
    return (lambda: layers.Bidirectional(layer(4, return_sequences=True)),
            lambda: layers.Bidirectional(layer(4)))  # fmt: skip


def activated(function):
    return lambda: layers.Dense(8, activation=function)


VOLUME, FILM, SIGNAL, IMAGE, ROW = (5, 6, 6, 2), (4, 6, 6, 2), (6, 4), (6, 6, 4), (6,)
MODELS = {
    "LSTM": (SIGNAL, lambda: layers.LSTM(5)),
    "GRU": (SIGNAL, lambda: layers.GRU(5)),
    "GRU reset before": (SIGNAL, lambda: layers.GRU(5, reset_after=False)),
    "SimpleRNN": (SIGNAL, lambda: layers.SimpleRNN(5)),
    "Bidirectional LSTM": (SIGNAL, *twice(layers.LSTM)),
    "Bidirectional GRU": (SIGNAL, *twice(layers.GRU)),
    "masked GRU": (SIGNAL, lambda: layers.Masking(), lambda: layers.GRU(5)),
    "ConvLSTM1D": (SIGNAL, lambda: layers.Reshape((3, 4, 2)), lambda: layers.ConvLSTM1D(3, 2)),
    "ConvLSTM2D": (FILM, lambda: layers.ConvLSTM2D(3, 3, padding="same")),
    "Conv3D": (VOLUME, lambda: layers.Conv3D(4, 3, activation="relu")),
    "Conv3DTranspose": (VOLUME, lambda: layers.Conv3DTranspose(3, 3, strides=2)),
    "MaxPooling3D": (VOLUME, lambda: layers.MaxPooling3D(2)),
    "AveragePooling3D": (VOLUME, lambda: layers.AveragePooling3D(2, padding="same")),
    "GroupNormalization": (IMAGE, lambda: layers.Conv2D(8, 3),
                           lambda: layers.GroupNormalization(4)),
    "LayerNormalization": (SIGNAL, lambda: layers.Dense(8), lambda: layers.LayerNormalization()),
    "UnitNormalization": (ROW, activated(None), lambda: layers.UnitNormalization()),
    "ELU": (IMAGE, lambda: layers.Conv2D(4, 3), lambda: layers.ELU(0.7)),
    "ThresholdedReLU": (ROW, activated(None), lambda: layers.ThresholdedReLU(0.3)),
    "ReLU of all settings": (ROW, activated(None), lambda: layers.ReLU(1.5, 0.1, 0.2)),
    **{name: (ROW, activated(name)) for name in (
        "elu", "selu", "softplus", "softsign", "mish", "hard_sigmoid", "exponential", "gelu",
        "swish", "tanh", "softmax",
    )},
    "l2_normalize": (SIGNAL, lambda: layers.Lambda(lambda x: tf.math.l2_normalize(x, -1))),
    "cumsum": (SIGNAL, lambda: layers.Lambda(lambda x: tf.cumsum(x, 1))),
    "minimum": (ROW, activated(None), lambda: layers.Lambda(lambda x: x + tf.minimum(x, 0.0))),
    "square": (SIGNAL, lambda: layers.Lambda(tf.square)),
}  # fmt: skip
LESS_EXACT = {"ThresholdedReLU": 0.08, "ReLU of all settings": 0.05, "AveragePooling3D": 0.05,
              "ELU": 0.06, "LayerNormalization": 0.06, "quotient": 0.08}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_hard_layers_become_integer_files(name):
    shape, *over = MODELS[name]
    model = stack(shape, *over)
    target = Target.int8(input_type="float32", output_type="float32")
    tflite = convert(model, task=task_for(model), target=target)
    assert inspect(tflite).integer_only
    for kernels in ("default", "builtin"):
        assert relative_error(model, tflite, kernels) < LESS_EXACT.get(name, 0.04)


def hard_swish(x):
    return x * tf.nn.relu6(x + 3.0) / 6.0


MODELS |= {
    "hard swish": (ROW, activated(hard_swish)),
    "ReLU with a threshold": (ROW, activated(None), lambda: layers.ReLU(None, 0.0, 0.2)),
    "sum": (SIGNAL, lambda: layers.Lambda(lambda x: tf.reduce_sum(x, 1))),
    "quotient": (SIGNAL, lambda: layers.Lambda(lambda x: x / (2.0 + x[:, ::-1] ** 2))),
    "selection": (SIGNAL, lambda: layers.Lambda(lambda x: tf.where(x > 0.5, x, 0.5 * x - 1.0))),
}
WIDE = ["GRU", "LayerNormalization", "Conv3D", "elu", "LSTM", "UnitNormalization", "softsign",
        "hard swish", "ReLU with a threshold", "ReLU of all settings", "sum", "quotient",
        "selection"]  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_sixteen_bits_are_more_exact(name):
    shape, *over = MODELS[name]
    model = stack(shape, *over)
    target = Target.int16x8(input_type="float32", output_type="float32")
    tflite = convert(model, task=task_for(model), target=target)
    assert inspect(tflite).integer_only
    assert relative_error(model, tflite) < 0.01


@pytest.mark.parametrize("mask", [False, True])
def test_embedded_integers(mask):
    model = stack(
        (7,), lambda: layers.Embedding(11, 4, mask_zero=mask),
        lambda: layers.GlobalAveragePooling1D(), dtype="int32",
    )  # fmt: skip
    tflite = convert(model, task=task_for(model), target=Target.int8())
    assert inspect(tflite).integer_only
    assert inspect(tflite).inputs[0].dtype == "int32"
    assert relative_error(model, tflite) < 0.04


@pytest.mark.parametrize(
    "over",
    [
        lambda: layers.GlobalAveragePooling1D(),
        lambda: layers.GRU(5),
        lambda: layers.LSTM(5),
    ],
    ids=["average", "GRU", "LSTM"],
)
def test_masked_integers_in_sixteen_bits(over):
    model = stack((7,), lambda: layers.Embedding(9, 4, mask_zero=True), over, dtype="int32")
    target = Target.int16x8(input_type="float32", output_type="float32")
    tflite = convert(model, task=task_for(model), target=target)
    assert inspect(tflite).integer_only
    assert relative_error(model, tflite) < 0.03


def test_bytes_stay_the_bytes_they_are():
    model = stack(
        (6, 6, 3), lambda: layers.Rescaling(1 / 255), lambda: layers.Conv2D(4, 3), dtype="uint8"
    )
    tflite = convert(model, task=task_for(model), target=Target.int8())
    inspection = inspect(tflite)
    assert inspection.integer_only
    (entry,) = inspection.inputs
    assert (entry.dtype, entry.scales, entry.zero_points) == ("uint8", (1.0,), (0,))
    assert inspection.outputs[0].dtype == "int8"
    assert relative_error(model, tflite) < 0.04


def test_what_stays_in_floating_point_is_refused_by_name():
    model = stack((4,), activated(None), lambda: layers.Lambda(tf.floor, name="steps"))
    with pytest.raises(FloatOpsError, match="FLOOR of layer"):
        convert(model, task=task_for(model), target=Target.int8())


def test_integers_that_are_made_real_are_refused_with_the_way_out():
    model = stack((4,), lambda: layers.Embedding(9, 3), lambda: layers.Flatten())
    with pytest.raises(FloatOpsError) as caught:
        convert(model, task=task_for(model), target=Target.int8())
    assert "CAST of layer" in caught.value.received
    assert "Input(..., dtype='int32')" in caught.value.fix


def test_quantization_aware_volumes_become_integer_files():
    model = stack(
        VOLUME, lambda: layers.Conv3D(4, 3, activation="relu"), lambda: layers.MaxPooling3D(2),
        lambda: layers.Flatten(), lambda: layers.Dense(3),
    )  # fmt: skip
    task = task_for(model)
    technique = QuantizationAware(epochs=0.5)
    assert {"Conv3D", "MaxPooling3D"} <= {
        type(model.get_layer(name)).__name__ for name in technique.select(model).touched
    }
    trained = technique.apply(model, task)
    tflite = convert(trained, task=task, target=Target.int8())
    assert inspect(tflite).integer_only
    assert relative_error(trained, tflite) < 0.1


@pytest.mark.parametrize("batch", [None, 3])
def test_a_dense_layer_over_a_sequence_computes_no_sizes(batch):
    tf_keras.utils.set_random_seed(0)
    inputs = layers.Input((12, 16), batch_size=batch)
    x = layers.Dense(24, activation="relu")(inputs)
    model = tf_keras.Model(inputs, layers.Reshape((-1, 4))(x))
    file = inspect(convert(model, target=Target.int8(), representative=normal(48, 12, 16)))
    assert [op.name for op in file.ops] == ["RESHAPE", "FULLY_CONNECTED", "RESHAPE"]
    assert file.macs == 12 * 16 * 24


def test_reshapes_with_computed_sizes_are_one_op():
    tf_keras.utils.set_random_seed(0)
    inputs = layers.Input((4, 6))
    pairs = layers.Lambda(lambda x: tf.reshape(x, (tf.shape(x)[0], -1, 3)))(inputs)
    rows = layers.Lambda(lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:2], [3, 1]], 0)))(pairs)
    model = tf_keras.Model(inputs, rows)
    tflite = convert(model, target=Target.float32())
    assert [op.name for op in inspect(tflite).ops] == ["RESHAPE"]
    x = normal(5, 4, 6)
    np.testing.assert_array_equal(TFLiteModel(tflite).predict(x)[0], model(x))


@pytest.mark.parametrize("activation", ["elu", "selu", "softplus"])
@pytest.mark.parametrize("shape", [(16,), (6, 16)])
def test_a_dense_layer_is_not_computed_twice_for_its_activation(activation, shape):
    tf_keras.utils.set_random_seed(0)
    inputs = layers.Input(shape)
    x = layers.Dense(8, activation=activation)(inputs)
    model = tf_keras.Model(inputs, layers.Dense(4, activation=activation)(x))
    x = normal(64, *shape)
    tflite = convert(model, target=Target.int8(refine=False), representative=x)
    assert inspect(tflite).macs == model_cost(model).macs
    error = TFLiteModel(tflite).predict(x)[0] - model(x)
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.std(model(x))
