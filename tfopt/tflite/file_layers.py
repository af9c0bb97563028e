"""Which tensor of a file holds the output of which Keras layer."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from tfopt.tflite import naming
from tfopt.tflite.inspection import Inspection, Op, Tensor

# What the converter computes in the op before it, and whose name the file may have lost.
_FUSED = {"BatchNormalization", "ReLU", "Activation", "Dropout", "SpatialDropout2D", "LeakyReLU"}
_NO_OUTPUT = {"QUANTIZE", "DEQUANTIZE"}


@dataclasses.dataclass(frozen=True)
class Match:
    """A tensor of a file that holds what a layer gives.

    Args:
        tensor: The tensor.
        op: The op that makes it.
        kind: The layer's class name.
        fused: The layers that the op computes, that layer last.
        inputs: The numbers of the tensors it is computed from: with a match, or the file's inputs.
    """

    tensor: Tensor
    op: str
    kind: str
    fused: tuple[str, ...]
    inputs: tuple[int, ...]


def tensors_by_layer(inspection: Inspection, model: Any) -> dict[str, Match]:
    """Returns the matches of a file's tensors and a model's layers, in the order of execution.

    A tensor is named after the layers that its op computes, the last first; a batch norm or an
    activation behind them that no tensor is named after is computed by the same op.

    Args:
        inspection: Of a file that tfopt converted.
        model: The tf_keras model it was made from, or one with the same layers.

    Returns:
        Matches by the name of the last layer that an op computes.
    """
    outer = model.layers
    layers = {
        name: layer
        for name, layer in naming.layers_by_file_name(model).items()
        if layer in outer and _gives_one_tensor(layer)
    }
    ops = [op for op in inspection.ops if op.subgraph == 0]
    # what is only converted for the caller goes by the name of the conversion
    told = {op.inputs[0].index: _mentioned(op, layers) for op in ops if op.name in _NO_OUTPUT}
    ends = _ends(inspection, model, layers)
    named = [(op, _told(op, ends) or _mentioned(op, layers) or _told(op, told)) for op in ops]
    claimed = {names[0] for _, names in named if names}
    found: dict[str, Match] = {}
    made: list[Match] = []
    sources: dict[int, tuple[int, ...]] = {t.index: (t.index,) for t in inspection.inputs}
    for op, names in named:
        reads = (sources.get(tensor.index, ()) for tensor in op.inputs)
        inputs = tuple(dict.fromkeys(itertools.chain.from_iterable(reads)))
        sources |= dict.fromkeys((tensor.index for tensor in op.outputs), inputs)
        if not names or op.name in _NO_OUTPUT:
            continue
        fused = _between(layers[names[-1]], layers[names[0]], layers)
        fused += _behind(layers[names[0]], claimed, layers)
        last, tensor = fused[-1], op.outputs[0]
        kept = tuple(layer.name for layer in fused)
        for name in kept:  # of a layer's ops, the last gives its output
            found.pop(name, None)
        if _lengths(tensor.shape) == _lengths(last.get_output_at(0).shape):
            found[last.name] = Match(tensor, op.name, type(last).__name__, kept, inputs)
            made.append(found[last.name])
            sources[tensor.index] = (tensor.index,)
    return _from_matches(found, made)


def _from_matches(found: dict[str, Match], made: list[Match]) -> dict[str, Match]:
    """The matches, computed from each other: from no tensor whose match another one replaced.

    Args:
        found: Those that stand, by their layers.
        made: All of them, in the order of execution.
    """
    standing = {match.tensor.index for match in found.values()}
    sources: dict[int, tuple[int, ...]] = {}
    for match in made:
        reads = (sources.get(index, (index,)) for index in match.inputs)
        inputs = tuple(dict.fromkeys(itertools.chain.from_iterable(reads)))
        index = match.tensor.index
        if index in standing:
            found[match.fused[-1]] = dataclasses.replace(match, inputs=inputs)
        sources[index] = (index,) if index in standing else inputs
    return found


def _gives_one_tensor(layer: Any) -> bool:
    """Whether a layer computes a single tensor."""
    computes = type(layer).__name__ != "InputLayer"
    return computes and hasattr(layer.get_output_at(0), "shape")


def _ends(inspection: Inspection, model: Any, layers: dict[str, Any]) -> dict[int, list[str]]:
    """The layers that make the outputs, by the numbers of the tensors that hold them.

    An output goes by the name that the user knows, of the layer before its softmax, say.
    """
    makers = [tensor._keras_history.layer.name for tensor in model.outputs]
    if len(makers) != len(inspection.outputs):
        return {}
    named = dict(zip(model.output_names, makers, strict=True))
    held = {
        tensor.index: named.get(tensor.name, maker)
        for tensor, maker in zip(inspection.outputs, makers, strict=True)
    }
    held |= {
        op.inputs[0].index: held[op.outputs[0].index]
        for op in inspection.ops
        if op.name in _NO_OUTPUT and op.outputs[0].index in held
    }
    computing = {name for name in layers if type(layers[name]).__name__ != "QuantizeLayer"}
    return {index: [name] for index, name in held.items() if name in computing}


def _mentioned(op: Op, layers: dict[str, Any]) -> list[str]:
    """The layers an op's output is named after, the last first."""
    if not op.outputs:
        return []
    paths = [path.split("/") for path in op.outputs[0].name.split(";")]
    found = (next((part for part in path if part in layers), None) for path in paths)
    return list(dict.fromkeys(name for name in found if name is not None))


def _told(op: Op, told: dict[int, list[str]]) -> list[str]:
    """The layers that a conversion of the op's output is named after."""
    return told.get(op.outputs[0].index, []) if op.outputs else []


def _between(first: Any, last: Any, layers: dict[str, Any]) -> list[Any]:
    """The layers from one to another that comes behind it, both included."""
    chain = [first]
    while chain[-1] is not last:
        user = _only_user(chain[-1], layers)
        if user is None:
            return [first, last] if first is not last else [first]
        chain.append(user)
    return chain


def _behind(layer: Any, claimed: set[str], layers: dict[str, Any]) -> list[Any]:
    """The layers behind one that its op computes too, without a name of their own in the file."""
    unclaimed = {name: other for name, other in layers.items() if name not in claimed}
    chain: list[Any] = []
    while (user := _only_user(chain[-1] if chain else layer, layers)) is not None:
        if type(user).__name__ not in _FUSED or user not in unclaimed.values():
            break
        chain.append(user)
    return chain


def _only_user(layer: Any, layers: dict[str, Any]) -> Any | None:
    """The one layer that a layer's output goes to, None if there are several or none."""
    known = {id(other) for other in layers.values()}
    users = [node.layer for node in layer._outbound_nodes if id(node.layer) in known]
    return users[0] if len(users) == 1 else None


def _lengths(shape: Any) -> list[int | None]:
    """The lengths of one sample's axes, without those of 1 that an op may add; None: open."""
    lengths = [None if length is None or length < 0 else int(length) for length in list(shape)[1:]]
    return [length for length in lengths if length != 1]
