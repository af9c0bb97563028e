"""Sizes that a model leaves open: what stands for them, and what a run of it then has."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.graph.calls import nodes, outputs
from tfopt.graph.sizes import nominal_sizes, sizes_of
from tfopt.graph.stepping import random_inputs
from tfopt.keras_gate import tf_keras
from tfopt.testing import small_cnn

layers = tf_keras.layers


def images(*kernels):
    image = layers.Input((None, None, 3))
    x = image
    for kernel in kernels:
        x = layers.Conv2D(2, kernel)(x)
    return tf_keras.Model(image, x)


def seen(inputs, log, *, fails=False):
    """A model that takes down the shapes it is run with."""

    def note(x):
        if tf.executing_eagerly() and not tf_keras.backend.is_keras_tensor(x):
            log.append(tuple(x.shape[1:]))
            assert not fails
        return x

    return tf_keras.Model(inputs, layers.Lambda(note)(inputs))


@pytest.mark.parametrize(
    ("kernel", "size"), [((3, 3), 64), ((64, 1), 64), ((65, 1), 256), ((66, 1), 256)]
)
def test_the_first_size_that_leaves_something_to_compute(kernel, size):
    model = images(kernel)
    sizes = nominal_sizes(model)
    height, width = kernel
    assert sizes.inputs == ((size, size, 3),)
    assert sizes.inner(model.output) == (size - height + 1, size - width + 1)


def test_raw_sound_is_long_and_tables_may_have_few_rows():
    sound, numbers = layers.Input((None, 1)), layers.Input((None,), dtype="int32")
    long = tf_keras.Model(sound, layers.Conv1D(2, 400, strides=160)(sound))
    assert nominal_sizes(long).inputs == ((4096, 1),)
    places = layers.Lambda(lambda x: tf.gather(tf.eye(20), tf.range(tf.shape(x)[1])))(numbers)
    with tf.device("cpu"):  # where a number without a row is an error
        assert nominal_sizes(tf_keras.Model(numbers, places)).inputs == ((16,),)


def test_no_image_is_tried_that_fills_the_memory():
    log = []
    sizes = nominal_sizes(seen(layers.Input((None, None, 3)), log, fails=True))
    assert log == [(64, 64, 3), (256, 256, 3), (16, 16, 3)]
    assert sizes.inputs == ((64, 64, 3),)


def test_what_cannot_be_run_counts_as_one_place():
    model = images((5000, 1))
    assert nominal_sizes(model).places(model.output) == 1


def test_a_model_without_open_sizes_is_not_run():
    log = []
    sizes = nominal_sizes(seen(layers.Input((8, 8, 3)), log))
    assert (sizes.inputs, sizes.tensors, log) == (((8, 8, 3),), {}, [])


@pytest.mark.parametrize("shape", [(64, 64, 3), (40, 32, 3)])
def test_they_are_those_of_a_model_of_that_size(shape):
    def model(*size):
        image = layers.Input((*size, 3))
        x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
        y = layers.DepthwiseConv2D(5)(x)
        y = layers.Conv2DTranspose(4, 5)(y)
        x = layers.UpSampling2D()(layers.Concatenate()([x, y]))
        return tf_keras.Model(image, [layers.GlobalMaxPooling2D()(x), x])

    open_sized, known = model(None, None), model(*shape[:2])
    sizes = sizes_of(open_sized, [np.zeros((2, *shape))])
    pairs = zip(nodes(open_sized), nodes(known), strict=True)
    for ours, theirs in pairs:
        (tensor,), (other,) = outputs(ours), outputs(theirs)
        assert sizes.inner(tensor) == tuple(other.shape[1:-1])


def test_a_size_that_is_open_inside_alone_is_known_too():
    image = layers.Input((24, 32, 3))
    x = layers.Conv2D(4, 1)(layers.MaxPooling2D()(image))
    size = layers.Lambda(lambda x: tf.cast(x[0, 0, :2, 0], tf.int32) + tf.constant([24, 32]))(x)
    again = layers.Lambda(lambda given: tf.image.resize(*given))([x, size])
    assert again.shape[1:] == (None, None, 4)
    assert nominal_sizes(tf_keras.Model(image, again)).inner(again) == (24, 32)


def test_a_tensor_of_unknown_rank_is_one_place_until_it_is_known():
    row = layers.Input((4,))
    x = layers.Lambda(lambda x: tf.py_function(lambda x: x[:, None], [x], tf.float32))(row)
    model = tf_keras.Model(row, x)
    assert x.shape.rank is None
    assert nominal_sizes(model).inner(x) == (1,)
    assert [array.shape for array in random_inputs(model)] == [(4, 4)]


def test_random_inputs_are_of_the_nominal_size_or_of_that_of_samples():
    model = images((50, 1))
    assert [array.shape for array in random_inputs(model)] == [(4, 64, 64, 3)]
    like = np.zeros((9, 70, 80, 3))
    assert [array.shape for array in random_inputs(model, like=like)] == [(4, 70, 80, 3)]
    assert [array.shape for array in random_inputs(small_cnn())] == [(4, 8, 8, 1)]
