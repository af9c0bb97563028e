"""Where the file rounds: the tensors that get a range, and the layers that get none."""

import pytest
import tensorflow as tf

from tfopt.graph.calls import nodes, outputs
from tfopt.keras_gate import tf_keras
from tfopt.quantization.layout import plan, reason_to_skip

layers = tf_keras.layers
Model = tf_keras.Model


def rounded(model, without=()):
    """Names of the layers whose output is rounded, those in `without` left alone."""
    names = frozenset(layer.name for layer in model.layers) - set(without)
    layout = plan(model, names)
    return [
        node.layer.name
        for node in nodes(model)
        for tensor in outputs(node)
        if id(tensor) in layout.tensors
    ]


def image_model(build, shape=(8, 8, 3)):
    image = layers.Input(shape, name="image")
    return Model(image, build(image))


def test_batch_norm_and_relu_belong_to_the_convolution_before_them():
    def build(image):
        x = layers.Conv2D(4, 3, use_bias=False, name="conv")(image)
        x = layers.ReLU(6.0, name="relu")(layers.BatchNormalization(name="bn")(x))
        x = layers.MaxPooling2D(name="pool")(x)
        x = layers.Conv2D(4, 1, activation="relu", name="fused")(x)
        return layers.BatchNormalization(name="alone")(x)

    assert rounded(image_model(build)) == ["image", "relu", "fused", "alone"]


@pytest.mark.parametrize("kind", [layers.Add, layers.Multiply, layers.Subtract])
def test_relu_belongs_to_the_arithmetic_before_it(kind):
    def build(image):
        x = kind(name="join")([layers.Conv2D(3, 1, name="conv")(image), image])
        return layers.Activation("relu", name="relu")(x)

    assert rounded(image_model(build)) == ["image", "conv", "relu"]


def test_what_is_used_twice_or_is_a_result_is_rounded_itself():
    image = layers.Input((8, 8, 3), name="image")
    conv = layers.Conv2D(3, 1, name="conv")(image)
    second = layers.Conv2D(3, 1, name="second")(image)
    model = Model(
        image,
        [layers.ReLU(name="a")(conv), layers.ReLU(6.0, name="b")(conv), second,
         layers.ReLU(name="c")(second)],
    )  # fmt: skip
    assert sorted(rounded(model)) == ["a", "b", "c", "conv", "image", "second"]


@pytest.mark.parametrize(
    "relu",
    [
        layers.ReLU(3.0, name="relu"),
        layers.ReLU(negative_slope=0.1, name="relu"),
        layers.LeakyReLU(name="relu"),
        layers.Activation("swish", name="relu"),
    ],
)
def test_activations_the_converter_does_not_fuse_are_rounded_on_both_sides(relu):
    model = image_model(lambda image: relu(layers.Conv2D(3, 1, name="conv")(image)))
    assert rounded(model) == ["image", "conv", "relu"]


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "tanh"])
def test_activations_with_a_fixed_range_are_rounded_before_only(name):
    def build(image):
        return layers.Activation(name)(layers.Dense(3, name="dense")(layers.Flatten()(image)))

    assert rounded(image_model(build)) == ["image", "dense"]


def test_batch_norm_is_rounded_apart_where_the_converter_does_not_fold_it():
    def dilated(image):
        x = layers.Conv2D(4, 3, dilation_rate=2, name="conv")(image)
        return layers.BatchNormalization(name="bn")(x)

    def dense(image):
        x = layers.Dense(4, name="conv")(layers.Reshape((4, 48), name="r")(image))
        return layers.BatchNormalization(name="bn")(x)

    def wrong_axis(image):
        return layers.BatchNormalization(axis=1, name="bn")(layers.Conv2D(4, 3, name="conv")(image))

    for build in (dilated, dense, wrong_axis):
        assert rounded(image_model(build)) == ["image", "conv", "bn"]


def test_what_is_concatenated_takes_the_range_of_the_whole():
    def build(image):
        a = layers.MaxPooling2D(name="pool")(layers.Conv2D(2, 1, name="a")(image))
        b = layers.Conv2D(2, 2, 2, activation="relu", name="b")(image)
        inner = layers.Concatenate(name="inner")([a, b])
        used_twice = layers.Conv2D(2, 2, 2, name="c")(image)
        outer = layers.Concatenate(name="outer")([inner, used_twice])
        return layers.Add(name="add")([layers.Conv2D(2, 1, name="d")(outer), used_twice])

    assert sorted(rounded(image_model(build))) == ["add", "c", "d", "image", "outer"]


def test_pooling_keeps_the_range_of_its_input_but_the_global_average_does_not():
    def build(image):
        x = layers.AveragePooling2D(name="average")(layers.MaxPooling2D(name="max")(image))
        return layers.GlobalAveragePooling2D(name="global")(x)

    assert rounded(image_model(build)) == ["image", "global"]


