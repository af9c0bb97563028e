"""The ops of layers that stay in floating point in an integer file."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tfopt.errors import SettingError, nearest
from tfopt.tflite import naming, origins, schema
from tfopt.tflite.finishing import finish
from tfopt.tflite.inspect import inspect
from tfopt.tflite.inspection import Op

if TYPE_CHECKING:
    from tfopt.tflite.tracing import Traced


@dataclasses.dataclass(frozen=True)
class LayerNames:
    """What the layers of a traced model are called: a `Traced` without the model.

    Args:
        scopes: The name in the file, by the scope a layer is traced in.
        layers: The user's name, by the name in the file.
        inputs: The names of the inputs, in order.
        outputs: The names of the outputs, in order.
    """

    scopes: Mapping[str, str]
    layers: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, traced: Traced) -> LayerNames:
        """Takes the names of a traced model."""
        return cls(traced.names, traced.layers, traced.inputs, traced.outputs)


def check(model: Any, kept: Collection[str], *, field: str = "keep_float") -> None:
    """Refuses names of layers that a model does not have, before any work.

    Args:
        model: The Keras model.
        kept: Names of layers.
        field: The target's field that names them.

    Raises:
        SettingError: It has no layer of a name.
    """
    names = {naming.seen_through(layer).name for layer in model._flatten_layers()} - {model.name}
    for name in kept:
        if name not in names:
            raise SettingError(
                received=f"{field} with {name!r}",
                expected=nearest(name, names),
                fix="name layers as the Keras model does",
            )


def float_tensors(tflite: bytes, kept: Collection[str], names: LayerNames) -> list[str]:
    """Returns what the ops of layers write, as the converter names it: it keeps these in float.

    Args:
        tflite: The float file, as the converter names it.
        kept: The user's names of the layers.
        names: The layers.

    Raises:
        SettingError: A layer has no op in the file.
    """
    if not kept:
        return []
    finished = finish(tflite, scopes=names.scopes, inputs=names.inputs, outputs=names.outputs)
    ops = inspect(finished).ops
    missing = [name for name in kept if not any(belongs(op, [name], names.layers) for op in ops)]
    if missing:
        raise no_op("keep_float", missing[0])
    graphs = schema.unpack(tflite).subgraphs
    return [
        schema.text(graphs[op.subgraph].tensors[tensor.index].name)
        for op in ops
        if belongs(op, kept, names.layers)
        for tensor in op.outputs
    ]


def no_op(field: str, name: str) -> SettingError:
    """Returns the error that a layer which a target's field names has no op in the file."""
    return SettingError(
        received=f"{field} with {name!r}, which has no op in the file",
        expected="layers that compute",
        fix="remove the name; a batch norm or activation is part of the layer in front of it",
    )


def belongs(op: Op, kept: Collection[str], layers: Mapping[str, str]) -> bool:
    """Returns whether an op comes from one of some layers, or has one of them fused into it.

    Args:
        op: An op of a finished file.
        kept: The user's names of the layers.
        layers: The user's name of each layer, by its name in the file.
    """
    named = [name for name, given in layers.items() if given in kept]
    written = dataclasses.replace(op, origins=tuple(tensor.name for tensor in op.outputs))
    main = origins.layer_of(op, layers)
    return main in named or origins.layer_of(written, named) is not None
