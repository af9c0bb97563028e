"""Layers whose channels come before their positions, for which a CPU has no kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tf_keras


def channels_first(layer: Any) -> bool:
    """Whether a Keras 3 layer takes its channels before its positions."""
    return getattr(layer, "data_format", None) == "channels_first"


def call_with_channels_last(
    layer: Any, x: Any, kwargs: dict[str, Any], name: Callable[[str], str]
) -> Any:
    """Calls a layer that wants channels last on a tensor that has them first.

    Args:
        layer: The tf_keras layer.
        x: The tensor, (batch, channels, positions...).
        kwargs: The keyword arguments of the call.
        name: Gives the transposing layers their names.

    Returns:
        What the layer gives, with the channels first again if it still has positions.
    """
    rank = len(x.shape)
    if rank < 3:
        return layer(x, **kwargs)
    there, back = [*range(2, rank), 1], [rank - 1, *range(1, rank - 1)]
    outputs = layer(tf_keras.layers.Permute(there, name=name("channels_last"))(x), **kwargs)
    if len(outputs.shape) < rank:
        return outputs
    return tf_keras.layers.Permute(back, name=name("channels_first"))(outputs)
