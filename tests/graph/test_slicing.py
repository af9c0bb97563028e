"""Slicing: any channels that may go can go, and what is left is what was predicted."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.errors import ModelError
from tfopt.graph.dependencies import analyse, without
from tfopt.graph.slice_cost import Costs
from tfopt.graph.slicing import slice_channels
from tfopt.keras_gate import tf_keras
from tfopt.testing import residual_net, small_cnn

layers = tf_keras.layers


def conv_bn(x, filters, **settings):
    x = layers.Conv2D(filters, 3, padding="same", **settings)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def residual(x):
    y = conv_bn(x, 8)
    y = layers.Conv2D(x.shape[-1], 1)(y)
    return layers.Add()([x, y])


def inception(x):
    return layers.Concatenate()([conv_bn(x, 4), layers.Conv2D(6, 1)(x), x])


def depthwise(x):
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    return layers.PReLU(shared_axes=[1, 2])(x)


def separable(x):
    return layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2)(x)


def squeeze_excite(x):
    y = layers.GlobalAveragePooling2D()(x)
    y = layers.Reshape((1, 1, x.shape[-1]))(y)
    y = layers.Conv2D(4, 1, activation="relu")(y)
    return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(y)])


def transposed(x):
    return layers.Conv2DTranspose(6, 2, strides=2)(layers.MaxPooling2D()(x))


def grouped(x):
    return layers.Conv2D(8, 3, padding="same", groups=2)(layers.Conv2D(8, 1)(x))


def grouped_one_by_one(x):
    return layers.Conv2D(12, 3, padding="same", groups=6)(layers.Conv2D(6, 1)(x))


def normalized(x):
    x = layers.GroupNormalization(groups=2)(layers.Conv2D(8, 1)(x))
    return layers.LayerNormalization()(x)


def dense_and_back(x):
    shape = x.shape[1:3]
    y = layers.Dense(shape[0] * shape[1] * 4)(layers.Flatten()(x))
    return layers.Concatenate()([x, layers.Reshape((*shape, 4))(y)])


def split(x):
    one, other = tf.split(layers.Conv2D(8, 1)(x), 2, axis=-1)
    return layers.Concatenate()([other, tf.nn.relu(one) * 2.0])


def cut(x):
    return layers.Conv2D(6, 1)(x)[:, ::1, ::1, 1:4]


def picked(x):
    x = tf.gather(layers.Conv2D(6, 1)(x), [4, 0, 3, 0], axis=-1)
    return tf.gather(x, [3, 0, 1, 1], axis=1)


def stacked(x):
    y = tf.stack([layers.Conv2D(6, 1)(x), layers.Conv2D(6, 1)(x)], axis=1)
    return layers.Conv2D(5, 1)(y[:, 1])


def padded(x):
    y = tf.pad(layers.Conv2D(6, 1)(x), [[0, 0], [1, 1], [0, 2], [0, 0]], "REFLECT")
    return y[:, 1:-1, :4]


def multiplied(x):
    rows, width = x.shape[1] * x.shape[2], 6
    scores = layers.Dense(rows, activation="softmax")(layers.Reshape((rows, x.shape[3]))(x))
    values = layers.Dense(width)(layers.Reshape((rows, x.shape[3]))(x))
    return layers.Reshape((*x.shape[1:3], width))(tf.matmul(scores, values))


def shared(x):
    tower = layers.Conv2D(x.shape[-1], 3, padding="same")
    return layers.Add()([tower(x), tower(layers.ReLU()(x))])


def attention(x):
    y = layers.Reshape((x.shape[1] * x.shape[2], x.shape[3]))(x)
    y = layers.MultiHeadAttention(4, 3)(y, y)
    return layers.Add()([x, layers.Reshape(x.shape[1:])(y)])


def unknown(x):
    return layers.Lambda(lambda t: tf.reverse(t, [-1]))(x)


BLOCKS = [
    residual, inception, depthwise, separable, squeeze_excite, transposed, grouped,
    grouped_one_by_one, normalized, dense_and_back, split, cut, shared, attention, unknown,
    picked, stacked, padded, multiplied,
]  # fmt: skip


def network(blocks):
    """Blocks one after another, with weights and statistics that are not the initial ones."""
    tf_keras.utils.set_random_seed(0)
    image = layers.Input((4, 4, 2))
    x = conv_bn(image, 8)
    for block in blocks:
        x = block(x)
    x = layers.Dense(3, name="top")(layers.Flatten()(x))
    model = tf_keras.Model(image, x)
    random = np.random.default_rng(0)
    model.set_weights([w + 0.2 * random.random(w.shape) for w in model.get_weights()])
    return model


def some_of(found, seed):
    """A mask that keeps at least one unit of each group."""
    random = np.random.default_rng(seed)
    kept = found.everything()
    for group in found.groups:
        count = random.integers(0, len(group.units))
        kept[random.permutation(group.units)[:count]] = False
    return kept


def check(model, kept, found):
    sliced = slice_channels(found, kept)
    assert sliced.to_json()  # what a call was rewritten to can be stored
    assert sliced.count_params() == Costs(found).of(kept).parameters
    assert sliced.output_shape == model.output_shape
    assert np.isfinite(sliced(np.ones((2, 4, 4, 2)))).all()
    return sliced


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_each_block_can_be_sliced(block):
    model = network([block])
    found = analyse(model)
    weights = model.get_weights()
    check(model, some_of(found, 1), found)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(BLOCKS), min_size=2, max_size=4), st.integers(0, 999))
def test_any_network_can_be_sliced(blocks, seed):
    model = network(blocks)
    found = analyse(model)
    check(model, some_of(found, seed), found)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_keeping_everything_changes_nothing(block):
    model = network([block])
    found = analyse(model)
    image = np.random.default_rng(0).random((2, 4, 4, 2), np.float32)
    np.testing.assert_array_equal(slice_channels(found, found.everything())(image), model(image))


def silence(found, kept):
    """Makes every weight on the units that go zero."""
    for axis in found.axes:
        if axis.role != "reads" and not axis.variable.name.split("/")[-1].startswith("moving"):
            shape = [-1 if i == axis.axis else 1 for i in range(len(axis.variable.shape))]
            axis.variable.assign(axis.variable.numpy() * kept[axis.ids].reshape(shape))


EXACT = [
    residual, inception, depthwise, separable, transposed, grouped, grouped_one_by_one,
    dense_and_back, split, cut, shared, squeeze_excite, attention,
]  # fmt: skip


@pytest.mark.parametrize("block", EXACT, ids=lambda block: block.__name__)
def test_channels_that_are_zero_can_go_without_a_change(block):
    model = network([block, block])
    found = analyse(model)
    kept = some_of(found, 3)
    silence(found, kept)
    sliced = slice_channels(found, kept)
    image = np.random.default_rng(0).random((2, 4, 4, 2), np.float32)
    assert sliced.count_params() < model.count_params()
    np.testing.assert_allclose(sliced(image), model(image), rtol=1e-4, atol=1e-5)


def test_a_residual_branch_of_zeros_goes_whole_without_a_change():
    model = residual_net()
    found = analyse(model)
    kept = without(found, found.everything(), [found.groups[1]])
    silence(found, kept)
    for name in ("second_bn", "first_bn"):
        model.get_layer(name).moving_mean.assign(tf.zeros(8))
    model.get_layer("second_bn").beta.assign(tf.zeros(8))
    sliced = slice_channels(found, kept)
    left = {layer.name for layer in sliced.layers}
    assert left.isdisjoint({"first_conv", "first_bn", "second_conv", "second_bn", "add"})
    image = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    np.testing.assert_allclose(sliced(image), model(image), atol=1e-6)
    assert Costs(found).of(kept).parameters == sliced.count_params()


def test_an_output_keeps_its_name_when_its_branch_goes():
    image = layers.Input((4, 4, 2), name="image")
    branch = layers.Conv2D(2, 1, name="last")(layers.Conv2D(4, 1, name="inner")(image))
    model = tf_keras.Model(image, layers.Add(name="sum")([image, branch]))
    found = analyse(model)
    sliced = slice_channels(found, without(found, found.everything(), found.groups))
    assert sliced.output_names == ["sum"]
    np.testing.assert_array_equal(sliced(np.ones((1, 4, 4, 2))), np.ones((1, 4, 4, 2)))


def test_a_mask_that_cannot_be_is_refused():
    found = analyse(small_cnn())
    with pytest.raises(ModelError, match="cannot be removed: its channels are the model's"):
        slice_channels(found, np.zeros(found.units, bool))
    kept = found.everything()
    kept[found.groups[0].units] = False
    with pytest.raises(ModelError, match="leaves nothing of stem_conv"):
        slice_channels(found, kept)


@pytest.mark.parametrize("block", [transposed, attention], ids=lambda b: b.__name__)
def test_what_is_left_converts(block):
    model = network([block])
    found = analyse(model)
    sliced = check(model, some_of(found, 5), found)
    tflite = tfopt.convert(sliced, target=tfopt.Target.float32())
    assert tfopt.inspect(tflite).parameters < model.count_params()


def test_trainable_flags_and_names_are_kept():
    model = residual_net()
    model.get_layer("stem_bn").trainable = False
    found = analyse(model)
    sliced = slice_channels(found, some_of(found, 0))
    assert [layer.name for layer in sliced.layers] == [layer.name for layer in model.layers]
    assert not sliced.get_layer("stem_bn").trainable


def test_weights_that_began_as_arrays_are_cut():
    def table(*shape):
        return tf_keras.initializers.Constant(np.random.default_rng(0).normal(size=shape))

    words = layers.Input((5,), dtype="int32")
    x = layers.Embedding(20, 8, embeddings_initializer=table(20, 8), name="embedding")(words)
    arrays = {"kernel_initializer": table(3, 8, 6), "bias_initializer": table(6)}
    x = layers.Conv1D(6, 3, **arrays, name="conv")(x)
    model = tf_keras.Model(words, layers.Dense(2)(layers.Flatten()(x)))
    found = analyse(model)
    kept = found.everything()
    for group in found.groups:
        kept[group.units[::2]] = False
    sliced = slice_channels(found, kept)
    assert sliced.get_layer("embedding").output_dim == 4
    assert sliced.get_layer("conv").kernel.shape == (3, 4, 3)
    assert tf_keras.Model.from_config(sliced.get_config()).count_params() == sliced.count_params()
