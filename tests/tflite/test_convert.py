"""The real converter on real small models: what comes out for every target, what is refused."""

import hashlib
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfopt import keras_gate
from tfopt.errors import ConversionError, DataError, FloatOpsError, ModelError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.tflite import converter, tracing
from tfopt.tflite.convert import FixedSizeWarning, FloatOpsWarning, convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.rewrites import table

layers = tf_keras.layers
TARGETS = [
    Target.float32(),
    Target.float16(),
    Target.dynamic_range(),
    Target.int8(),
    Target.int8(input_type="uint8", output_type="uint8"),
    Target.int8(input_type="float32", output_type="float32"),
    Target.int8(input_type="uint8", output_type="float32"),
    Target.int16x8(),
    Target.int16x8(input_type="float32", output_type="float32"),
]


def sequence(shape, *stack, **settings):
    """A functional model of layers one after the other."""
    x = inputs = layers.Input(shape, **settings)
    for layer in stack:
        x = layer(x)
    return tf_keras.Model(inputs, x)


def task_for(model, count=24, names=False):
    """Random inputs for a model, by position or by name."""
    generator = np.random.default_rng(0)
    inputs = [
        generator.normal(size=(count, *[7 if size is None else size for size in tensor.shape[1:]]))
        if tensor.dtype.is_floating
        else generator.integers(0, 9, (count, *tensor.shape[1:]))
        for tensor in model.inputs
    ]
    inputs = [x.astype(t.dtype.as_numpy_dtype) for x, t in zip(inputs, model.inputs, strict=True)]
    x = inputs[0] if len(inputs) == 1 else tuple(inputs)
    if names:
        x = dict(zip(model.input_names, inputs, strict=True))
    outputs = tuple(np.zeros((count, *t.shape[1:]), np.float32) for t in model.outputs)
    y = outputs[0] if len(outputs) == 1 else outputs
    return Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)


def keras_outputs(model, x):
    outputs = model(list(x) if isinstance(x, tuple) else x, training=False)
    return [np.asarray(output) for output in tf.nest.flatten(outputs)]


def worst_error(model, tflite, task):
    """The largest difference to Keras over all outputs, in parts of each one's largest value."""
    x = task.representative_inputs(24)
    pairs = zip(TFLiteModel(tflite).predict(x), keras_outputs(model, x), strict=True)
    return max(float(np.abs(got - want).max() / np.abs(want).max()) for got, want in pairs)


