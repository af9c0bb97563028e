"""Ops of Keras 3 that cut, join or reduce tensors: pruned, stored, fake-quantized, in 8 bits."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfopt
from tfopt.graph.dependencies import analyse
from tfopt.graph.slicing import slice_channels
from tfopt.keras_gate import load_model, save_model
from tfopt.tflite.interpreter import TFLiteModel

IMAGES = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
PAIR = [[0, 0], [1, 2], [0, 1], [0, 0]]


def conv(x, name=None):
    return layers.Conv2D(8, 3, padding="same", activation="relu", name=name)(x)


def top(x):
    return layers.Dense(4)(layers.Flatten()(x))


def split(x):
    left, right = ops.split(x, [3], axis=-1)
    return ops.concatenate([conv(left), conv(right)], axis=-1)


def stacked(x):
    return ops.stack([x, conv(x)], axis=1)


FUNCTIONS = {
    "split": split,
    "split_places": lambda x: ops.concatenate(ops.split(x, 2, axis=1), axis=2),
    "slice": lambda x: x[..., 2:6],
    "places": lambda x: x[:, 1:-1, ::2],
    "row": lambda x: x[:, -1],
    "unstack": lambda x: ops.add(*ops.unstack(x, axis=1)[:2]),
    "stack": stacked,
    "pad": lambda x: ops.pad(x, PAIR),
    "take": lambda x: ops.take(x, range(2, 8), axis=-1),
    "take_row": lambda x: ops.take(x, -1, axis=2),
    "swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "moveaxis": lambda x: ops.moveaxis(x, 2, 1),
    "flip": lambda x: ops.flip(x, axis=1),
    "repeat": lambda x: ops.repeat(x, 2, axis=1),
    "mean": lambda x: ops.mean(x, axis=1),
    "sum": lambda x: ops.sum(x, axis=(1, 2)),
    "clip": lambda x: ops.clip(x, -1.0, 1.0),
    "variance": lambda x: ops.var(x, axis=1),
    "divide": lambda x: x / (ops.square(x) + 1.0),
}


def model_of(function):
    image = keras.Input((8, 8, 3), name="image")
    return load_model(keras.Model(image, top(function(conv(image, "stem")))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_channels_in_front_are_cut(name):
    model = model_of(FUNCTIONS[name])
    found = analyse(model)
    groups = [group for group in found.groups if "stem" in group.makers]
    assert sum(len(group.units) for group in groups) >= 6
    kept = found.everything()
    for group in groups:
        kept[group.units[::2]] = False
    cut = slice_channels(found, kept)
    assert cut.get_layer("stem").filters <= 5
    assert cut(IMAGES).shape == model(IMAGES).shape


def many(head):
    """All of them in a row."""
    image = keras.Input((8, 8, 3), name="image")
    x = conv(image, "stem")
    left, right = ops.split(x, 2, axis=-1)
    x = ops.concatenate([left, ops.flip(right, axis=1)], axis=-1)
    x = ops.pad(x, PAIR, "reflect") + ops.pad(x, PAIR, constant_values=0.5)
    x = conv(ops.take(x, range(1, 9), axis=1)[:, :, 1:])
    rows = ops.unstack(ops.clip(x, 0.0, 2.0)[:, :4], axis=1)
    x = ops.stack([rows[0] + rows[1], ops.take(x, 3, axis=1)], axis=1)
    x = ops.swapaxes(ops.sum(x, axis=1) - ops.quantile(x, 0.3, axis=1), 1, 2)
    x = ops.matmul(ops.softmax(ops.take(x, [0, 3, 1, 1], axis=1)), ops.swapaxes(x, 1, 2))
    x = layers.Dense(4, name="top")(ops.mean(ops.stack([x, ops.abs(x)], axis=-1), axis=(1, -1)))
    return keras.Model(image, head(x))


HEADS = {"scores": lambda x: x, "label": lambda x: ops.argmax(x, axis=-1)}


def fake_quantized(model):
    return tfopt.QuantizationAware().wrap(model, steps_per_epoch=1, representative=IMAGES).strip()


@pytest.fixture(scope="module", params=HEADS)
def loaded(request):
    keras.utils.set_random_seed(0)
    given = many(HEADS[request.param])
    model = load_model(given)
    assert not any(type(layer).__name__ == "Keras3Operation" for layer in model.layers)
    np.testing.assert_allclose(model(IMAGES), given(IMAGES), rtol=1e-4, atol=1e-5)
    return model


def converted(model):
    return tfopt.convert(model, target=tfopt.Target.int8(refine=False), representative=IMAGES)


@pytest.mark.parametrize("prepared", [lambda model: model, fake_quantized], ids=["plain", "aware"])
def test_they_are_integer_only_in_8_bits(loaded, prepared):
    model = prepared(loaded)
    content = converted(model)
    assert tfopt.inspect(content).integer_only
    expected = np.asarray(model(IMAGES))
    (received,) = TFLiteModel(content).predict(IMAGES)
    if expected.dtype == np.int32:
        assert received.dtype == np.int32 and np.mean(received == expected) > 0.8
    else:
        assert np.abs(received - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("axis", [1, (1, 2), 3])
def test_a_median_along_any_axis_is_integer_only_after_training(axis):
    image = keras.Input((8, 8, 3), name="image")
    x = ops.median(conv(image), axis=axis, keepdims=True)
    model = fake_quantized(load_model(keras.Model(image, top(conv(x)))))
    content = converted(model)
    assert tfopt.inspect(content).integer_only
    expected = np.asarray(model(IMAGES))
    (received,) = TFLiteModel(content).predict(IMAGES)
    assert np.abs(received - expected).max() < 0.1 * np.abs(expected).max()


def test_a_pruned_one_is_integer_only_too():
    image = keras.Input((8, 8, 3), name="image")
    left, right = ops.split(conv(image, "stem"), 2, axis=-1)
    x = ops.concatenate([left, conv(ops.flip(right, axis=1))], axis=-1)
    x = conv(ops.pad(x, PAIR)[:, 1:, ::2])
    rows = ops.unstack(ops.take(x, range(1, 4), axis=1), axis=1)
    x = ops.sum(ops.stack([rows[0] + rows[1], rows[2]], axis=1), axis=(1, 2))
    model = load_model(keras.Model(image, ops.argmax(layers.Dense(4)(x), axis=-1)))
    found = analyse(model)
    assert [name.rstrip("_0123456789") for name in found.whole] == ["argmax"]
    kept = found.everything()
    for group in found.groups:
        kept[group.units[::2]] = False
    cut = slice_channels(found, kept)
    assert cut.count_params() < 0.4 * model.count_params()
    content = converted(cut)
    assert tfopt.inspect(content).integer_only
    assert np.mean(TFLiteModel(content).predict(IMAGES)[0] == np.asarray(cut(IMAGES))) > 0.8


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
@pytest.mark.parametrize("prepared", [lambda model: model, fake_quantized], ids=["plain", "aware"])
def test_they_are_stored(loaded, prepared, suffix, tmp_path):
    model = prepared(loaded)
    path = tmp_path / f"model{suffix}"
    save_model(model, path)
    again = load_model(path)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    np.testing.assert_allclose(again(IMAGES), model(IMAGES), rtol=1e-6, atol=1e-6)


def test_they_bear_the_names_of_the_ops():
    inner = keras.Input((4, 2))
    shared = keras.Model(inner, ops.add(*ops.unstack(inner[:, 1:3], axis=1)), name="shared")
    one, other = keras.Input((4, 2), name="one"), keras.Input((4, 2), name="other")
    flat = load_model(keras.Model([one, other], shared(one) - shared(other)))
    stems = [layer.name.rstrip("_0123456789") for layer in flat.layers]
    assert sorted(stems) == sorted(
        [
            "one",
            "other",
            "shared_add",
            "subtract",
            *["shared_get_item", *["shared_unstack"] * 2] * 2,
        ]
    )


def test_a_mask_ends_at_them_as_in_keras_3():
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(6, 4, mask_zero=True)(tokens)
    x = ops.stack([ops.pad(x, [[0, 0], [1, 0], [0, 0]])[:, 1:], x], axis=1)
    given = keras.Model(tokens, layers.GRU(3)(ops.sum(x, axis=1)))
    model = load_model(given)
    assert not any(type(layer).__name__ == "Keras3Operation" for layer in model.layers)
    rows = np.random.default_rng(0).integers(0, 6, (8, 5))
    np.testing.assert_allclose(model(rows), given(rows), rtol=1e-4, atol=1e-5)


def test_integers_and_open_lengths():
    tokens = keras.Input((None,), dtype="int32")
    tokens_there = ops.pad(tokens[:, 1:], [[0, 0], [2, 0]])
    x = layers.Embedding(9, 4)(ops.flip(tokens_there, axis=1))
    given = keras.Model(tokens, ops.concatenate([x[:, -1], ops.mean(x[:, ::2], axis=1)], axis=-1))
    model = load_model(given)
    assert not any(type(layer).__name__ == "Keras3Operation" for layer in model.layers)
    rows = np.random.default_rng(0).integers(0, 9, (8, 7))
    np.testing.assert_allclose(model(rows), given(rows), rtol=1e-4, atol=1e-5)


def test_a_sparse_tensor_stays_with_keras_3():
    table = keras.Input((6,), sparse=True)
    model = load_model(keras.Model(table, layers.Dense(2)(ops.abs(table))))
    assert type(model.layers[1]).__name__ == "Keras3Operation"
