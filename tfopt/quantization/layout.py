"""Where the file rounds: which kernels and which tensors of a model are to be fake-quantized."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tfopt.graph.calls import KerasTensor, Layer, Node, nodes, outputs
from tfopt.keras_gate import tf_keras
from tfopt.quantization.grid import CHANNEL_AXES, inner_grids

_layers = tf_keras.layers

_LEFT = "its ranges are left to the converter's calibration"
# Activations that the converter computes in the operation before them.
_FUSED_ACTIVATIONS = {"linear", "relu", "relu6"}
# Activations whose range in the file is fixed, whatever the data.
_FIXED_RANGE = {"softmax", "sigmoid", "tanh", "log_softmax"}
# Layers that hand numbers on: their output has the scale of their input in the file (averages too:
# with another scale the file would round twice).
_HANDS_ON: tuple[type, ...] = (
    _layers.AveragePooling1D,
    _layers.AveragePooling2D,
    _layers.AveragePooling3D,
    _layers.Cropping1D,
    _layers.Cropping2D,
    _layers.Cropping3D,
    _layers.Flatten,
    _layers.GlobalMaxPooling1D,
    _layers.GlobalMaxPooling2D,
    _layers.MaxPooling1D,
    _layers.MaxPooling2D,
    _layers.MaxPooling3D,
    _layers.Permute,
    _layers.RepeatVector,
    _layers.Reshape,
    _layers.UpSampling1D,
    _layers.UpSampling2D,
    _layers.ZeroPadding1D,
    _layers.ZeroPadding2D,
    _layers.ZeroPadding3D,
)
# TensorFlow's functions that do, by the names that tf_keras records them under.
_FUNCTIONS_THAT_HAND_ON = frozenset(
    {"__operators__.getitem", "expand_dims", "gather", "reshape", "reverse", "squeeze"}
    | {"tile", "transpose"}
)
# Layers that do nothing at inference: the file does not have them. (RandomCrop is none of them, as
# it resizes.)
_TRAINING_ONLY: tuple[type, ...] = (
    _layers.ActivityRegularization,
    _layers.AlphaDropout,
    _layers.Dropout,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.Identity,
    _layers.RandomBrightness,
    _layers.RandomContrast,
    _layers.RandomFlip,
    _layers.RandomHeight,
    _layers.RandomRotation,
    _layers.RandomTranslation,
    _layers.RandomWidth,
    _layers.RandomZoom,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.SpatialDropout3D,
)
_ARITHMETIC: tuple[type, ...] = (_layers.Add, _layers.Subtract, _layers.Multiply)
# Layers that are one operation of the file, with the batch norm and ReLU folded into it.
_ONE_OPERATION = {
    *CHANNEL_AXES,
    *_ARITHMETIC,
    _layers.Concatenate,
    _layers.GlobalAveragePooling2D,
} - {_layers.SeparableConv1D, _layers.SeparableConv2D}


@dataclasses.dataclass(frozen=True)
class Layout:
    """What of a model is fake-quantized.

    Args:
        kernels: Names of the layers whose kernels are.
        tensors: The tensors that are, by id.
        one_scale: Names of the layers in `kernels` whose kernel may have a single scale, stated in
            the graph: the converter understands that on them.
        open_inputs: Names of the input layers that lead to an operation with a range that is not
            trained. The converter calibrates it, and inserts float operations if the input's
            own range is stated in the graph.
        four_bit: Names of the layers whose weights have 4 bits in the file, not 8.
    """

    kernels: frozenset[str]
    tensors: frozenset[int]
    one_scale: frozenset[str]
    open_inputs: frozenset[str]
    four_bit: frozenset[str] = frozenset()

    def bits(self, layer: str) -> int:
        """Returns how many bits the weights of a layer have in the file."""
        return 4 if layer in self.four_bit else 8


def plan(
    model: tf_keras.Model, touched: frozenset[str], four_bit: frozenset[str] = frozenset()
) -> Layout:
    """Decides where a model is fake-quantized, so that training rounds where the file does.

    A tensor is rounded where the file holds it in 8 bits: not between a convolution and the batch
    norm and ReLU that the converter folds into it, nor between an addition and its ReLU; once,
    behind a concatenation, for all that is put together by it; and not behind a layer that only
    hands numbers on.

    Args:
        model: A functional model whose activations are separate (`separate_activations`).
        touched: Names of the layers that may be fake-quantized.
        four_bit: Those whose weights have 4 bits in the file.

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018, section 3 and appendix A.
    """
    graph = _Graph(model)
    rounded: dict[int, KerasTensor] = {}
    for node in nodes(model):
        for tensor in outputs(node):
            if (node.is_input or node.layer.name in touched) and graph.is_rounded(node, tensor):
                rounded[id(tensor)] = tensor
    for node in nodes(model):
        if isinstance(node.layer, _layers.Concatenate) and node.layer.name in touched:
            for tensor in graph.put_together(node):
                rounded.pop(id(tensor), None)
    kernels = [layer for layer in model.layers if has_kernel(layer) and layer.name in touched]
    return Layout(
        frozenset(layer.name for layer in kernels),
        frozenset(rounded),
        frozenset(layer.name for layer in kernels if graph.understands_scale(layer)),
        frozenset(
            node.layer.name
            for node in nodes(model)
            if node.is_input and not graph.all_trained(outputs(node)[0], frozenset(rounded))
        ),
        four_bit,
    )


def reason_to_skip(layer: Layer) -> str | None:
    """Says why a layer cannot be fake-quantized, None if it can.

    Args:
        layer: A layer of a functional model.

    Example:
        >>> dense = tf_keras.layers.Dense(2)
        >>> _ = dense(tf_keras.Input((3,)))
        >>> reason_to_skip(dense) is None
        True
    """
    results = [tensor for node in layer._inbound_nodes for tensor in outputs(node)]
    if isinstance(layer, tf_keras.Model):
        return "a model inside the model: load_model would dissolve it into its layers"
    if not type(layer).__module__.startswith("tf_keras."):
        return f"a custom layer: the file rounds it in ways tfopt does not know ({_LEFT})"
    if is_recurrent(layer):
        known = inner_grids(layer, lstm_ops=False)
        return None if known else f"recurrent, with a cell tfopt does not know ({_LEFT})"
    if len(results) != len(layer._inbound_nodes):
        return f"has several outputs, which may have to share one range ({_LEFT})"
    if not all(tensor.dtype.is_floating for tensor in results):
        return "its output is not floating-point"
    return None


def is_recurrent(layer: Layer) -> bool:
    """Returns whether a layer repeats a cell: the file rounds in each step, which is calibrated."""
    return isinstance(layer, (_layers.RNN, _layers.Bidirectional))


def has_kernel(layer: Layer) -> bool:
    """Returns whether a layer's kernels can be fake-quantized."""
    return type(layer) in CHANNEL_AXES


