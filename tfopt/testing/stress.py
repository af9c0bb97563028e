"""A model that computes the same, and that plain converters destroy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfopt.errors import TechniqueError
from tfopt.graph.batch_norm import fold_batch_norm
from tfopt.graph.equality import prove_same
from tfopt.graph.pairs import Scaling, find_pairs

if TYPE_CHECKING:
    import tf_keras


def stress(model: tf_keras.Model, *, seed: int = 0, octaves: float = 5.0) -> tf_keras.Model:
    """Returns a model with the same outputs whose channels have wildly different ranges.

    Trained nets can come out that way, those with batch norm behind depthwise convolutions most of
    all. A file has one scale for all channels of an activation, so that small ones are lost.

    Args:
        model: A functional model; it is left as it was.
        seed: Of the scales.
        octaves: Each channel is multiplied by 2 to a power drawn from -octaves to octaves.

    Returns:
        A copy with batch norms folded. A ReLU6 becomes a ReLU and a minimum with a limit for each
        channel.

    Raises:
        TechniqueError: No channels can be rescaled.

    Example:
        >>> from tfopt.testing import depthwise_net
        >>> [type(layer).__name__ for layer in stress(depthwise_net()).layers][2:5]
        ['ReLU', 'DepthwiseConv2D', 'ReLU']

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
        section 3 (figure 2: ranges of MobileNetV2).
    """
    own = fold_batch_norm(model)
    pairs = find_pairs(own).found
    if not pairs:
        raise TechniqueError(
            received=f"model {model.name!r}, whose channels cannot be rescaled",
            expected="a layer with a kernel whose output only such layers read",
            fix="take a model of at least two convolutions or dense layers, with ReLU between",
        )
    random = np.random.default_rng(seed)
    scaling = Scaling(pairs)
    for pair in pairs:
        scaling.divide(pair, 2.0 ** random.uniform(-octaves, octaves, pair.channels))
    stressed = scaling.rescaled(own)
    prove_same(model, stressed)
    return stressed
