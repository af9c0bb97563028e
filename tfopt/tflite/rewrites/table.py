"""Which op is rewritten how."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from tfopt.keras_gate import tf_keras
from tfopt.tflite.rewrites import (
    activations,
    arithmetic,
    booleans,
    masks,
    normalization,
    pooling,
    scales,
    shapes,
    splits,
    volumes,
    wide,
)
from tfopt.tflite.rewrites.call import Call

Rewrite = Callable[[Call], tf.Tensor | list[tf.Tensor] | None]
"""What computes the same as a call, of ops the file may have; None to leave the call as it is."""

ANY: Mapping[str, Rewrite] = {
    "AvgPool3D": pooling.average,
    "MaxPool3D": pooling.largest,
    "Reshape": shapes.reshape,
}
"""For any file: ops that TensorFlow Lite does not have, and sizes that it need not compute."""

INTEGER: Mapping[str, Rewrite] = {
    **ANY,
    "AddN": arithmetic.add_n,
    "BiasAdd": volumes.add_bias,
    "Cast": booleans.cast,
    "ConcatV2": scales.concatenation,
    "Conv3D": volumes.convolution,
    "Conv3DBackpropInputV2": volumes.transposed,
    "Cumsum": arithmetic.cumulative_sum,
    "Elu": activations.elu,
    "Erfc": activations.erfc,
    "LRN": normalization.local_response,
    "Minimum": arithmetic.minimum,
    "Neg": arithmetic.negative,
    "NotEqual": booleans.not_equal,
    "OnesLike": arithmetic.ones_like,
    "Pow": arithmetic.power,
    "RealDiv": arithmetic.quotient,
    "Selu": activations.selu,
    "Sign": arithmetic.sign,
    "Softmax": masks.softmax,
    "Softplus": activations.softplus,
    "SplitV": splits.split,
    "Square": arithmetic.square,
    "SquaredDifference": arithmetic.squared_difference,
    "ZerosLike": arithmetic.zeros_like,
}
"""For a file of integers: also ops that TensorFlow Lite has in floating point only."""

WIDE: Mapping[str, Rewrite] = {
    **INTEGER,
    "AddV2": wide.add,
    "Cast": wide.cast,
    "Equal": wide.equal,
    "Greater": wide.greater,
    "GreaterEqual": wide.greater_equal,
    "Less": wide.less,
    "LessEqual": wide.less_equal,
    "Mean": wide.mean,
    "NotEqual": wide.not_equal,
    "RealDiv": wide.division,
    "SelectV2": wide.select,
    "Softsign": wide.softsign,
    "Sum": wide.total,
}
"""For a file with 16-bit activations: also ops that are wrong or in floating point in those."""

LAYERS: Mapping[type, Callable[..., tf.Tensor]] = {
    tf_keras.layers.GroupNormalization: normalization.groups,
    tf_keras.layers.LayerNormalization: normalization.sample,
}
"""For a file of integers: layers whose call as a whole is another."""