def computes_activation(layer: Layer) -> bool:
    """Returns whether a layer with a kernel computes an activation that the file does not fuse."""
    return has_kernel(layer) and _function(layer) not in _FUSED_ACTIVATIONS


class _Graph:
    """A model's tensors with the calls that use them."""

    def __init__(self, model: tf_keras.Model) -> None:
        self._users: dict[int, list[Node]] = defaultdict(list)
        self._makers: dict[int, Node] = {}
        self._calls: dict[str, list[Node]] = defaultdict(list)
        self._results = {id(tensor) for tensor in model.outputs}
        for node in nodes(model):
            self._calls[node.layer.name].append(node)
            for tensor in outputs(node):
                self._makers[id(tensor)] = node
            for tensor in node.keras_inputs:
                self._users[id(tensor)].append(node)

    def only_user(self, tensor: KerasTensor) -> Node | None:
        """The one call a tensor goes to, None if there are more or it is a result."""
        users = self._users[id(tensor)]
        return users[0] if len(users) == 1 and id(tensor) not in self._results else None

    def is_rounded(self, node: Node, tensor: KerasTensor) -> bool:
        """Whether the file holds a tensor in 8 bits with a range of its own."""
        if node.is_input and not tensor.dtype.is_floating:
            return False
        if _hands_on(node) or _has_fixed_range(node.layer) or is_recurrent(node.layer):
            return False
        user = self.only_user(tensor)
        return user is None or not self._is_folded(user, into=node)

    def put_together(self, concatenation: Node) -> Iterator[KerasTensor]:
        """The tensors that go nowhere but into a concatenation, and so take its range."""
        pending = list(concatenation.keras_inputs)
        while pending:
            tensor = pending.pop()
            maker = self._makers[id(tensor)]
            if self.only_user(tensor) is None or maker.is_input:
                continue
            yield tensor
            if _hands_on(maker):
                pending += maker.keras_inputs

    def all_trained(self, tensor: KerasTensor, rounded: frozenset[int]) -> bool:
        """Whether all that is computed of a tensor, in one operation each, has a trained range."""
        for node in self._users[id(tensor)]:
            result = outputs(node)[0]
            if _hands_on(node):
                if not self.all_trained(result, rounded):
                    return False
                continue
            if type(node.layer) not in _ONE_OPERATION:
                return False
            while id(result) not in rounded:
                user = self.only_user(result)
                if user is None or not self._is_folded(user, into=result.node):
                    return False
                result = outputs(user)[0]
        return True

    def understands_scale(self, layer: Layer) -> bool:
        """Whether the converter understands a scale stated for a layer's kernel."""
        if type(layer) is _layers.DepthwiseConv2D:
            return layer.depth_multiplier == 1
        if type(layer) is _layers.Dense:
            return all(
                node.keras_inputs[0].shape.rank == 2 and not self._norm_behind(node)
                for node in self._calls[layer.name]
            )
        return type(layer) is _layers.Conv2D

    def _norm_behind(self, node: Node) -> bool:
        """Whether a batch norm is folded into a call."""
        user = self.only_user(outputs(node)[0])
        return user is not None and _is_folded_norm(user, into=node)

    def _is_folded(self, node: Node, *, into: Node) -> bool:
        """Whether the converter computes a call in the operation before it."""
        if _is_folded_norm(node, into=into):
            return True
        takes_activation = isinstance(into.layer, (*_ARITHMETIC, _layers.BatchNormalization))
        takes_activation |= has_kernel(into.layer) and _function(into.layer) == "linear"
        return takes_activation and _is_plain_relu(node.layer)


