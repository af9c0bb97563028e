"""Which Keras layer an op of a `.tflite` comes from, told by the names of the tensors around it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfopt.tflite.inspection import Op


def layer_of(op: Op, layer_names: Collection[str]) -> str | None:
    """Says which of a model's layers an op comes from.

    An op's tensors are named by paths through the model, `;` between those of fused layers:
    `net/relu/Relu;net/bn/FusedBatchNormV3;net/conv/Conv2D`, the one that does the main work last.
    The longest layer name found in a path wins; where the op's own tensors have lost their names,
    those of its neighbours tell.

    Args:
        op: An op of an `Inspection`.
        layer_names: The names of the model's layers, or paths through nested ones (`"block/conv"`).

    Returns:
        One of `layer_names`; None if no tensor tells.

    Example:
        >>> from tfopt.tflite.inspection import Op
        >>> op = Op(0, 0, "CONV_2D", (), (), 0, None, origins=("net/relu/Relu;net/conv/Conv2D",))
        >>> layer_of(op, ["conv", "relu", "dense"])
        'conv'
    """
    known = {tuple(name.split("/")): name for name in layer_names}
    longest = max(map(len, known), default=0)
    for path in _paths(op.origins):
        for length in range(min(longest, len(path)), 0, -1):
            for start in range(len(path) - length + 1):
                if path[start : start + length] in known:
                    return known[path[start : start + length]]
    return None


def origins(
    op: tuple[Sequence[int], Sequence[int]],
    names: Sequence[str],
    constants: Collection[int],
    neighbours: Sequence[int],
) -> tuple[str, ...]:
    """Returns the names that tell where an op comes from, those that tell most first.

    Its outputs, its weights, what its inputs are made by, then its neighbours.

    Args:
        op: The numbers of the tensors it reads and of those it writes.
        names: The names of all tensors.
        constants: The tensors whose values are in the file.
        neighbours: Tensors further away that may tell.
    """
    reads, writes = op
    weights = [tensor for tensor in reads if tensor in constants]
    ordered = [names[tensor] for tensor in (*writes, *weights, *neighbours)]
    return tuple(dict.fromkeys(name for name in ordered if name))


def guess(origins: Iterable[str], scope: str | None, layers: Collection[str]) -> str | None:
    """Returns the layer that the first telling name begins with; None if none tells.

    Args:
        origins: Names, those that tell most first.
        scope: The model's own name, with which paths begin; None if they don't.
        layers: Names without a path that are known to be a layer's.

    Example:
        >>> guess(["tfl.pseudo_qconst1", "net/relu/Relu;net/conv/Conv2D"], "net", ())
        'conv'
    """
    for name in origins:
        if name in layers:
            return name
        for path in _paths([name]):
            scoped = path[1:] if path[0] == scope else path
            if "/" in name and scoped:
                return scoped[0]
    return None


def model_scope(names: Iterable[str]) -> str | None:
    """Returns the model's own name if all paths begin with it, as the converter writes them.

    Example:
        >>> model_scope(["net/conv/Conv2D", "net/bn/add;net/bn/mul"])
        'net'
    """
    paths = [path for name in names if "/" in name for path in _paths([name])]
    first = {path[0] for path in paths}
    return first.pop() if len(first) == 1 and all(len(path) > 1 for path in paths) else None


def _paths(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yields the layers that names lead through, without the TensorFlow op at the end."""
    for name in names:
        for segment in reversed(name.split(";")):
            *path, last = segment.removesuffix(":0").split("/")
            yield tuple(path) or (last,)
