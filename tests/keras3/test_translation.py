"""Every kind of Keras 3 model becomes a flat tf_keras one that computes the same."""

import keras
import numpy as np
import pytest
from keras import layers
from models import ALL, STORED, cnn, custom_layers, nested_and_shared

from tfopt import keras_gate
from tfopt.keras2.flatten import LossWarning
from tfopt.keras_gate import tf_keras


def kinds(model):
    return {layer.name: type(layer).__name__ for layer in model.layers}


def arrays_like(tensors, seed=7):
    random = np.random.default_rng(seed)
    for tensor in tensors:
        shape = [size or 7 for size in tensor.shape]
        if tensor.dtype.is_floating:
            yield random.normal(size=shape).astype("float32")
        else:
            yield random.integers(0, 6, shape)


def outputs(model, inputs):
    return keras.tree.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))


def state(model):
    """What must not change of a Keras 3 model."""
    flat = list(model._flatten_layers())
    return (
        [keras.ops.convert_to_numpy(v).tolist() for v in model.variables],
        [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in flat],
        [layer.trainable for layer in flat],
    )


@pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)
def test_every_kind_of_model(build):
    keras.utils.set_random_seed(0)
    model = build()
    before = state(model)
    flat = keras_gate.load_model(model)
    assert state(model) == before
    assert type(flat).__module__.startswith("tf_keras.") and not flat.optimizer
    names = [layer.name for layer in flat._flatten_layers() if layer is not flat]
    assert len({layer.name for layer in flat.layers}) == len(flat.layers), names
    assert all(not isinstance(layer, tf_keras.Model) for layer in flat.layers)
    inputs = list(arrays_like(flat.inputs))
    if isinstance(getattr(model, "input", None), dict):
        expected = model(dict(zip(sorted(model.input), inputs, strict=True)), training=False)
    else:
        expected = model(inputs[0], training=False)
    tolerance = 0.02 if build.__name__ == "half_precision" else 1e-5
    for one, other in zip(keras.tree.flatten(expected), outputs(flat, inputs), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("build", STORED, ids=lambda build: build.__name__)
def test_the_translation_is_copied_and_stored(build, tmp_path):
    model = keras_gate.load_model(build())
    copy = keras_gate.clone(model)
    path = tmp_path / "model.keras"
    keras_gate.save_model(model, path)
    again = keras_gate.load_model(path)
    inputs = list(arrays_like(model.inputs))
    for other in (copy, again):
        assert kinds(other) == kinds(model)
        for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        for one, two in zip(outputs(model, inputs), outputs(other, inputs), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def test_nested_models_are_dissolved_and_shared_layers_stay_shared():
    model = nested_and_shared()
    model.get_layer("block").get_layer("conv").trainable = False
    flat = keras_gate.load_model(model)
    found = [name for name in kinds(flat) if name.startswith("block_")]
    assert found == ["block_conv", "block_bn"]
    assert len(flat.get_layer("block_conv")._inbound_nodes) == 3
    assert any(name.endswith("_gate") for name in kinds(flat))
    assert not flat.get_layer("block_conv").trainable and flat.get_layer("block_bn").trainable
    calls = [node.call_kwargs for node in flat.get_layer("block_bn")._inbound_nodes]
    assert sorted(str(call.get("training")) for call in calls) == ["False", "None", "None"]


def test_activations_that_tf_keras_lacks_become_layers_of_their_own():
    flat = keras_gate.load_model(cnn())
    assert flat.get_layer("conv").activation is tf_keras.activations.linear
    assert flat.get_layer("conv_activation").activation.__name__ == "hard_silu"
    assert isinstance(flat.get_layer("conv").kernel_regularizer, tf_keras.regularizers.L2)
    assert flat.get_layer("classes").activation is tf_keras.activations.softmax


def test_custom_layers_are_taken_apart_or_called_whole():
    flat = keras_gate.load_model(custom_layers())
    found = kinds(flat)
    assert found["scaled_dense"] == "Dense"
    assert found["positions"] == found["raw"] == "Keras3Operation"
    by_start = {name.rstrip("_0123456789"): kind for name, kind in found.items()}
    assert by_start["tanh_of_tanh"] == "Activation"
    assert by_start["tf_of_tf.nn.relu"] == "TFOpLambda"
    (product,) = [layer for layer in flat.layers if layer.name.startswith("scaled_multiply")]
    assert len(product.weights) == 1


def test_regularizers_go_along_and_those_that_tf_keras_lacks_are_told():
    class Mine(keras.regularizers.Regularizer):
        def __call__(self, weights):
            return 0.0

        def get_config(self):
            return {}

    known = layers.Dense(2, activity_regularizer=keras.regularizers.L1(0.5), name="known")
    own = layers.Dense(2, kernel_regularizer=Mine(), kernel_initializer="zeros", name="own")
    with pytest.warns(LossWarning, match="kernel_regularizer Mine of layer 'own' is left out"):
        flat = keras_gate.load_model(keras.Sequential([layers.Input((3,)), known, own]))
    assert flat.get_layer("known").activity_regularizer.l1 == 0.5
    assert flat.get_layer("own").kernel_regularizer is None


def test_names_that_tensorflow_refuses_are_made_legal():
    model = keras.Sequential(
        [
            keras.Input((2,), name="an input"),
            layers.Dense(2, name="_first"),
            layers.Dense(2, name="é"),
        ]
    )
    assert list(kinds(keras_gate.load_model(model))) == ["an_input", "x_first", "x_"]


def test_a_quantized_model_is_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    model.quantize("int8")
    with pytest.raises(keras_gate.ModelError, match=r"'dense' .*\(4, 3\).*before quantization"):
        keras_gate.load_model(model)


class Branches(keras.Model):
    def __init__(self):
        super().__init__(name="branches")
        self.dense = layers.Dense(2)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x) if float(x[0, 0]) > 0 else x


def test_a_subclassed_model_that_cannot_be_traced_is_refused_with_the_reason():
    model = Branches()
    with pytest.raises(
        keras_gate.ModelError, match=r"'branches' .*inputs' shape is unknown.*call it"
    ):
        keras_gate.load_model(model)
    model.build((None, 2))
    with pytest.raises(
        keras_gate.ModelError, match=r"'branches' .*call\(\) cannot be traced.*float"
    ):
        keras_gate.load_model(model)
