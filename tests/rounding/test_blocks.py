"""Cutting a model into blocks, and running one by itself."""

import numpy as np
import pytest

from tfopt.keras_gate import tf_keras
from tfopt.rounding.blocks import blocks, following
from tfopt.rounding.linear import KINDS

layers = tf_keras.layers


def kernels(model):
    return [layer.name for layer in model.layers if type(layer) in KINDS]


def residual(x, name):
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"{name}_a")(x)
    y = layers.Conv2D(4, 3, padding="same", name=f"{name}_b")(y)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def net():
    image = layers.Input((8, 8, 4), name="image")
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same", name="stem")(image))
    x = residual(residual(x, "one"), "two")
    for index in range(4):
        x = layers.ReLU()(layers.Conv2D(4, 1, name=f"row{index}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(5, activation="relu", name="hidden")(x)
    return tf_keras.Model(image, layers.Dense(3, activation="softmax", name="top")(x))


def test_blocks_are_residual_blocks_and_layers_in_a_row():
    model = net()
    found = [block.kernels for block in blocks(model, kernels(model))]
    assert found == [
        ("stem",), ("one_a", "one_b"), ("two_a", "two_b"), ("row0", "row1", "row2"), ("row3",),
        ("hidden",), ("top",),
    ]  # fmt: skip


def test_blocks_one_after_the_other_are_the_model():
    model = net()
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(np.float32)
    value = x
    for block in blocks(model, kernels(model)):
        (value,) = [block.run([value])]
    np.testing.assert_allclose(value, model(x), atol=1e-6)


def test_layers_that_are_not_asked_for_are_only_run():
    model = net()
    found = blocks(model, ["one_a", "row3"])
    assert [block.kernels for block in found] == [("one_a",), ("row3",)]


def test_several_inputs_and_outputs():
    left, right = layers.Input((4,), name="left"), layers.Input((4,), name="right")
    x, y = layers.Dense(3, name="a")(left), layers.Dense(3, name="b")(right)
    both = layers.Add(name="add")([x, y])
    model = tf_keras.Model([left, right], [both, layers.Dense(2, name="c")(both)])
    found = blocks(model, ["a", "b", "c"])
    assert set(found[0].kernels) >= {"a", "b"}


def test_a_large_block_is_cut_into_its_layers():
    image = layers.Input((4, 4, 2))
    x = image
    for index in range(9):
        x = layers.Conv2D(2, 3, padding="same", name=f"conv{index}")(x)
    model = tf_keras.Model(image, layers.Add()([image, x]))
    assert [block.kernels for block in blocks(model, kernels(model))] == [
        (f"conv{index}",) for index in range(9)
    ]


@pytest.mark.parametrize(
    ("own", "after", "expected"),
    [
        ("relu", None, [0, 2]),
        (None, layers.ReLU(1.5), [0, 1.5]),
        (None, layers.Activation("relu"), [0, 2]),
        (None, layers.Softmax(), [-1, 2]),
        ("softmax", None, [-1, 2]),
        (None, layers.Flatten(), [-1, 2]),
        (None, None, [-1, 2]),
    ],
)
def test_the_activation_behind_a_layer(own, after, expected):
    image = layers.Input((4,))
    dense = layers.Dense(2, activation=own, name="dense")
    x = dense(image)
    model = tf_keras.Model(image, after(x) if after else x)
    np.testing.assert_array_equal(following(model, dense)(np.float32([-1, 2])), expected)


def test_an_output_that_is_read_twice_has_no_activation_behind_it():
    image = layers.Input((4,))
    dense = layers.Dense(2, name="dense")
    x = dense(image)
    model = tf_keras.Model(image, [layers.ReLU()(x), layers.ReLU()(x)])
    assert following(model, dense)(np.float32(-1)) == -1