def shaken(model, seed=0):
    """Gives a model weights that all matter, batch statistics included."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        values = generator.normal(scale=0.4, size=variable.shape)
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    return model


@pytest.fixture(scope="module")
def net():
    """A residual block with a depthwise convolution, batch norms and ReLU6."""
    image = layers.Input((8, 8, 2), name="image")
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    stem = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(stem))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(stem)
    x = layers.ReLU(6.0, name="relu6")(layers.BatchNormalization(name="depthwise_bn")(x))
    x = layers.Add(name="add")([x, stem])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(3, activation="softmax", name="probabilities")(x)
    return shaken(tf_keras.Model(image, x, name="net"))


@pytest.fixture(scope="module")
def net_task(net):
    return task_for(net)


@pytest.fixture(scope="module")
def net_int8(net, net_task):
    return convert(net, task=net_task, target=Target.int8())


@pytest.mark.parametrize(
    "target", TARGETS, ids=lambda t: f"{t.numerics}-{t.input_type}-{t.output_type}"
)
def test_every_target(net, net_task, target):
    tflite = convert(net, task=net_task, target=target)
    found = inspect(tflite)
    assert [tensor.dtype for tensor in found.inputs] == [target.input_type]
    assert [tensor.dtype for tensor in found.outputs] == [target.output_type]
    assert found.integer_only == target.integer_only
    assert worst_error(net, tflite, net_task) < (0.05 if target.numerics == "int8" else 0.005)
    weights = {tensor.dtype for tensor in found.tensors if tensor.constant}
    assert ("float16" in weights) == (target.numerics == "float16")
    # the batch is left open
    assert found.inputs[0].shape == (-1, 8, 8, 2)
    assert found.signatures[0].inputs == ("image",)
    assert found.signatures[0].outputs == ("probabilities",)
    assert [tensor.name for tensor in found.inputs + found.outputs] == ["image", "probabilities"]


def test_dynamic_range_stores_large_weights_in_8_bits():
    model = shaken(sequence((64,), layers.Dense(64), layers.Dense(2)))
    found = inspect(convert(model, target=Target.dynamic_range()))
    assert {t.dtype for t in found.tensors if t.constant and len(t.shape) == 2} == {
        "int8",
        "float32",
    }
    assert found.inputs[0].dtype == "float32"


def test_the_ops_know_their_layers(net_int8):
    expected = ["stem", "depthwise", "add", "pool", "probabilities", "probabilities"]
    assert [op.layer for op in inspect(net_int8).ops] == expected


def test_weights_are_per_channel_and_aligned(net_int8):
    found = inspect(net_int8)
    assert len(found.ops[0].inputs[1].scales) == 4
    assert len(found.ops[1].inputs[1].scales) == 4
    assert found.ops[1].inputs[1].quantized_dimension == 3


def test_the_model_is_left_as_it_was(net, net_task):
    before = [value.copy() for value in net.get_weights()]
    attributes = {layer.name: set(vars(layer)) for layer in net.layers}
    convert(net, task=net_task, target=Target.float32())
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    assert {layer.name: set(vars(layer)) for layer in net.layers} == attributes


def test_nothing_is_printed(net, net_task, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(net, task=net_task, target=Target.int8())
    assert capfd.readouterr() == ("", "")


def two_inputs():
    left, right = layers.Input((4,), name="z_left"), layers.Input((5,), name="a_right")
    x = layers.Concatenate(name="join")([left, right])
    outputs = [
        layers.Dense(2, name="z_out")(x),
        layers.Dense(3, activation="sigmoid", name="a_out")(x),
    ]
    return shaken(tf_keras.Model([left, right], outputs))


@pytest.mark.parametrize("names", [False, True], ids=["tuple", "dict"])
@pytest.mark.parametrize("target", [Target.float32(), Target.int8()], ids=lambda t: t.numerics)
def test_several_inputs_and_outputs_keep_the_models_order(names, target):
    model = two_inputs()
    task = task_for(model, names=names)
    tflite = convert(model, task=task, target=target)
    (signature,) = inspect(tflite).signatures
    assert signature.inputs == ("z_left", "a_right")
    assert signature.outputs == ("z_out", "a_out")
    assert worst_error(model, tflite, task_for(model)) < 0.03


def test_inputs_that_data_goes_by_keep_even_an_automatic_name():
    layers.Input((4,))  # so that the counter is not where it begins
    left, right = layers.Input((4,)), layers.Input((4,))
    model = tf_keras.Model([left, right], layers.Subtract()([left, right]))
    by_position = inspect(convert(model, task=task_for(model), target=Target.int8()))
    assert by_position.signatures[0].inputs == ("input_1", "input_2")
    by_name = inspect(convert(model, task=task_for(model, names=True), target=Target.int8()))
    assert by_name.signatures[0].inputs == tuple(model.input_names)


def test_one_tensor_twice_and_an_input_passed_through():
    x = layers.Input((4,), name="x")
    y = layers.Dense(2, name="y")(x)
    model = shaken(tf_keras.Model(x, [y, y, x]))
    tflite = convert(model, task=task_for(model), target=Target.int8())
    assert inspect(tflite).signatures[0].outputs == ("y", "y_1", "x")
    assert worst_error(model, tflite, task_for(model)) < 0.03


def test_integer_inputs_stay_as_they_are():
    model = shaken(
        sequence((6,), layers.Embedding(9, 4), layers.GlobalAveragePooling1D(), layers.Dense(2),
                 dtype="int32")
    )  # fmt: skip
    task = task_for(model)
    tflite = convert(model, task=task, target=Target.int8())
    assert [t.dtype for t in inspect(tflite).inputs + inspect(tflite).outputs] == ["int32", "int8"]
    assert inspect(tflite).integer_only
    assert worst_error(model, tflite, task) < 0.03


def test_mixed_precision_is_converted_in_full_and_restored():
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = sequence((8, 8, 2), layers.Conv2D(4, 3), layers.ReLU(), layers.Flatten(),
                         layers.Dense(2, dtype="float32"))  # fmt: skip
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    tflite = convert(shaken(model), target=Target.float32())
    assert {tensor.dtype for tensor in inspect(tflite).tensors} <= {"float32", "int32"}
    assert model.layers[1].compute_dtype == "float16"


# Floating point in integer files


def wave():
    return shaken(
        sequence((4,), layers.Dense(4, name="before"), layers.Lambda(tf.sin, name="wave"),
                 layers.Dense(2, name="after"))
    )  # fmt: skip


def test_a_float_op_at_the_end_is_called_by_its_own_layer_not_by_the_one_before():
    model = shaken(
        sequence((4,), layers.Dense(4, name="before"), layers.Lambda(tf.sin, name="wave"))
    )
    with pytest.raises(FloatOpsError) as caught:
        convert(model, task=task_for(model), target=Target.int8())
    assert "SIN of layer 'wave'" in caught.value.received


@pytest.mark.parametrize("target", [Target.int8(), Target.int16x8()], ids=lambda t: t.numerics)
def test_a_float_island_is_refused_by_name(target):
    model = wave()
    with pytest.raises(FloatOpsError) as caught:
        convert(model, task=task_for(model), target=target)
    received = caught.value.received
    assert f"1 op(s) in floating point in a file for {target.numerics}: " in received
    assert "SIN of layer 'wave', which reads before/" in received
    assert "(float32 [-1, 4]) and writes wave/Sin (float32 [-1, 4])" in received
    assert caught.value.expected == "integer ops only"
    assert "replace layer 'wave' by one that has an integer kernel" in caught.value.fix
    assert "allow_float_ops=True" in caught.value.fix


def test_a_float_island_can_be_allowed():
    model = wave()
    with pytest.warns(FloatOpsWarning) as caught:
        tflite = convert(model, task=task_for(model), target=Target.int8(allow_float_ops=True))
    assert len(caught) == 1
    assert "SIN of layer 'wave'" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert [op.name for op in inspect(tflite).float_ops] == ["DEQUANTIZE", "SIN", "QUANTIZE"]
    assert inspect(tflite).inputs[0].dtype == "int8"
    assert worst_error(model, tflite, task_for(model)) < 0.05


def test_every_layer_of_float_islands_is_named():
    model = sequence(
        (4,), layers.Lambda(tf.sin), layers.Dense(3), layers.Lambda(tf.sin), layers.Dense(2)
    )
    first, second = model.layers[1], model.layers[3]
    with pytest.raises(FloatOpsError) as caught:
        convert(model, task=task_for(model), target=Target.int8())
    assert "2 op(s) in floating point" in caught.value.received
    # by the names in the user's model, whatever number Keras had reached
    assert f"SIN of layer {first.name!r}" in caught.value.received
    assert f"replace layer {first.name!r}, {second.name!r} by one" in caught.value.fix


# Quantization-aware models


@pytest.fixture(scope="module")
def trained_net(net, net_task):
    """The net with fake quantization, trained for a step: most ranges are still to be learned."""
    tf_keras.utils.set_random_seed(0)
    copy = tf_keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    model = keras_gate.tfmot.quantization.keras.quantize_model(copy)
    model.compile("sgd", "mse")
    model.fit(net_task.train.x, np.zeros((24, 3)), epochs=1, verbose=0)
    return model


def test_quantization_aware_models_become_integer_only(trained_net, net_task):
    tflite = convert(trained_net, task=net_task, target=Target.int8())
    found = inspect(tflite)
    assert found.integer_only
    assert [op.layer for op in found.ops][:3] == ["stem", "depthwise", "add"]
    assert found.signatures[0].outputs == ("probabilities",)


@pytest.mark.parametrize("target", [Target.float32(), Target.int16x8()], ids=lambda t: t.numerics)
def test_fake_quantization_is_left_out_for_other_numerics(trained_net, net_task, target):
    tflite = convert(trained_net, task=net_task, target=target)
    names = [op.name for op in inspect(tflite).ops]
    assert names == ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]


# Recurrent models


def test_an_lstm_becomes_one_op():
    model = shaken(sequence((6, 4), layers.LSTM(5, name="lstm"), layers.Dense(2, name="out")))
    task = task_for(model)
    tflite = convert(model, task=task, target=Target.int8())
    found = inspect(tflite)
    assert found.ops[0].name == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    assert found.integer_only
    assert found.inputs[0].shape == (1, 6, 4)
    assert found.ops[0].macs == 6 * 4 * (5 * 4 + 5 * 5)
    assert worst_error(model, tflite, task) < 0.03


def test_an_lstm_before_a_concatenation_keeps_the_scale_of_its_state():
    model = shaken(
        sequence((6, 4), layers.Bidirectional(layers.LSTM(5), name="both"), layers.Dense(2)), seed=1
    )
    task = task_for(model)
    tflite = convert(model, task=task, target=Target.int8())
    assert [op.name for op in inspect(tflite).ops].count("UNIDIRECTIONAL_SEQUENCE_LSTM") == 2
    assert worst_error(model, tflite, task) < 0.05


@pytest.mark.parametrize(
    "layer", [layers.GRU, layers.SimpleRNN, lambda units: layers.RNN(layers.LSTMCell(units))],
    ids=["GRU", "SimpleRNN", "LSTMCell"],
)  # fmt: skip
def test_other_recurrent_layers_are_unrolled(layer):
    model = shaken(sequence((5, 4), layer(3), layers.Dense(2)))
    task = task_for(model)
    tflite = convert(model, task=task, target=Target.int8())
    assert inspect(tflite).integer_only
    assert inspect(tflite).inputs[0].shape == (-1, 5, 4)
    assert worst_error(model, tflite, task) < 0.05


def test_a_loop_of_more_steps_than_are_unrolled_is_a_float_op():
    model = shaken(sequence((600, 4), layers.GRU(3, name="memory"), layers.Dense(2)))
    task = task_for(model)
    with pytest.raises(FloatOpsError, match="WHILE of layer 'memory'") as caught:
        convert(model, task=task, target=Target.int8())
    assert "give the sequence at most 512 steps, which are unrolled" in caught.value.fix
    with pytest.warns(FloatOpsWarning, match="WHILE of layer 'memory'"):
        tflite = convert(model, task=task, target=Target.int8(allow_float_ops=True))
    assert worst_error(model, tflite, task) < 0.05


def test_a_crash_of_the_converter_on_anything_else_is_an_error(monkeypatch):
    model = sequence((4,), layers.Dense(2))
    apart = converter._sandbox.call
    monkeypatch.setattr(converter._sandbox, "call", lambda *_, **limit: apart(os.abort, **limit))
    with pytest.raises(ConversionError) as caught:
        convert(model, task=task_for(model), target=Target.int8())
    assert "a model at which the converter stops (SIGABRT)" in caught.value.received
    assert "cut short behind each of its layers" in caught.value.fix


def test_a_recurrent_layer_of_open_length_takes_that_of_the_samples():
    model = shaken(sequence((None, 4), layers.GRU(3), layers.Dense(2), name="signal"))
    task = task_for(model)
    with pytest.warns(FixedSizeWarning, match=r"takes input 'signal' of shape \(7, 4\) only"):
        tflite = convert(model, task=task, target=Target.int8())
    assert inspect(tflite).integer_only
    assert inspect(tflite).inputs[0].shape == (-1, 7, 4)
    assert worst_error(model, tflite, task) < 0.05


def test_a_fixed_length_is_told_of_beside_float_ops_that_are_allowed():
    wave = layers.Lambda(tf.sin, name="wave")
    model = shaken(sequence((None, 4), layers.GRU(3), wave, layers.Dense(2), name="signal"))
    target = Target.int8(allow_float_ops=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tflite = convert(model, task=task_for(model), target=target)
    kinds = {warning.category for warning in caught}
    assert {FixedSizeWarning, FloatOpsWarning} <= kinds
    assert inspect(tflite).inputs[0].shape == (-1, 7, 4)


# Layers that need another way


def test_a_layer_that_runs_with_a_known_batch_only():
    model = shaken(
        sequence((4, 4, 4), layers.GroupNormalization(2), layers.Flatten(), layers.Dense(2))
    )
    tflite = convert(model, task=task_for(model), target=Target.float32())
    assert inspect(tflite).inputs[0].shape == (1, 4, 4, 4)
    assert worst_error(model, tflite, task_for(model)) < 1e-4


def test_an_integer_file_of_the_same_layer_takes_any_batch():
    model = shaken(
        sequence((4, 4, 4), layers.GroupNormalization(2), layers.Flatten(), layers.Dense(2))
    )
    tflite = convert(model, task=task_for(model), target=Target.int8())
    assert inspect(tflite).inputs[0].shape == (-1, 4, 4, 4)
    assert worst_error(model, tflite, task_for(model)) < 0.05


def test_an_unsupported_op_is_named_with_its_layer_and_the_way_out():
    model = sequence((4, 4, 4), layers.Lambda(tf.math.asin, name="bend"), layers.Flatten())
    with pytest.raises(ConversionError) as caught:
        convert(model, task=task_for(model), target=Target.int8())
    assert caught.value.received == "TensorFlow op(s) Asin at layer 'bend'"
    assert caught.value.expected == "ops that TensorFlow Lite has"
    assert caught.value.fix == "replace the layer, or move it out of the model"
    # what the converter said and printed is kept
    assert isinstance(caught.value.__cause__, converter.ConverterFailure)
    assert "neither a custom op nor a flex op" in str(caught.value.__cause__)


def test_a_file_that_crashes_the_interpreter_is_refused(monkeypatch):
    model = shaken(sequence((8,), layers.LayerNormalization(name="norm"), layers.Dense(2)))
    monkeypatch.setattr(table, "LAYERS", {})  # as Keras computes it, the interpreter crashes
    with pytest.raises(ConversionError) as caught:
        convert(model, task=task_for(model), target=Target.int16x8())
    assert "on whose first run the interpreter crashes (SIGABRT" in caught.value.received
    assert caught.value.expected == "a file that runs"


# Bad input


def test_integer_targets_need_a_task(net):
    with pytest.raises(SettingError) as caught:
        convert(net, target=Target.int8())
    assert caught.value.received == "task=None for a target with numerics='int8'"
    assert "representative samples" in caught.value.expected
    assert "Target.dynamic_range()" in caught.value.fix


def test_data_that_does_not_fit_is_refused(net):
    other = task_for(sequence((5,), layers.Dense(3)))
    with pytest.raises(DataError, match=r"\(5,\)"):
        convert(net, task=other, target=Target.int8())


def test_a_model_that_cannot_be_traced_is_refused_with_its_layer():
    class Broken(layers.Layer):
        def call(self, x):
            if self.name in tf.get_current_name_scope():
                return x
            raise ValueError("no inference today")

    broken = Broken(name="broken")
    x = layers.Input((4,))
    model = tf_keras.Model(x, broken(x))
    with pytest.raises(ModelError) as caught:
        convert(model, target=Target.float32())
    assert "whose trace fails in layer 'broken' with ValueError: no inference today" in (
        caught.value.received
    )
    assert "that TensorFlow can trace for inference" in caught.value.expected
    assert isinstance(caught.value.__cause__, ValueError)


# The same bytes


def reproducible():
    """Models whose layers have automatic names, with two branches that sort by them."""
    x = layers.Input((6, 4))
    branches = [layers.Dense(3, activation="relu")(x) for _ in range(12)]
    many = tf_keras.Model(x, layers.Dense(2)(layers.Concatenate()(branches)))
    lstm = sequence((6, 4), layers.LSTM(5), layers.Dense(2))
    return [shaken(many), shaken(lstm)]


def hashes():
    return [
        hashlib.sha256(convert(model, task=task_for(model), target=Target.int8())).hexdigest()
        for model in reproducible()
    ]


def test_a_fresh_process_gives_the_same_bytes():
    reproducible()  # counters of names and functions go on
    code = f"import sys; sys.path.insert(0, {__file__.rpartition('/')[0]!r})\n"
    code += "from test_convert import hashes\nprint(*hashes())"
    fresh = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    here = hashes()
    assert fresh.communicate(timeout=300)[0].split() == here


def test_automatic_names_are_those_of_a_fresh_process():
    layers.Dense(3), layers.Dense(3)
    model = sequence((4,), layers.Dense(3), layers.Dense(3, name="mine"), layers.Dense(2))
    found = inspect(convert(model, target=Target.float32()))
    assert [op.layer for op in found.ops] == ["dense", "mine", "dense_1"]
    assert found.inputs[0].name == "input_1"


def test_the_converter_takes_models_one_after_the_other_from_threads(net, net_task):
    from concurrent.futures import ThreadPoolExecutor

    models = [sequence((4,), layers.Dense(3)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda m: convert(shaken(m), target=Target.float32()), models))
    assert len(set(files)) == 1


def test_lstms_are_seen_to_be_plain():
    assert tracing.has_lstm_ops(sequence((4, 2), layers.Bidirectional(layers.LSTM(2))))
    assert not tracing.has_lstm_ops(sequence((4, 2), layers.LSTM(2, activation="relu")))
    assert not tracing.has_lstm_ops(sequence((4, 2), layers.Masking(), layers.LSTM(2)))
    assert not tracing.has_lstm_ops(sequence((4, 2), layers.Dense(2)))


def test_what_is_no_target_is_refused():
    with pytest.raises(SettingError, match=r"target='int8'; .*Target\.int8\(\)"):
        convert(None, target="int8")
