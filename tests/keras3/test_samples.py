"""Random inputs fit what a model looks up, or the layer that takes none is named."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfopt.errors import ModelError
from tfopt.keras_gate import load_model

TABLE = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def model_of(function, dtype="int32", shape=(3,)):
    x = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(x, function(x), name="model")


@pytest.mark.parametrize(
    "build",
    [
        lambda: model_of(layers.CategoryEncoding(4, output_mode="multi_hot")),
        lambda: model_of(layers.CategoryEncoding(2, output_mode="one_hot"), shape=(1,)),
        lambda: model_of(layers.Embedding(3, 2)),
        lambda: model_of(layers.Embedding(3, 2), "float32"),
        lambda: model_of(layers.IntegerLookup(vocabulary=[0, 1, 2], num_oov_indices=0)),
        lambda: model_of(lambda x: ops.take(TABLE, x, axis=0)),
        lambda: model_of(lambda x: ops.one_hot(x, 4)),
        lambda: model_of(lambda x: ops.take(TABLE, ops.cast(x, "int32"), axis=0), "float32"),
    ],
)
def test_integers_are_in_range(build):
    model = build()
    flat = load_model(model)
    x = np.array([[0, 1, 1], [1, 0, 0]])[:, : model.input.shape[1]]
    x = x.astype(flat.input.dtype.as_numpy_dtype)
    np.testing.assert_allclose(np.asarray(flat(x)), np.asarray(model(x)), rtol=1e-5)


def test_integers_are_in_the_vocabulary():
    model = model_of(layers.IntegerLookup(vocabulary=[12, 40], num_oov_indices=0))
    x = np.array([[12, 40, 40]], "int32")
    np.testing.assert_array_equal(np.asarray(load_model(model)(x)), np.asarray(model(x)))


def test_a_layer_that_takes_none_is_named_with_the_cause():
    def wrong(x):
        return ops.matmul(ops.reshape(x, (-1, 1, 3)), np.ones((7, 3, 3), "float32"))

    nested = keras.Sequential([keras.Input((3,)), layers.Lambda(wrong, name="wrong")], name="net")
    said = r"'net/wrong/matmul\w*' of class Matmul, which fails on random inputs: .*compatible bat"
    with pytest.raises(ModelError, match=said) as caught:
        load_model(model_of(lambda x: layers.Dense(2)(nested(x)), "float32"))
    assert type(caught.value.__cause__).__name__ == "InvalidArgumentError"


def test_the_model_is_left_as_it_was():
    class Counts(layers.Layer):
        def build(self, shape):
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x):
            self.calls.assign_add(1.0)
            return x * 2.0

    layer = Counts()
    load_model(model_of(layer, "float32"))
    assert float(layer.calls.value) == 0.0
