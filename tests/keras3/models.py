"""Keras 3 models of every kind, as small as they can be: each a function, named after its kind."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def cnn():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Rescaling(1 / 128, offset=-1),
            layers.Conv2D(4, 3, activation="hard_silu", kernel_regularizer="l2", name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, padding="same", activation="silu"),
            layers.LeakyReLU(negative_slope=0.1),
            layers.SeparableConv2D(4, 2),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(5, activation="softmax", name="classes"),
        ]
    )


def nested_and_shared():
    block = keras.Sequential(
        [layers.Conv2D(3, 3, padding="same", name="conv"), layers.BatchNormalization(name="bn")],
        name="block",
    )
    head_in = keras.Input((8, 8, 3))
    head = keras.Model(head_in, layers.Activation("hard_sigmoid", name="gate")(block(head_in)))
    image = keras.Input((8, 8, 3))
    y = layers.add([head(block(image)), image])
    y = layers.GlobalAveragePooling2D(keepdims=True)(block(y, training=False))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(y)))


def dicts_in_and_out():
    left, right = (keras.Input((4,), name=name) for name in ("left", "right"))
    y = layers.Dot(1)([layers.Dense(3)(left), layers.Dense(3, use_bias=False)(right)])
    outputs = {"score": layers.Dense(1, name="dense_of_score")(y), "both": left + right}
    return keras.Model({"right": right, "left": left}, outputs)


def operators_and_slices():
    image = keras.Input((6, 6, 4))
    y = ops.relu(image[:, 1:, ::2] * 2.0 - 1.0) / 4.0
    y = ops.concatenate([y, ops.clip(y, 0.0, 6.0), 1.0 - y], axis=-1)
    y = ops.transpose(ops.reshape(y, (-1, 15, 12)), (0, 2, 1))
    y = ops.maximum(ops.silu(y), ops.gelu(y)) + ops.sqrt(ops.abs(y) + 1.0)
    y = ops.softmax(ops.mean(y, axis=1) + np.arange(15, dtype="float32"))
    return keras.Model(image, ops.expand_dims(ops.matmul(y, np.eye(15, 3, dtype="float32")), 1))


def attention():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(10, 8)(tokens)
    y = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    y = layers.LayerNormalization()(x + y)
    y = layers.GroupQueryAttention(4, 4, 2)(y, y)
    y = layers.Attention(use_scale=True)([y, x])
    y = layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", activation="gelu")(y)
    return keras.Model(tokens, layers.RMSNormalization()(y))


def masked_recurrent():
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(6, 4, mask_zero=True)(tokens) * 2.0
    x = layers.Masking()(x)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    return keras.Model(tokens, layers.GRU(4, recurrent_activation="hard_sigmoid")(x))


def recurrent_states():
    sequence = keras.Input((None, 4))
    x = layers.Conv1D(4, 3, padding="causal")(sequence)
    x, h, c = layers.LSTM(3, return_state=True, return_sequences=True)(x)
    x = layers.LSTM(3, return_sequences=True)(x, initial_state=[h, c])
    x = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])(x)
    return keras.Model(sequence, [x, h])


def video():
    frame = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten()])
    clip = keras.Input((3, 6, 6, 1))
    x = layers.TimeDistributed(frame)(clip)
    x = layers.TimeDistributed(layers.Dense(3))(x)
    y = layers.ConvLSTM2D(2, 3)(clip)
    y = layers.SpectralNormalization(layers.Conv2D(2, 1))(y)
    z = layers.GlobalMaxPooling3D()(layers.GroupNormalization(2)(layers.Conv3D(2, 2)(clip)))
    return keras.Model(clip, [layers.SimpleRNN(3)(x), y, z])


def preprocessing():
    measured = layers.Normalization()
    measured.adapt(np.random.default_rng(0).normal(3.0, 2.0, (20, 6, 6, 3)).astype("float32"))
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            measured,
            layers.RandomFlip(),
            layers.RandomRotation(0.1),
            layers.RandomHue(0.1),
            layers.RandomCrop(5, 5),
            layers.Resizing(8, 8),
            layers.CenterCrop(4, 4),
            layers.GlobalAveragePooling2D(),
            layers.UnitNormalization(),
        ]
    )


def activations_of_every_kind():
    x = keras.Input((4,))
    outputs = [
        layers.Dense(3, activation=layers.LeakyReLU(0.3))(x),
        layers.Dense(3, activation=lambda z: ops.sin(z) * 2.0)(x),
        layers.Dense(3, activation=tf.nn.relu6)(x),
        layers.Dense(3, activation="log_sigmoid")(x),
        layers.PReLU()(x),
        layers.ELU(0.5)(x),
        layers.Softmax()(x),
    ]
    return keras.Model(x, outputs)


class Scaled(layers.Layer):
    """Only layers, weights and keras.ops in its call: it can be taken apart."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(units, name="dense")
        self.units = units

    def build(self, shape):
        self.dense.build(shape)
        self.scale = self.add_weight(shape=(self.units,), initializer="normal", name="scale")

    def call(self, x, training=False):
        return self.dense(x) * self.scale + 1.0


