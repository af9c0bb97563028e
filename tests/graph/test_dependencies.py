"""Which channels go together, which stay, and why."""

import numpy as np
import tensorflow as tf

from tfopt.graph.dependencies import analyse, without
from tfopt.keras_gate import tf_keras
from tfopt.testing import depthwise_net, residual_net

layers = tf_keras.layers


def groups(model):
    return {group.name: (len(group.units), group.width) for group in analyse(model).groups}


def reasons(model):
    return set(analyse(model).reasons.values())


def test_a_sum_ties_the_layers_it_adds():
    assert groups(residual_net()) == {"stem_conv + second_conv": (8, 1), "first_conv": (8, 1)}


def test_a_depthwise_convolution_makes_no_channels_of_its_own():
    assert groups(depthwise_net()) == {"stem_conv": (8, 1), "pointwise_conv": (16, 1)}


def test_a_depth_multiplier_goes_with_its_channel():
    image = layers.Input((6, 6, 1))
    x = layers.Conv2D(4, 1, name="stem")(image)
    x = layers.DepthwiseConv2D(3, depth_multiplier=3)(x)
    x = layers.Flatten()(x)
    model = tf_keras.Model(image, layers.Dense(2, name="top")(x))
    found = analyse(model)
    rows = next(axis for axis in found.axes if axis.layer.name == "top" and axis.role == "reads")
    places = rows.ids.reshape(16, 4, 3)
    np.testing.assert_array_equal(places, np.tile(found.groups[0].units[:, None], (16, 1, 3)))


def test_a_row_of_channels_is_cut_where_each_input_lies():
    image = layers.Input((6, 6, 1))
    one, two = layers.Conv2D(2, 1, name="one")(image), layers.Conv2D(3, 1, name="two")(image)
    x = layers.Conv2D(4, 1, name="top")(layers.Concatenate()([two, one]))
    found = analyse(tf_keras.Model(image, x))
    read = next(a.ids for a in found.axes if a.layer.name == "top" and a.role == "reads")
    units = {group.name: group.units.tolist() for group in found.groups}
    assert read.tolist() == units["two"] + units["one"]


def test_a_grouped_convolution_loses_alike_in_all_groups():
    image = layers.Input((6, 6, 1))
    x = layers.Conv2D(8, 1, name="stem")(image)
    x = layers.Conv2D(12, 3, groups=4, name="grouped")(x)
    model = tf_keras.Model(image, layers.Conv2D(2, 1)(x))
    assert groups(model) == {"stem": (2, 4), "grouped": (3, 4)}


def test_attention_loses_whole_heads():
    words = layers.Input((5, 6))
    x = layers.MultiHeadAttention(4, 3, name="attention")(words, words)
    found = analyse(tf_keras.Model(words, layers.Dense(2)(x)))
    heads = [group for group in found.groups if group.one_by_one]
    assert [len(group.units) for group in heads] == [4]
    assert [len(group.units) for group in found.groups if not group.one_by_one] == [6]


def test_what_has_no_rule_is_left_whole_and_named():
    image = layers.Input((6, 6, 1))
    x = layers.Lambda(lambda t: tf.reverse(t, [-1]), name="mix")(layers.Conv2D(4, 1)(image))
    model = tf_keras.Model(image, layers.Conv2D(2, 1, name="top")(x))
    assert groups(model) == {}
    assert "its channels reach mix (Lambda), which is left whole" in reasons(model)
    assert analyse(model).whole == {"mix": "tfopt does not know how to cut a Lambda"}


def test_channels_first_is_left_whole():
    image = layers.Input((4, 6, 6))
    x = layers.Conv2D(4, 1, data_format="channels_first", name="conv")(image)
    model = tf_keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    assert groups(model) == {}
    assert "conv" in analyse(model).whole


def test_a_gate_of_one_channel_stays():
    image = layers.Input((6, 6, 1))
    x = layers.Conv2D(4, 1, name="stem")(image)
    gate = layers.Conv2D(1, 1, name="gate", activation="sigmoid")(x)
    x = layers.Multiply(name="gated")([x, gate])
    model = tf_keras.Model(image, layers.Conv2D(2, 1)(x))
    assert groups(model) == {"stem": (4, 1)}
    assert "gated (Multiply) repeats it over all channels" in reasons(model)


def test_only_what_a_sum_can_do_without_goes_whole():
    found = analyse(residual_net())
    trunk, branch = found.groups
    assert without(found, found.everything(), [trunk]) is None
    kept = without(found, found.everything(), [branch])
    assert kept[trunk.units].all()
    assert not kept[branch.units].any()


def test_a_lost_layer_takes_the_channels_that_it_alone_makes():
    image = layers.Input((6, 6, 1))
    inner = layers.Conv2D(4, 1, name="inner")(image)
    row = layers.Concatenate()([layers.Conv2D(2, 1, name="last")(inner), image])
    found = analyse(tf_keras.Model(image, layers.Conv2D(2, 1)(row)))
    inner_group, last = found.groups
    kept = without(found, found.everything(), [inner_group])
    assert not kept[last.units].any()


def test_groups_that_one_layer_makes_have_names_of_their_own():
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(32, 3, padding="same", name="split")(image)
    y = layers.Conv2D(16, 3, padding="same", name="half")(x[..., 16:])
    x = layers.Concatenate()([x[..., :16], y])
    found = analyse(tf_keras.Model(image, layers.Conv2D(4, 1)(x)))
    assert [group.name for group in found.groups] == ["split[0:16]", "split[16:32]", "half"]


def test_attention_heads_are_told_from_the_channels_that_attention_makes():
    words = layers.Input((5, 6))
    x = layers.MultiHeadAttention(4, 3, name="attention")(words, words)
    found = analyse(tf_keras.Model(words, layers.Dense(2)(x)))
    assert [group.name for group in found.groups] == ["attention (heads)", "attention[0:6]"]
