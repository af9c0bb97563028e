"""Rules of the user's for custom layers: proven, shared, refused with the layer's name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.errors import ModelError, SettingError
from tfopt.keras_gate import clone, load_model, save_model, tf_keras

layers = tf_keras.layers
X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def scaled_relu(x, kernel, scale):
    return tf.nn.relu(x @ kernel) * scale


class Old(layers.Layer):
    def __init__(self, units=4, **settings):
        super().__init__(**settings)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight("kernel", (shape[-1], self.units))
        self.scale = self.add_weight("scale", (self.units,), initializer="random_uniform")

    def call(self, x, training=False):
        return scaled_relu(x, self.kernel, self.scale)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class New(keras.layers.Layer):
    def __init__(self, units=4, **settings):
        super().__init__(**settings)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))
        self.scale = self.add_weight(shape=(self.units,), initializer="random_uniform")

    def call(self, x, training=False):
        return scaled_relu(x, self.kernel.value, self.scale.value)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def rule(layer, x):
    dense = layers.Dense(layer.units, use_bias=False)
    y = layers.ReLU()(dense(x))
    dense.set_weights([np.asarray(layer.kernel)])
    scale = layers.Dense(layer.units, use_bias=False)
    y = scale(y)
    scale.set_weights([np.diag(np.asarray(layer.scale))])
    return y


def model(kind):
    home = tf_keras if kind is Old else keras
    x = home.Input((4,), name="x")
    mine, other = kind(name="mine"), kind(2, name="other", trainable=False)
    return home.Model(x, other(mine(mine(x))))


both = pytest.mark.parametrize("kind", [Old, New])


@both
@pytest.mark.parametrize("key", ["class", "class name"])
def test_a_layer_becomes_plain_ones_that_compute_the_same(kind, key):
    given = model(kind)
    flat = load_model(given, rules={kind if key == "class" else kind.__name__: rule})
    assert {layer.name: type(layer).__name__ for layer in flat.layers} == {
        "x": "InputLayer", "mine_dense": "Dense", "mine_re_lu": "ReLU", "mine_dense_1": "Dense",
        "other_dense": "Dense", "other_re_lu": "ReLU", "other_dense_1": "Dense",
    }  # fmt: skip
    assert len(flat.get_layer("mine_dense")._inbound_nodes) == 2  # it was shared, and still is
    frozen = [layer.name for layer in flat.layers if layer.weights and not layer.trainable]
    assert frozen == ["other_dense", "other_dense_1"]
    np.testing.assert_allclose(flat(X), given(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(clone(flat)(X), flat(X))


@both
def test_one_layer_in_the_place_of_another_takes_its_name(kind):
    given = model(kind)
    for layer in given.layers[1:]:
        layer.scale.assign(np.ones(layer.units))

    def one(layer, x):
        dense = layers.Dense(layer.units, use_bias=False, activation="relu")
        y = dense(x)
        dense.set_weights([np.asarray(layer.kernel)])
        return y

    flat = load_model(given, rules={"mine": one})
    kinds = [(layer.name, type(layer).__name__) for layer in flat.layers]
    assert kinds[:2] == [("x", "InputLayer"), ("mine", "Dense")]
    assert kinds[2] == ("other", "Old" if kind is Old else "Keras3Operation")  # has no rule
    np.testing.assert_allclose(flat(X), given(X), rtol=1e-5, atol=1e-6)


@both
def test_a_file_with_the_class_is_read(kind, tmp_path):
    given = model(kind)
    given.save(tmp_path / "model.keras")
    flat = load_model(tmp_path / "model.keras", rules={kind: rule})
    np.testing.assert_allclose(flat(X), given(X), rtol=1e-4, atol=1e-6)
    with pytest.raises(ModelError, match=r"cannot read.*Fix: a layer of your own must be regis"):
        load_model(tmp_path / "model.keras")


@both
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            lambda layer, x: layers.Dense(layer.units)(x),
            r"a rule whose result differs by .*weights.*handed over",
        ),
        (lambda layer, x: 1 / 0, r"a rule that fails: division by zero"),
        (lambda layer, x: 3, r"a rule that fails: it returned \[3\], where tensors of tf_keras"),
        (lambda layer, x: [x, x], r"a rule that returns 2 tensors; expected 1"),
        (lambda layer, x: x[:, :1], r"a rule whose result differs by inf of the largest"),
    ],
)
def test_a_rule_that_is_wrong_is_refused_with_the_layers_name(kind, wrong, text):
    match = rf"the layer 'mine' of class {kind.__name__}, which has {text}"
    with pytest.raises(ModelError, match=match):
        load_model(model(kind), rules={"mine": wrong})


def test_rules_that_fit_nothing_are_refused():
    with pytest.raises(SettingError, match=r"a rule for 'Olt', .*'Old' is nearest"):
        load_model(model(Old), rules={"Olt": rule})
    with pytest.raises(SettingError, match=r"rules=\{'Old': 3\}; expected a function"):
        load_model(model(Old), rules={"Old": 3})


class Table(layers.Layer):
    """Takes two inputs, one of whole numbers below 10, and an argument."""

    def build(self, shape):
        self.rows = self.add_weight("rows", (10, 3), initializer="normal")

    def call(self, index, x, *, factor=1.0):
        return tf.gather(self.rows, index) * factor + x, x


def table(layer, index, x, *, factor):
    rows = layers.Embedding(10, 3)
    found = layers.Rescaling(factor)(rows(index))
    rows.set_weights(layer.get_weights())
    return layers.Add()([found, x]), x


def test_several_inputs_and_outputs_and_arguments(tmp_path):
    index, x = layers.Input((), dtype="int32"), layers.Input((3,))
    given = tf_keras.Model([index, x], Table(name="table")(index, x, factor=2.0))
    flat = load_model(given, rules={Table: table})
    inputs = [np.arange(5), X[:, :3]]
    for one, other in zip(given(inputs), flat(inputs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    save_model(flat, tmp_path / "model.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(inputs)[0], flat(inputs)[0])


def test_a_layer_called_in_two_ways_is_refused():
    index, x = layers.Input((), dtype="int32"), layers.Input((3,))
    shared = Table(name="table")
    outputs = [shared(index, x, factor=1.0)[0], shared(index, x, factor=2.0)[0]]
    with pytest.raises(ModelError, match=r"'table' of class Table, which is called twice"):
        load_model(tf_keras.Model([index, x], outputs), rules={Table: table})


def test_a_rule_stands_for_an_operation_of_keras_3():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.ops.erf(inputs)))
    made = load_model(model, rules={"Erf": lambda operation, x: tf.math.erf(x)})
    assert [type(layer).__name__ for layer in made.layers] == ["InputLayer", "TFOpLambda", "Dense"]