@pytest.mark.parametrize(
    "layer",
    [
        layers.Activation("linear"), layers.ActivityRegularization(), layers.AlphaDropout(0.1),
        layers.Dropout(0.1), layers.GaussianDropout(0.1), layers.GaussianNoise(0.1),
        layers.Identity(), layers.RandomBrightness(0.1), layers.RandomContrast(0.1),
        layers.RandomFlip(), layers.RandomHeight(0.1), layers.RandomRotation(0.1),
        layers.RandomTranslation(0.1, 0.1), layers.RandomWidth(0.1), layers.RandomZoom(0.1),
        layers.SpatialDropout2D(0.1),
    ],
    ids=lambda layer: layer.name,
)  # fmt: skip
def test_layers_that_do_nothing_at_inference_are_not_rounded(layer):
    def build(image):
        return layers.Conv2D(2, 1, name="conv")(layer(image))

    model = image_model(build)
    assert rounded(model) == ["image", "conv"]
    assert not plan(model, frozenset(layer.name for layer in model.layers)).open_inputs


def test_random_layers_are_rounded_where_they_make_floats_of_integers():
    image = layers.Input((8, 8, 3), dtype="uint8", name="image")
    flipped = layers.RandomFlip(name="flip")(image)
    model = Model(image, layers.Conv2D(2, 1, name="conv")(flipped))
    assert rounded(model) == ["flip", "conv"]


def test_layers_left_alone_are_not_rounded():
    def build(image):
        x = layers.ReLU(name="relu")(layers.Conv2D(2, 1, name="conv")(image))
        return layers.Concatenate(name="join")([x, image])

    model = image_model(build)
    assert rounded(model, without=["join"]) == ["image", "relu"]
    assert rounded(model, without=["relu"]) == ["image", "join"]
    layout = plan(model, frozenset(["relu"]))
    assert not layout.kernels


def test_one_scale_only_where_the_converter_understands_it():
    def build(image):
        x = layers.Conv2D(4, 3, name="conv")(image)
        x = layers.DepthwiseConv2D(3, name="depthwise")(x)
        x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="multiplied")(x)
        x = layers.Conv2DTranspose(4, 3, name="transposed")(x)
        x = layers.Dense(4, name="dense_4d")(x)
        x = layers.Dense(4, name="folded")(layers.Flatten()(x))
        return layers.Dense(2, name="top")(layers.BatchNormalization()(x))

    model = image_model(build)
    layout = plan(model, frozenset(layer.name for layer in model.layers))
    assert layout.one_scale == {"conv", "depthwise", "top"}
    assert layout.kernels == layout.one_scale | {"multiplied", "transposed", "dense_4d", "folded"}


@pytest.mark.parametrize(
    ("first", "is_open"),
    [
        (lambda image: layers.Conv2D(2, 1)(layers.ZeroPadding2D()(image)), False),
        (lambda x: layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(2, 1)(x))), False),
        (lambda image: layers.SeparableConv2D(2, 1)(image), True),
        (lambda image: layers.LayerNormalization()(image), True),
        (lambda x: layers.Add()([layers.Conv2D(3, 1)(x), layers.Rescaling(2.0)(x)]), True),
    ],
)  # fmt: skip
def test_inputs_that_lead_to_untrained_ranges_are_open(first, is_open):
    model = image_model(first)
    layout = plan(model, frozenset(layer.name for layer in model.layers))
    assert layout.open_inputs == ({"image"} if is_open else set())


class Doubling(layers.Layer):
    def call(self, inputs):
        return inputs * 2.0


class OwnCell(layers.Layer):
    """A cell of the user's."""

    state_size = output_size = 2

    def call(self, x, states):
        return x + states[0], [x]


def called(layer, shape=(8, 8, 3)):
    layer(layers.Input(shape))
    return layer


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (called(layers.Dense(2)), None),
        (called(layers.LayerNormalization()), None),
        (called(layers.Lambda(lambda x: x * 2)), None),
        (called(Doubling()), "a custom layer: the file rounds it in ways tfopt does not know "
         "(its ranges are left to the converter's calibration)"),
        (called(tf_keras.Sequential([layers.Dense(2)])),
         "a model inside the model: load_model would dissolve it into its layers"),
        (called(layers.Conv3D(2, 1), (4, 4, 4, 2)), None),
        (called(layers.GRU(2), (4, 2)), None),
        (called(layers.Bidirectional(layers.LSTM(2)), (4, 2)), None),
        (called(layers.RNN(OwnCell()), (4, 2)), "recurrent, with a cell tfopt does not know "
         "(its ranges are left to the converter's calibration)"),
        (called(layers.Lambda(lambda x: (x, x))), "has several outputs, which may have to share "
         "one range (its ranges are left to the converter's calibration)"),
        (called(layers.Lambda(lambda x: tf.argmax(x, -1))), "its output is not floating-point"),
    ],
)  # fmt: skip
def test_reasons_to_skip(layer, reason):
    assert reason_to_skip(layer) == reason
