"""tf_keras models are flattened, copied and traced without changing what they compute."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.errors import ModelError
from tfopt.keras2.names import Names
from tfopt.keras_gate import clone, load_model, save_model, tf_keras

layers = tf_keras.layers


def image(count=3, shape=(8, 8, 3)):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def block():
    return tf_keras.Sequential(
        [layers.Conv2D(3, 3, padding="same", name="conv"), layers.BatchNormalization(name="bn")],
        name="block",
    )


def with_nesting():
    shared = block()
    inner_in = layers.Input((8, 8, 3))
    inner = tf_keras.Model(inner_in, tf.nn.relu(shared(inner_in)), name="inner")
    x = layers.Input((8, 8, 3), name="image")
    y = inner(shared(x, training=False))
    y = layers.TimeDistributed(layers.Dense(2), name="rows")(y[:, 1:] * 2.0)
    y = layers.Lambda(lambda t: tf.reduce_mean(t, np.array([1, 2])), name="mean")(y)
    return tf_keras.Model(x, {"b": layers.Dense(2, name="head")(y), "a": y})


def test_nested_models_are_dissolved_and_shared_layers_stay_shared():
    model = with_nesting()
    model.get_layer("inner").trainable = False
    flat = load_model(model)
    names = [layer.name for layer in flat.layers]
    assert {"image", "block_conv", "block_bn", "rows", "mean"} <= set(names)
    (relu,) = [name for name in names if name.startswith("inner_tf.nn.relu")]
    assert len(flat.get_layer("block_conv")._inbound_nodes) == 2
    assert flat.output_names == ["a", "b"]  # named by the keys of the outputs
    frozen = [layer.name for layer in flat.layers if not layer.trainable]
    assert frozen == ["block_conv", "block_bn", relu]
    calls = [node.call_kwargs for node in flat.get_layer("block_bn")._inbound_nodes]
    assert sorted(map(str, calls)) == ["{'training': False}", "{}"]
    expected = model(image())
    for one, other in zip([expected["a"], expected["b"]], flat(image()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_model_given_is_left_as_it_was():
    model = tf_keras.Sequential([block(), layers.Flatten(), layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(image(), np.zeros((3, 2)), verbose=0)
    before = [w.copy() for w in model.get_weights()]
    optimizer = [v.numpy().copy() for v in model.optimizer.variables]
    nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    flat = load_model(model)
    assert flat.optimizer is None
    flat.set_weights([w + 1 for w in flat.get_weights()])
    assert [len(layer._inbound_nodes) for layer in model._flatten_layers()] == nodes
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(optimizer, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    model.fit(image(), np.zeros((3, 2)), verbose=0)


def test_a_copy_keeps_the_nesting_and_everything_else():
    model = with_nesting()
    model.get_layer("inner").trainable = False
    copy = clone(model)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    before, after = (
        {layer.name: layer.trainable for layer in m._flatten_layers() if layer.weights}
        for m in (model, copy)
    )
    assert before["conv"] is False and before["head"] is True
    assert {name: after[name] for name in before} == before
    for one, other in zip(model.weights, copy.weights, strict=True):
        assert one is not other
        np.testing.assert_array_equal(one, other)
    inside = copy.get_layer("inner").get_layer("block")
    assert inside is copy.get_layer("block")  # still shared
    expected, received = model(image()), copy(image())
    assert set(received) == {"a", "b"}
    np.testing.assert_array_equal(expected["b"], received["b"])


def test_a_copy_keeps_the_statistics_of_a_normalization():
    measured = layers.Normalization()
    measured.adapt(image() * 5 + 3)
    model = tf_keras.Sequential([layers.Input((8, 8, 3)), measured])
    for other in (clone(model), load_model(model), clone(clone(model))):
        np.testing.assert_array_equal(other(image()), model(image()))


class Subclassed(tf_keras.Model):
    def __init__(self, variable=None):
        super().__init__(name="subclassed")
        self.block, self.dense, self.drop = block(), layers.Dense(2), layers.Dropout(0.5)
        self.variable = variable

    def call(self, x, training=False):
        y = self.drop(tf.nn.softplus(self.block(x, training=training)), training=training)
        y = self.dense(layers.Flatten()(y))
        return y if self.variable is None else y * self.variable


def test_a_subclassed_model_is_traced():
    model = Subclassed()
    model(image())
    nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    flat = load_model(model)
    assert [len(layer._inbound_nodes) for layer in model._flatten_layers()] == nodes
    names = {layer.name for layer in flat.layers}
    assert {"block_conv", "block_bn"} <= names
    assert any("softplus" in name for name in names)
    np.testing.assert_array_equal(flat(image()), model(image()))
    # Dropout and batch norm still tell training from inference.
    assert not np.array_equal(flat(image(), training=True), flat(image()))


def test_models_that_cannot_be_traced_are_refused_with_the_reason():
    class Branches(tf_keras.Model):
        def call(self, x):
            return x if float(tf.reduce_sum(x)) > 0 else -x

    model = Branches(name="branches")
    with pytest.raises(ModelError, match=r"'branches' of class Branches.*not been called.*call it"):
        load_model(model)
    model(image())
    with pytest.raises(ModelError, match=r"call\(\) cannot be traced.*float\(\).*functional API"):
        load_model(model)
    with pytest.raises(ModelError, match=r"expected a Sequential or functional.*load_model"):
        clone(model)
    model = Subclassed(tf.Variable(2.0, name="factor"))
    model(image())
    with pytest.raises(
        ModelError, match=r"the variable 'factor:0'.*belongs to no layer.*add_weight"
    ):
        load_model(model)


class WithoutConfig(layers.Layer):
    def __init__(self, factor):
        super().__init__(name="scale")
        self.factor = factor

    def call(self, x):
        return x * self.factor


class WithConfig(WithoutConfig):
    def __init__(self, factor, name=None, trainable=True, dtype=None):
        super().__init__(factor)

    def get_config(self):
        return {"factor": self.factor, "name": self.name}


def test_custom_layers_are_copied_by_their_configuration():
    model = tf_keras.Sequential([layers.Input((8, 8, 3)), WithConfig(3.0)])
    np.testing.assert_array_equal(load_model(model)(image()), model(image()))
    model = tf_keras.Sequential([layers.Input((8, 8, 3)), WithoutConfig(3.0)])
    with pytest.raises(
        ModelError, match=r"'scale' of class WithoutConfig.*cannot be rebuilt.*get_con"
    ):
        load_model(model)


def test_half_precision_becomes_32_bits():
    policy = tf_keras.mixed_precision.Policy("mixed_float16")
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.TimeDistributed(layers.Dense(2, dtype=policy), dtype=policy),
            layers.Flatten(dtype=policy),
        ]
    )
    flat = load_model(model)
    assert flat.output.dtype == tf.float32 and model.output.dtype == tf.float16
    assert {layer.dtype_policy.name for layer in flat._flatten_layers()} == {"float32"}
    np.testing.assert_allclose(flat(image()), model(image()), atol=0.01)


def test_dict_inputs_are_named_by_their_keys():
    left, right = layers.Input((2,)), layers.Input((2,))
    model = tf_keras.Model({"right": right, "left": left}, layers.Subtract()([left, right]))
    flat = load_model(model)
    assert flat.input_names == ["left", "right"]
    data = {"left": image(2, (2,)), "right": np.ones((2, 2), np.float32)}
    np.testing.assert_array_equal(flat(data), data["left"] - 1)


def test_names_are_unique_and_the_top_keeps_its_own():
    names = Names(["a_b", "b"])
    taken = [names.take("b", ["a"]), names.take("a_b"), names.take("b"), names.take("b")]
    assert taken == ["a_b_1", "a_b", "b", "b_1"]


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_an_ellipsis_is_stored(suffix, tmp_path):
    x = layers.Input((8, 8, 3), name="image")
    inner = x[..., 0]
    model = tf_keras.Model(
        x, [x[..., :2], inner[..., None, -1], tf.boolean_mask(x, [True] * 8, axis=1)]
    )
    save_model(model, tmp_path / f"model{suffix}")
    again = load_model(tmp_path / f"model{suffix}")
    for one, other in zip(again(image()), model(image()), strict=True):
        np.testing.assert_array_equal(one, other)
