"""Which layers make and read the same channels, so that rescaling these changes nothing."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Container

import numpy as np

from tfopt.graph.calls import KerasTensor, Layer, Node, nodes, outputs
from tfopt.graph.homogeneous import clip_of, hands_on, with_limits
from tfopt.graph.kernels import (
    OUTPUT_AXES,
    Side,
    activation_name,
    channels_last,
    constraint_of,
    inner_sides,
    made_by,
    read_by,
)
from tfopt.keras_gate import tf_keras

_HOMOGENEOUS = {"linear", "relu", "leaky_relu"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Layers that make channels and the layers that read them.

    Usually one of each. An addition ties all that it adds together: they are made by several
    layers, on one scale. Whatever is between them gives x / s for an input of x / s.

    Args:
        channels: How many channels.
        makers: The kernels whose output they are. Dividing channel i of each by s_i, and ...
        readers: ... multiplying channel i of each of these by s_i changes no output of the model.
        clips: What cuts the channels off between the two (ReLU6), whose limits go with the scale:
            limits by the name of the layer, one for each channel.
    """

    channels: int
    makers: tuple[Side, ...]
    readers: tuple[Side, ...]
    clips: dict[str, np.ndarray]

    @property
    def layers(self) -> list[str]:
        """The names of the layers whose kernels are rescaled."""
        return list(dict.fromkeys(side.layer.name for side in (*self.makers, *self.readers)))


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The pairs of a model.

    Args:
        found: In the order of the model.
        reasons: Why the other layers with a kernel belong to none, by name.
    """

    found: tuple[Pair, ...]
    reasons: dict[str, str]


def find_pairs(
    model: tf_keras.Model, *, folded: Container[str] = (), excluded: Container[str] = ()
) -> Pairs:
    """Finds the sets of layers between which channels can be rescaled.

    A pair is found only if everything that makes or reads its channels can be rescaled: an input or
    output of the model, a layer called several times, a frozen or custom one, an activation such
    as sigmoid, or a concatenation rule it out.

    Args:
        model: A functional model.
        folded: Names of batch norms that will be folded into the layer before.
        excluded: Names of layers whose weights are to stay.

    Example:
        >>> layers = [tf_keras.layers.Dense(4, "relu", name="a"), tf_keras.layers.Dense(2, name="b")]
        >>> pairs = find_pairs(tf_keras.Sequential([tf_keras.Input((3,)), *layers]))
        >>> [pair.layers for pair in pairs.found]
        [['a', 'b']]

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
        section 4.1.
    """  # noqa: E501 - the doctest's line
    graph = _Channels(model, folded, excluded)
    found = [pair for pair in map(graph.pair, graph.roots()) if pair is not None]
    paired = {name for pair in found for name in pair.layers}
    return Pairs(
        tuple(found),
        {
            layer.name: graph.reason(layer)
            for layer in model.layers
            if type(layer) in OUTPUT_AXES and layer.name not in paired
        },
    )


class _Channels:
    """The tensors of a model, those tied together whose channels share their scales."""

    def __init__(
        self, model: tf_keras.Model, folded: Container[str], excluded: Container[str]
    ) -> None:
        self._parents: dict[int, int] = {}
        self._sizes: dict[int, list[int]] = defaultdict(list)
        self._makers: dict[int, list[Side]] = defaultdict(list)
        self._readers: dict[int, list[Side]] = defaultdict(list)
        self._clips: dict[int, dict[str, float | np.ndarray]] = defaultdict(dict)
        self._blocks: dict[int, str] = {}
        self._ends: dict[str, list[KerasTensor]] = defaultdict(list)
        self._folded, self._excluded = folded, excluded
        self._calls: dict[int, int] = defaultdict(int)
        for node in nodes(model):
            self._calls[id(node.layer)] += 1
        for node in nodes(model):
            self._add(node)
        for tensor in model.outputs:
            self._block([tensor], "an output of the model")

    def roots(self) -> list[int]:
        """One tensor of each set, in the order of the model."""
        return list(dict.fromkeys(map(self._root, self._parents)))

    def pair(self, root: int) -> Pair | None:
        """What makes and reads a set of tensors, None if they cannot be rescaled."""
        members = [key for key in self._parents if self._root(key) == root]
        makers = tuple(side for key in members for side in self._makers[key])
        readers = tuple(side for key in members for side in self._readers[key])
        clips = {name: clip for key in members for name, clip in self._clips[key].items()}
        sizes = {size for key in members for size in self._sizes[key]}
        channels = min(sizes)
        blocked = any(key in self._blocks for key in members)
        if blocked or not makers or not readers or any(size % channels for size in sizes):
            return None
        limits = {name: np.broadcast_to(clip, channels) for name, clip in clips.items()}
        return Pair(channels, makers, readers, limits)

    def reason(self, layer: Layer) -> str:
        """Why a layer with a kernel is in no pair."""
        own = self._own_reason(layer)
        if own is not None:
            return own
        roots = {self._root(id(tensor)): None for tensor in self._ends[layer.name]}
        blocks = [
            text for root in roots for key, text in self._blocks.items() if self._root(key) == root
        ]
        found = ", ".join(dict.fromkeys(blocks)) or "nothing that reads them"
        return f"its channels cannot be rescaled through what is next to it: {found}"

    def _add(self, node: Node) -> None:
        """Ties and blocks the tensors of a call."""
        made = outputs(node)
        tensors = [*node.keras_inputs, *made]
        for tensor in tensors:
            self._parents.setdefault(id(tensor), id(tensor))
            if not self._sizes[id(tensor)]:
                self._sizes[id(tensor)].append(tensor.shape[-1] or 1 if tensor.shape.rank else 1)
        layer, clip = node.layer, clip_of(node)
        if node.is_input:
            self._block(made, "an input of the model")
        elif type(layer) in OUTPUT_AXES:
            self._add_kernel(node)
        elif clip is not None:
            self._tie(tensors)
            self._clips[id(made[0])][layer.name] = clip
            if self._calls[id(layer)] > 1:
                self._block(made, f"{layer.name}, which is called several times")
        elif layer.name in self._folded or hands_on(node):
            self._tie(tensors)
        else:
            self._block(tensors, f"{layer.name} ({type(layer).__name__})")

    def _add_kernel(self, node: Node) -> None:
        """A layer with a kernel ends one set and begins the next."""
        layer, source, made = node.layer, node.keras_inputs[0], outputs(node)[0]
        self._ends[layer.name] += [source, made]
        reason = self._own_reason(layer)
        if reason is not None:
            self._block([source, made], f"{layer.name}, which is left alone ({reason})")
            return
        self._readers[id(source)].append(read_by(layer))
        self._makers[id(made)].append(made_by(layer))
        if activation_name(layer) not in _HOMOGENEOUS:
            self._block([made], f"the {activation_name(layer)} of {layer.name}")
        between = inner_sides(layer)
        if between is not None:
            inside = id(between[0])
            self._parents[inside] = inside
            self._sizes[inside].append(between[0].channels)
            self._makers[inside].append(between[0])
            self._readers[inside].append(between[1])

    def _own_reason(self, layer: Layer) -> str | None:
        """Why the weights of a layer with a kernel are to stay, None if they are not."""
        if layer.name in self._excluded:
            return "excluded by the settings"
        if not layer.trainable:
            return "frozen (trainable=False)"
        if self._calls[id(layer)] > 1:
            return "called several times: its channels differ from call to call"
        if constraint := constraint_of(layer.weights):
            return f"its weights are constrained ({constraint}), which other scales would break"
        if not channels_last(layer):
            return "its channels come first"
        return None

    def _root(self, key: int) -> int:
        while self._parents[key] != key:
            key = self._parents[key]
        return key

    def _tie(self, tensors: list[KerasTensor]) -> None:
        first, *others = (self._root(id(tensor)) for tensor in tensors)
        for other in others:
            self._parents[self._root(other)] = self._root(first)

    def _block(self, tensors: list[KerasTensor], reason: str) -> None:
        for tensor in tensors:
            self._blocks.setdefault(id(tensor), reason)


class Scaling:
    """The weights of a model's pairs, in double precision while they are rescaled.

    Args:
        pairs: Of one model.

    Example:
        >>> layers = [tf_keras.layers.Dense(1, name="a"), tf_keras.layers.Dense(1, name="b")]
        >>> model = tf_keras.Sequential([tf_keras.Input((1,)), *layers])
        >>> pair, = find_pairs(model).found
        >>> scaling = Scaling((pair,))
        >>> before = scaling.magnitudes(pair)
        >>> scaling.divide(pair, np.array([4.0]))
        >>> [(new / old).tolist() for new, old in zip(scaling.magnitudes(pair), before)]
        [[0.25], [4.0]]
    """

    def __init__(self, pairs: tuple[Pair, ...]) -> None:
        self._values: dict[tuple[str, str], np.ndarray] = {}
        self.limits = {name: limit for pair in pairs for name, limit in pair.clips.items()}
        for pair in pairs:
            for side in (*pair.makers, *pair.readers):
                for weight in (side.weight, "bias") if side.biased else (side.weight,):
                    variable = getattr(side.layer, weight)
                    self._values[side.layer.name, weight] = variable.numpy().astype(np.float64)

    def magnitudes(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """The largest weight of each channel, over what makes it and over what reads it."""
        made, read = (
            np.max([self._magnitudes(side, pair.channels) for side in sides], axis=0)
            for sides in (pair.makers, pair.readers)
        )
        return made, read

    def shares(self, pair: Pair) -> np.ndarray | None:
        """The largest share that each channel has in the range of an output channel of a reader.

        Output channels have scales of their own in a file, so that only this matters to what is
        left of a weight. None if nothing but depthwise kernels reads the channels: each has its
        own scale there already.
        """
        shares = []
        for side in pair.readers:
            if side.weight != "depthwise_kernel":
                kernel = np.abs(self._values[side.layer.name, side.weight])
                makes = made_by(side.layer)
                largest = makes.spread(makes.magnitudes(kernel))
                kernel = np.divide(kernel, largest, out=np.zeros_like(kernel), where=largest > 0)
                shares.append(side.magnitudes(kernel).reshape(-1, pair.channels).max(axis=0))
        return np.max(shares, axis=0) if shares else None

    def divide(self, pair: Pair, scales: np.ndarray) -> None:
        """Divides the channels of a pair by positive scales; what reads them makes up for it.

        Args:
            pair: One of those given.
            scales: (channels,).
        """
        for side in pair.makers:
            tiled = np.tile(scales, side.channels // pair.channels)
            self._values[side.layer.name, side.weight] /= side.spread(tiled)
            if side.biased:
                self._values[side.layer.name, "bias"] /= tiled
        for side in pair.readers:
            tiled = np.tile(scales, side.channels // pair.channels)
            self._values[side.layer.name, side.weight] *= side.spread(tiled)
        for name in pair.clips:
            self.limits[name] = self.limits[name] / scales

    def rescaled(self, model: tf_keras.Model) -> tf_keras.Model:
        """Returns a copy of the model, which is left as it was, with the weights as they are now.

        Args:
            model: The model the pairs are of.
        """
        copy = with_limits(model, self.limits)
        for (layer, weight), value in self._values.items():
            getattr(copy.get_layer(layer), weight).assign(value)
        return copy

    def _magnitudes(self, side: Side, channels: int) -> np.ndarray:
        kernel = self._values[side.layer.name, side.weight]
        return side.magnitudes(kernel).reshape(-1, channels).max(axis=0)
