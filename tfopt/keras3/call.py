"""One call of a `keras.ops` operation, as the rules see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfopt.keras2.graph import is_symbol


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of an op.

    Args:
        operation: The Keras 3 operation, its settings in attributes.
        args: Its positional arguments, tf_keras tensors in them.
        kwargs: Its keyword arguments.
        outputs: The Keras 3 symbolic outputs, flat.
        take_name: Gives the name of the one layer that stands for the op.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]
    take_name: Callable[[], str]

    @property
    def x(self) -> Any:
        """The first argument."""
        return self.args[0]

    @property
    def output(self) -> Any:
        """The first output."""
        return self.outputs[0]

    @property
    def name(self) -> str:
        """The new layer's name, taken from now on."""
        return self.take_name()

    @property
    def tensors(self) -> list[Any]:
        """The tf_keras tensors among the arguments."""
        return [leaf for leaf in keras.tree.flatten((self.args, self.kwargs)) if is_symbol(leaf)]

    @property
    def is_float(self) -> bool:
        """Whether all of them hold floating-point numbers."""
        return all(tensor.dtype.name == "float32" for tensor in self.tensors)


def constant(value: Any) -> float | None:
    """Returns a number that is the same for every sample, None for anything else."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return float(value)
    return None
