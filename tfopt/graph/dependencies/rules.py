"""What each kind of layer does with channels: those that have weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfopt.graph.calls import KerasTensor
from tfopt.graph.dependencies.call import Call, CannotSlice
from tfopt.graph.dependencies.channels import Ids
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers


def dense(call: Call) -> Ids:
    """Dense and convolution: channels in along the last axis but one, out along the last."""
    layer = call.layer
    if getattr(layer, "groups", 1) > 1:
        return _grouped(call)
    field = "units" if hasattr(layer, "units") else "filters"
    out = call.channels.made_by(layer, getattr(layer, field))
    call.along(layer.kernel, -2, call.ids, "reads")
    call.along(layer.kernel, -1, out, "makes")
    call.channels.sets(layer, field, out)
    call.multiplies(layer.kernel, call.output)
    return _with_bias(call, out)


def _grouped(call: Call) -> Ids:
    """A convolution in groups: all groups lose alike; one of a channel a group loses groups."""
    layer, groups, ids = call.layer, call.layer.groups, call.ids
    call.multiplies(layer.kernel, call.output)
    if len(ids) == groups:
        out = np.repeat(ids, layer.filters // groups)
        call.along(layer.kernel, -1, out, "carries")
        call.channels.sets(layer, "groups", ids)
    else:
        out = call.channels.made_by(layer, layer.filters)
        inside = _alike(call, ids, groups)
        call.along(layer.kernel, -2, inside, "reads")
        call.along(layer.kernel, -1, out, "makes")
        _alike(call, out, groups)
    call.channels.sets(layer, "filters", out)
    return _with_bias(call, out)


def _alike(call: Call, ids: Ids, groups: int) -> Ids:
    """Ties the channels at the same place of each group; returns those of the first group."""
    by_group = ids.reshape(groups, -1)
    for other in by_group[1:]:
        call.channels.tie(by_group[0], other)
    return by_group[0]


def transposed(call: Call) -> Ids:
    """A transposed convolution: its kernel has the channels out before the channels in."""
    layer = call.layer
    out = call.channels.made_by(layer, layer.filters)
    call.along(layer.kernel, -1, call.ids, "reads")
    call.along(layer.kernel, -2, out, "makes")
    call.channels.sets(layer, "filters", out)
    call.multiplies(layer.kernel, call.input)
    return _with_bias(call, out)


def depthwise(call: Call) -> Ids:
    """A depthwise convolution: `depth_multiplier` channels come of each, and go with it."""
    layer = call.layer
    out = np.repeat(call.ids, layer.depth_multiplier)
    call.along(layer.depthwise_kernel, -2, call.ids, "carries")
    call.multiplies(layer.depthwise_kernel, call.output)
    return _with_bias(call, out)


def separable(call: Call) -> Ids:
    """A depthwise convolution and one of 1x1 in one layer."""
    layer = call.layer
    out = call.channels.made_by(layer, layer.filters)
    call.along(layer.depthwise_kernel, -2, call.ids, "carries")
    call.along(layer.pointwise_kernel, -2, np.repeat(call.ids, layer.depth_multiplier), "reads")
    call.along(layer.pointwise_kernel, -1, out, "makes")
    call.channels.sets(layer, "filters", out)
    call.multiplies(layer.depthwise_kernel, call.output)
    call.multiplies(layer.pointwise_kernel, call.output)
    return _with_bias(call, out)


def _with_bias(call: Call, out: Ids) -> Ids:
    """A bias has one weight for each channel that comes out."""
    if call.layer.use_bias:
        call.along(call.layer.bias, 0, out, "carries")
    return out


def embedding(call: Call) -> Ids:
    """An embedding makes channels of words."""
    layer = call.layer
    out = call.channels.made_by(layer, layer.output_dim)
    call.along(layer.embeddings, 1, out, "makes")
    call.channels.sets(layer, "output_dim", out)
    return out


def normalized(call: Call) -> Ids:
    """Batch and layer norm: one scale, offset and statistic for each channel."""
    if not call.is_last(call.layer.axis):
        raise CannotSlice
    for weight in call.layer.weights:
        call.along(weight, 0, call.ids, "carries")
    return call.ids


def group_normalized(call: Call) -> Ids:
    """Group norm: all groups lose alike; one of a channel a group loses groups."""
    layer = call.layer
    if layer.groups in (-1, len(call.ids)):
        call.channels.sets(layer, "groups", call.ids)
    elif layer.groups > 1:
        _alike(call, call.ids, layer.groups)
    return normalized(call)


def prelu(call: Call) -> Ids:
    """A slope for each channel, unless the channels share one."""
    if call.layer.alpha.shape[-1] == len(call.ids):
        call.along(call.layer.alpha, -1, call.ids, "carries")
    return call.ids


def each_weight(call: Call) -> Ids:
    """A layer whose only weights are one for each channel, such as LayerScale."""
    for weight in call.layer.weights:
        if tuple(weight.shape) != (len(call.ids),):
            raise CannotSlice
        call.along(weight, 0, call.ids, "carries")
    if "projection_dim" in call.layer.get_config():
        call.channels.sets(call.layer, "projection_dim", call.ids)
    return call.ids


def attention(call: Call) -> Ids:
    """Multi-head attention: loses whole heads, since a head's width sets the softmax's scale."""
    layer = call.layer
    names = ("attention_mask", "return_attention_scores", "use_causal_mask")
    given = [call.node.call_kwargs.get(name) for name in names]
    if any(value is not None and value is not False for value in given):
        raise CannotSlice
    if len(call.node.call_args) > 3 or layer._output_shape not in (None, ()):
        raise CannotSlice
    query, value = call.argument(0, "query"), call.argument(1, "value")
    key = call.argument(2, "key")
    key = value if key is None else key
    heads = call.channels.made_by(layer, layer._num_heads, "heads")
    call.channels.sets(layer, "num_heads", heads)
    for part, tensor in (("query", query), ("key", key), ("value", value)):
        projection, ids = getattr(layer, f"_{part}_dense"), call.ids_of(tensor)
        call.along(projection.kernel, 0, ids, "reads")
        call.along(projection.kernel, 1, heads, "heads")
        call.multiplies(projection.kernel, tensor)
        if projection.bias is not None:
            call.along(projection.bias, 0, heads, "carries")
        call.channels.sets(layer, f"{part}_shape", ids, tensor.shape)
    return _attended(call, heads, query)


def _attended(call: Call, heads: Ids, query: KerasTensor) -> Ids:
    """The last projection: from heads to channels."""
    projection = call.layer._output_dense
    out = call.channels.made_by(call.layer, projection.kernel.shape[-1])
    call.along(projection.kernel, 0, heads, "reads")
    call.along(projection.kernel, -1, out, "makes")
    call.multiplies(projection.kernel, query)
    if projection.bias is not None:
        call.along(projection.bias, 0, out, "carries")
    call.channels.sets(call.layer, "output_shape", out, (len(out),))
    return out


RULES: dict[type, Any] = {
    _layers.Dense: dense,
    _layers.Conv1D: dense,
    _layers.Conv2D: dense,
    _layers.Conv3D: dense,
    _layers.Conv1DTranspose: transposed,
    _layers.Conv2DTranspose: transposed,
    _layers.Conv3DTranspose: transposed,
    _layers.DepthwiseConv1D: depthwise,
    _layers.DepthwiseConv2D: depthwise,
    _layers.SeparableConv1D: separable,
    _layers.SeparableConv2D: separable,
    _layers.Embedding: embedding,
    _layers.BatchNormalization: normalized,
    _layers.LayerNormalization: normalized,
    _layers.GroupNormalization: group_normalized,
    _layers.PReLU: prelu,
    _layers.MultiHeadAttention: attention,
}
# Layers of tf_keras' applications, which they define for themselves.
RULES_BY_NAME = {"LayerScale": each_weight}
