"""What a model costs, reckoned from its shapes: for planning, in milliseconds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfopt.graph.calls import Node, nodes, outputs
from tfopt.graph.sizes import Sizes, nominal_sizes
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers
# Their weights are applied element by element, whatever their shape: a PReLU may have one for each.
_ELEMENTWISE = (_layers.PReLU, _layers.LayerNormalization, _layers.Normalization)
_TRANSPOSED = (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a layer or a model costs.

    Args:
        macs: Multiply-accumulate operations of one run.
        weights: Elements of its kernels.
    """

    macs: int
    weights: int


def call_cost(node: Node, sizes: Sizes) -> Cost:
    """Returns what one call of a layer costs.

    Every weight of two and more axes counts as a kernel (but biases, and those of PReLU and of
    normalization), and is used once at each place of the output (of the input, for a transposed
    convolution or a recurrent layer). The file's own figure, of `tfopt.inspect`, is exact.

    Args:
        node: A call of a functional model.
        sizes: Of the model's tensors.
    """
    layer = node.layer
    if node.is_input or isinstance(layer, _ELEMENTWISE):
        return Cost(0, 0)
    weights = sum(math.prod(weight.shape) for weight in layer.weights if _is_kernel(weight))
    if isinstance(layer, _layers.Embedding):
        return Cost(0, weights)
    from_input = isinstance(layer, (*_TRANSPOSED, _layers.RNN, _layers.Bidirectional))
    tensor = (node.keras_inputs if from_input else outputs(node))[0]
    return Cost(weights * sizes.places(tensor), weights)


def _is_kernel(weight: Any) -> bool:
    """Whether a weight is multiplied: a GRU's and attention's biases have two axes, too."""
    return len(weight.shape) > 1 and "bias" not in weight.name.split("/")[-1]


def model_cost(model: tf_keras.Model) -> Cost:
    """Returns what a model costs; a shared layer's weights count once, sizes left open as 64.

    Args:
        model: A functional model.

    Example:
        >>> layers = [tf_keras.Input((8, 8, 3)), tf_keras.layers.Conv2D(4, 3, padding="same")]
        >>> model_cost(tf_keras.Sequential(layers))
        Cost(macs=6912, weights=108)
    """
    sizes = nominal_sizes(model)
    calls = [(node.layer, call_cost(node, sizes)) for node in nodes(model)]
    weights = {id(layer): cost.weights for layer, cost in calls}
    return Cost(sum(cost.macs for _, cost in calls), sum(weights.values()))