@keras.saving.register_keras_serializable("tests")
class Positions(layers.Layer):
    """Looks positions up, which do not depend on its input: that leaves no trace."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.table = layers.Embedding(20, units)

    def build(self, shape):
        self.table.build(None)

    def call(self, x):
        return x + self.table(ops.arange(ops.shape(x)[1]))


class UsesTensorFlow(layers.Layer):
    """Calls TensorFlow, which knows no symbols of Keras 3."""

    def __init__(self, function):
        super().__init__(name="raw")
        self.function = function

    def call(self, x):
        return self.function(x)


def custom_layers():
    x = keras.Input((5, 4))
    scaled = Scaled(4, name="scaled")
    y = Positions(4, name="positions")(scaled(scaled(x)))
    y = UsesTensorFlow(tf.nn.softplus)(y)
    y = layers.Lambda(lambda z: ops.tanh(z), name="tanh_of")(y)
    return keras.Model(x, layers.Lambda(lambda z: tf.nn.relu(z) * 2.0, name="tf_of")(y))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.table = layers.Embedding(10, 4)
        self.dense = layers.Dense(3)
        self.norm = layers.BatchNormalization()

    def call(self, tokens, training=False):
        x = self.table(tokens)
        return ops.concatenate([self.dense(x), self.norm(self.dense(x), training=training)], -1)


def subclassed():
    model = Subclassed()
    model(np.zeros((2, 5), "int32"))
    return model


def half_precision():
    half = keras.DTypePolicy("mixed_float16")
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, dtype=half),
            layers.BatchNormalization(dtype=half),
            layers.Flatten(dtype=half),
            UsesTensorFlow(tf.nn.softplus),
            layers.Dense(3, dtype="float32"),
        ]
    )


def channels_first():
    first = {"data_format": "channels_first"}
    return keras.Sequential(
        [
            keras.Input((3, 8, 8)),
            layers.Conv2D(4, 3, **first),
            layers.BatchNormalization(axis=1),
            layers.MaxPooling2D(**first),
            layers.DepthwiseConv2D(2, **first),
            layers.Flatten(**first),
            layers.Dense(3),
        ]
    )


def of_one_dimension():
    x = keras.Input((16, 3))
    y = layers.Conv1DTranspose(4, 2, strides=2)(x)
    y = layers.SeparableConv1D(4, 3)(layers.ZeroPadding1D(1)(y))
    y = layers.DepthwiseConv1D(3)(layers.Cropping1D(1)(layers.UpSampling1D(2)(y)))
    y = layers.AdaptiveAveragePooling1D(4)(layers.AveragePooling1D(2)(y))
    return keras.Model(x, layers.Permute((2, 1))(layers.RepeatVector(2)(layers.Flatten()(y))))


ALL = [
    cnn, nested_and_shared, dicts_in_and_out, operators_and_slices, attention, masked_recurrent,
    recurrent_states, video, preprocessing, activations_of_every_kind, custom_layers, subclassed,
    half_precision, channels_first, of_one_dimension,
]  # fmt: skip
# Recurrent layers are slow to build, and some of the others hold Python code that is not stored.
STORED = [
    cnn, nested_and_shared, dicts_in_and_out, operators_and_slices, attention, preprocessing,
    subclassed, channels_first, of_one_dimension,
]  # fmt: skip
