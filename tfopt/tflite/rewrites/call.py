"""One op that a model is about to add to its graph."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def as_they_are() -> Iterator[None]:
    """Leaves the ops that are made meanwhile as they are."""
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


def are_rewritten() -> bool:
    """Returns whether ops are not to be left as they are."""
    return not _plain.get()


@dataclasses.dataclass(frozen=True)
class Call:
    """An op that a model is about to add to its graph.

    Args:
        kind: The name of the TensorFlow op: `"Elu"`.
        inputs: What it reads.
        attributes: Its settings, as the protocol buffers of a graph.
    """

    kind: str
    inputs: Sequence[tf.Tensor]
    attributes: Mapping[str, Any]

    def integers(self, name: str) -> list[int]:
        """Returns a setting that is a list of integers; empty if it is not there."""
        return list(self.attributes[name].list.i) if name in self.attributes else []

    def text(self, name: str) -> str:
        """Returns a setting that is a text; empty if it is not there."""
        return self.attributes[name].s.decode() if name in self.attributes else ""

    def real(self, name: str, otherwise: float) -> float:
        """Returns a setting that is a number."""
        return self.attributes[name].f if name in self.attributes else otherwise

    def flag(self, name: str) -> bool:
        """Returns a setting that is true or false; False if it is not there."""
        return name in self.attributes and self.attributes[name].b

    @property
    def is_float(self) -> bool:
        """Whether it reads real numbers."""
        return self.inputs[0].dtype == tf.float32


def constant(tensor: tf.Tensor) -> np.ndarray | None:
    """Returns the value of a tensor that does not depend on the input, None if it does."""
    value = tf.get_static_value(tensor)
    return None if value is None else np.asarray(value)


def single(tensor: tf.Tensor) -> float | None:
    """Returns the number that a constant holds everywhere, None if it holds several."""
    value = constant(tensor)
    if value is None or value.size == 0 or np.ptp(value) != 0:
        return None
    return float(value.flat[0])


def source(tensor: tf.Tensor) -> tf.Operation:
    """Returns the op that made a tensor, seen through ops that hand it on."""
    made = tensor.op
    while made.type == "Identity":
        made = made.inputs[0].op
    return made
