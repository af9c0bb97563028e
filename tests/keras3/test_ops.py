"""Ops of Keras 3 become plain layers where there is one, and stay what they are elsewhere."""

import keras
import numpy as np
import pytest
from keras import ops

from tfopt.keras_gate import load_model

IMAGE = (4, 6, 3)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x + x, "Add"),
        (lambda x: x - 2 * x, "Subtract"),
        (lambda x: ops.maximum(x, x), "Maximum"),
        (lambda x: ops.maximum(0.0, x), "ReLU"),
        (lambda x: ops.minimum(x, 0.0), "Keras3Operation"),
        (lambda x: 3.0 - x, "Rescaling"),
        (lambda x: x / 3.0, "Rescaling"),
        (lambda x: 3.0 / (x + 10.0), "Keras3Operation"),
        (lambda x: -x, "Rescaling"),
        (lambda x: ops.clip(x, 0, 6), "ReLU"),
        (lambda x: ops.clip(x, -1, 6), "TFOpLambda"),
        (lambda x: ops.clip(x, -1, np.ones(3, "float32")), "Keras3Operation"),
        (lambda x: ops.relu6(x), "ReLU"),
        (lambda x: ops.leaky_relu(x), "LeakyReLU"),
        (lambda x: ops.hard_sigmoid(x), "Activation"),
        (lambda x: ops.elu(x, 0.5), "Keras3Operation"),
        (lambda x: ops.softmax(x, axis=1), "Softmax"),
        (lambda x: ops.mean(x, axis=(1, 2)), "GlobalAveragePooling2D"),
        (lambda x: ops.max(x, axis=(-2, 1), keepdims=True), "GlobalMaxPooling2D"),
        (lambda x: ops.mean(x, axis=-1), "TFOpLambda"),
        (lambda x: ops.mean(x, axis=(1, -2), keepdims=True), "GlobalAveragePooling2D"),
        (lambda x: ops.mean(x, axis=(0, 1)), "Keras3Operation"),
        (lambda x: ops.sum(x, axis=(2, -1)), "TFOpLambda"),
        (lambda x: ops.max(x, axis=1, keepdims=True), "TFOpLambda"),
        (lambda x: ops.max(x, axis=1, initial=0.5), "Keras3Operation"),
        (lambda x: ops.abs(x), "TFOpLambda"),
        (lambda x: ops.square(x) / (ops.abs(x) + 1.0), "TFOpLambda"),
        (lambda x: ops.max_pool(x, 2, 2), "MaxPooling2D"),
        (lambda x: ops.average_pool(x, 2, 1, "same"), "AveragePooling2D"),
        (lambda x: ops.reshape(x, (-1, 12, 6)), "Reshape"),
        (lambda x: ops.reshape(x, (-1, 6)), "Keras3Operation"),
        (lambda x: ops.transpose(x, (0, 3, 1, 2)), "Permute"),
        (lambda x: ops.transpose(x, (3, 0, 1, 2)), "Keras3Operation"),
        (lambda x: ops.expand_dims(x, 1), "Reshape"),
        (lambda x: ops.cast(x, "float16"), "Activation"),
        (lambda x: ops.cast(x, "int32"), "Keras3Operation"),
        (lambda x: ops.swapaxes(x, -1, 1), "Permute"),
        (lambda x: ops.swapaxes(x, 0, 1), "Keras3Operation"),
        (lambda x: ops.moveaxis(x, (1, 3), (-1, 2)), "Permute"),
        (lambda x: ops.repeat(x, 2, axis=-2), "UpSampling2D"),
        (lambda x: ops.repeat(x[:, 0], 3, axis=1), "UpSampling1D"),
        (lambda x: ops.repeat(x, 2, axis=-1), "Keras3Operation"),
        (lambda x: ops.repeat(x, [1, 2, 0, 1], axis=1), "Keras3Operation"),
        (lambda x: ops.split(x, 3, axis=-1)[1], "TFOpLambda"),
        (lambda x: ops.split(x, [1, 4], axis=2)[1], "TFOpLambda"),
        (lambda x: ops.array_split(x, 4, axis=2)[0], "TFOpLambda"),
        (lambda x: ops.split(x, [0, 1], axis=2)[1], "Keras3Operation"),
        (lambda x: x[..., ::-1], "SlicingOpLambda"),
        (lambda x: x[:, 1:-1, -2], "SlicingOpLambda"),
        (lambda x: x[:, None, ..., 1], "SlicingOpLambda"),
        (lambda x: x[..., None], "SlicingOpLambda"),
        (lambda x: x[None, :, 1], "Keras3Operation"),
        (lambda x: x[..., :1, :, :, :], "Keras3Operation"),
        (lambda x: ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))), "TFOpLambda"),
        (lambda x: ops.matmul(x, np.ones((3, 2), "float32")), "Keras3Operation"),
        (lambda x: ops.matmul(np.ones((5, 4, 4), "float32")[0], x[..., 0]), "Keras3Operation"),
        (lambda x: ops.unstack(x, axis=-2)[2], "SlicingOpLambda"),
        (lambda x: ops.stack([x, 2.0 * x], axis=1), "TFOpLambda"),
        (lambda x: ops.stack([x, 2.0 * x], axis=-1), "TFOpLambda"),
        (lambda x: ops.stack([x, 2.0 * x], axis=0), "Keras3Operation"),
        (lambda x: ops.stack([x, np.ones((2, *IMAGE), "float32")], 1), "Keras3Operation"),
        (lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]), "ZeroPadding2D"),
        (lambda x: ops.pad(x[:, 0], [[0, 0], [1, 2], [0, 0]]), "ZeroPadding1D"),
        (lambda x: ops.pad(x[:, None], [[0, 0], [1, 0], [1, 2], [0, 1], [0, 0]]), "ZeroPadding3D"),
        (lambda x: ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 2]]), "TFOpLambda"),
        (lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "reflect"), "TFOpLambda"),
        (lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "symmetric"), "TFOpLambda"),
        (lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], constant_values=3), "TFOpLambda"),
        (lambda x: ops.pad(x, [[1, 0], [1, 2], [0, 1], [0, 0]]), "Keras3Operation"),
        (lambda x: ops.take(x, -1, axis=1), "SlicingOpLambda"),
        (lambda x: ops.take(x, range(1, 6, 2), axis=2), "SlicingOpLambda"),
        (lambda x: ops.take(x, [2], axis=-1), "SlicingOpLambda"),
        (lambda x: ops.take(x, np.array([-1, 0, 4]), axis=-2), "TFOpLambda"),
        (lambda x: ops.take(x, [[0, 1], [1, 2]], axis=1), "Keras3Operation"),
        (lambda x: ops.take(x, [0, 1]), "Keras3Operation"),
        (lambda x: ops.flip(x, axis=(1, -1)), "SlicingOpLambda"),
        (lambda x: ops.argmax(x, axis=-1), "TFOpLambda"),
        (lambda x: ops.argmax(x, axis=1, keepdims=True), "TFOpLambda"),
        (lambda x: ops.argmin(x, axis=2), "TFOpLambda"),
        (lambda x: ops.argmax(x, axis=0), "Keras3Operation"),
        (lambda x: ops.median(x, axis=-1), "TFOpLambda"),
        (lambda x: ops.median(x, axis=(1, 2), keepdims=True), "TFOpLambda"),
        (lambda x: ops.quantile(x, 0.9, axis=[2]), "TFOpLambda"),
        (lambda x: ops.quantile(x, 1.0, axis=1), "TFOpLambda"),
        (lambda x: ops.quantile(x, [0.1, 0.9], axis=1), "Keras3Operation"),
        (lambda x: ops.median(x, axis=0), "Keras3Operation"),
        (lambda x: ops.where(x > 0, x, 0.0), "Keras3Operation"),
    ],
)
def test_an_op_becomes(function, kind):
    x = keras.Input(IMAGE)
    flat = load_model(keras.Model(x, function(x)))
    assert type(flat.layers[-1]).__name__ == kind
    sample = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype("float32")
    expected = keras.ops.convert_to_numpy(function(sample))
    np.testing.assert_allclose(flat(sample), expected, rtol=1e-3, atol=1e-3)


def test_ops_keep_their_names():
    x = keras.Input((4,))
    flat = load_model(keras.Model(x, ops.tanh(ops.add(x, 1.0))))
    assert [layer.name.rstrip("_0123456789") for layer in flat.layers[1:]] == ["add", "tanh"]
