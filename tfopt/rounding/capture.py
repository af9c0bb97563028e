"""What reaches the layers of a model, and of the same model with its first layers rounded."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import tensorflow as tf

from tfopt.data import Arrays, length
from tfopt.errors import TechniqueError
from tfopt.graph.calls import KerasTensor
from tfopt.keras_gate import tf_keras
from tfopt.quantization.ranges import model_batches
from tfopt.rounding.linear import Linear

# A layer's inputs are taken at so many places of its output, and are so many numbers at most.
_MOST_ROWS = 2**14
_MOST_NUMBERS = 2**26
_LEARNED_FROM, _FEWEST_TO_SPLIT = 7 / 8, 16


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a layer gets, and what it is to give, at some places of its output.

    Args:
        inputs: What the rounded layers before it give, (groups, rows, inputs).
        targets: What the float model's layer makes of its own inputs, before an activation:
            (groups, rows, outputs).
    """

    inputs: tf.Tensor
    targets: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Inputs, and the two models they are sent through.

    Args:
        original: The float model.
        rounded: A copy of it, some of its kernels rounded.
        inputs: Representative inputs.
        seed: Of the places that are looked at.
    """

    original: tf_keras.Model
    rounded: tf_keras.Model
    inputs: Arrays
    seed: int

    @property
    def learned_from(self) -> float:
        """The share of the samples that roundings are learned from; the others judge them."""
        return _LEARNED_FROM if length(self.inputs) >= _FEWEST_TO_SPLIT else 1.0

    def rows(self, name: str) -> tuple[Rows, Rows]:
        """Looks at a layer, at as many places of each sample, chosen at random.

        Returns:
            What to learn from, in random order, and what to judge by: of other samples, if there
            are enough.

        Raises:
            TechniqueError: The layer reads or gives numbers that are not finite.
        """
        layer = Linear(self.original.get_layer(name))
        matrix, bias = layer.matrix(layer.kernel.numpy()), layer.bias
        groups, width, _ = matrix.shape
        count = min(_MOST_ROWS, _MOST_NUMBERS // (groups * width))
        places = max(1, round(count / length(self.inputs)))
        probes = [
            tf_keras.Model(model.inputs, model.get_layer(name).input)
            for model in (self.original, self.rounded)
        ]

        @tf.function(autograph=False, reduce_retracing=True)
        def look(batch: Any, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            before, now = (probe(batch, training=False) for probe in probes)
            draw = tf.random.stateless_uniform([layer.places(now)], seed)
            chosen = tf.argsort(draw)[:places]
            targets = tf.matmul(layer.rows(before, chosen), matrix) + bias
            return layer.rows(now, chosen), targets

        batches = enumerate(model_batches(self.original, self.inputs))
        seen = [look(batch, tf.constant([self.seed, number])) for number, batch in batches]
        inputs, targets = (tf.concat(part, axis=1) for part in zip(*seen, strict=True))
        if not all(bool(tf.reduce_all(tf.math.is_finite(part))) for part in (inputs, targets)):
            raise TechniqueError(
                received=f"layer {name!r}, which reads or gives numbers that are not finite on "
                "representative inputs",
                expected="a model that computes finite numbers",
                fix="look for infinite weights, and batch norms without variance, before it",
            )
        last = round(inputs.shape[1] * self.learned_from)
        order = tf.random.experimental.stateless_shuffle(tf.range(last), [self.seed, 0])
        learned = Rows(tf.gather(inputs, order, axis=1), tf.gather(targets, order, axis=1))
        if last == inputs.shape[1]:
            return learned, learned
        return learned, Rows(inputs[:, last:], targets[:, last:])

    def values(
        self, rounded: list[KerasTensor], original: list[KerasTensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns tensors of the two models for all inputs."""
        return self._whole(self.rounded, rounded), self._whole(self.original, original)

    def _whole(self, model: tf_keras.Model, tensors: list[KerasTensor]) -> list[tf.Tensor]:
        """Tensors of one model."""
        probe = tf_keras.Model(model.inputs, tensors)
        run = tf.function(functools.partial(probe, training=False), reduce_retracing=True)
        seen = [tf.nest.flatten(run(batch)) for batch in model_batches(model, self.inputs)]
        return [tf.concat(part, axis=0) for part in zip(*seen, strict=True)]