def _hands_on(node: Node) -> bool:
    """Whether the file holds a call's output, if at all, with the scale of its input."""
    if isinstance(node.layer, _layers.Activation):
        return _function(node.layer) == "linear"
    # Random layers turn integers, which have no scale, into floating-point numbers.
    floats = {tensor.dtype.is_floating for tensor in (*node.keras_inputs[:1], *outputs(node))}
    is_one = isinstance(node.layer, (*_HANDS_ON, *_TRAINING_ONLY))
    symbol = getattr(node.layer, "symbol", None) or ""
    is_one |= symbol.removeprefix("compat.v1.") in _FUNCTIONS_THAT_HAND_ON
    return len(floats) == 1 and is_one


def _is_folded_norm(node: Node, *, into: Node) -> bool:
    """Whether a call is a batch norm that the converter folds into the kernel before it."""
    layer = into.layer
    if not isinstance(node.layer, _layers.BatchNormalization) or not has_kernel(layer):
        return False
    rank = outputs(into)[0].shape.rank
    foldable = type(layer) is not _layers.Conv1DTranspose and (
        rank == 2 if isinstance(layer, _layers.Dense) else set(layer.dilation_rate) == {1}
    )
    return foldable and _function(layer) == "linear" and list(node.layer.axis) == [rank - 1]


def _is_plain_relu(layer: Layer) -> bool:
    """Whether a layer is a ReLU or ReLU6, which the converter fuses."""
    if isinstance(layer, _layers.ReLU):
        return not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6)
    return isinstance(layer, _layers.Activation) and _function(layer) in ("relu", "relu6")


def _has_fixed_range(layer: Layer) -> bool:
    """Whether the file rounds a layer's output with a range that no data changes."""
    if isinstance(layer, _layers.Activation):
        return _function(layer) in _FIXED_RANGE
    return isinstance(layer, _layers.Softmax)


def _function(layer: Any) -> str:
    """The name of a layer's activation function."""
    return getattr(layer.activation, "__name__", type(layer.activation).__name__)
