"""Zeros and shared values that earlier steps have gained, held while a model is trained further."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import tensorflow as tf

from tfopt import facts
from tfopt.errors import LostGainError
from tfopt.keras_gate import tf_keras


def hold(kernel: tf.Variable, fact: facts.KernelFacts) -> Callable[[], None] | None:
    """Returns what gives a kernel its gains back after an optimizer step.

    A kernel whose weights share few values gets those back that it has now, which an earlier step
    has trained already; a sparse one its zeros. One that is all zeros was not trained yet.

    Args:
        kernel: The kernel, as an earlier step has left it.
        fact: What is true of it.

    Returns:
        A function that changes it with TensorFlow operations; None if there is nothing to hold.
    """
    if fact.shares_values:
        value = tf.identity(kernel)
        return lambda: kernel.assign(value)
    if 0 < fact.sparsity < 1:
        mask = tf.cast(kernel != 0, kernel.dtype)
        return lambda: kernel.assign(kernel * mask)
    return None


@dataclasses.dataclass(frozen=True)
class _Held:
    """A kernel, its name and what gives its gains back."""

    kernel: tf.Variable
    name: str
    give_back: Callable[[], None]


class Gains:
    """The gains of the kernels that a technique leaves alone, found by measuring the kernels.

    Args:
        model: A model that is about to be trained.
        but: The kernels whose gains the technique sees to itself.
    """

    def __init__(self, model: tf_keras.Model, *, but: Iterable[tf.Variable]) -> None:
        known = {id(kernel) for kernel in but}
        self._held: list[_Held] = []
        for layer in facts.layers_of(model):
            for key, kernel in facts.trainable_kernels(layer).items():
                if id(kernel) in known:
                    continue
                known.add(id(kernel))
                name = facts.unwrapped(layer).name
                give_back = hold(kernel, facts.kernel_facts(name, key, kernel.numpy()))
                if give_back is not None:
                    self._held.append(_Held(kernel, f"{name} ({key})", give_back))

    def __bool__(self) -> bool:
        return bool(self._held)

    def keep(self) -> None:
        """In the graph, after an optimizer step: all that was gained is there again."""
        for held in self._held:
            held.give_back()

    def check(self) -> None:
        """Refuses a trained model in which a gain is lost.

        Raises:
            LostGainError: With the kernels that lost it.
        """
        lost = []
        for held in self._held:
            trained = held.kernel.numpy()
            held.give_back()
            if (held.kernel.numpy() != trained).any():
                lost.append(held.name)
        if lost:
            raise LostGainError(
                received=f"{', '.join(lost[:5])} without the zeros or the shared values of before "
                "the training",
                expected="what earlier steps had gained in the layers that this one leaves alone",
                fix="train the wrapped model itself with fit or train_on_batch, and set its "
                "weights in no other way: a loop of your own over model(x, training=True) updates "
                "every weight by itself",
            )
