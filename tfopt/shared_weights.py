"""Weights that share the values of a few centroids while a model is trained."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfopt.errors import TechniqueError
from tfopt.keras_gate import tf_keras
from tfopt.kernel_technique import Kernel
from tfopt.training.strategies import on_all_replicas

Initialization = Literal["linear", "random", "density", "kmeans++"]
"""Where centroids start among the weights of a kernel."""

# A sample of a large kernel places the first centroids as well as all of it.
_SAMPLE = 100_000


class SharedWeights:
    """A kernel, its centroids and which weight takes which, channel by channel.

    `rows` below is a kernel as (channels, weights in each); one row for a kernel clustered whole.

    Args:
        kernel: Its weights take the values of their centroids at once.
        channels: How many parts of it, along the last axis, have centroids of their own: 1 or all.
        clusters: Different values in each part at most; one is zero if the kernel holds a zero.
        initialization: Where the centroids start.
        random: Draws what is random in that.
    """

    def __init__(
        self,
        kernel: Kernel,
        channels: int,
        *,
        clusters: int,
        initialization: Initialization,
        random: np.random.Generator,
    ) -> None:
        value = kernel.variable.numpy()
        self.kernel, self.channels = kernel, channels
        self._zeros = value == 0
        self._sparse = bool(self._zeros.any())
        rows = _rows(value, channels)
        nonzero = [row[row != 0] for row in rows]
        # Weights that share fewer values already keep sharing as few.
        count = min(clusters - self._sparse, max(len(np.unique(row)) for row in nonzero))
        self._clusters = count + self._sparse
        centroids = [_centroids(row, count, initialization, random) for row in nonzero]
        # Names of their own, for an optimizer that is saved with its model.
        name = f"{kernel.layer.name}/{kernel.key}"
        self.centroids = tf.Variable(
            np.stack(centroids).astype(value.dtype), name=f"{name}/centroids"
        )
        self.latent = tf.Variable(value, name=f"{name}/latent")
        self._kept = tf.constant((~self._zeros).astype(value.dtype))
        # Which centroid a weight takes, counted from the lowest; and which one is the lowest now.
        self._taken = tf.Variable(np.zeros(rows.shape, np.int32), trainable=False)
        self._places = tf.Variable(np.zeros((channels, count), np.int32), trainable=False)
        self.share()

    def share(self) -> None:
        """Gives each weight the centroid nearest to its latent value."""
        centroids = tf.convert_to_tensor(self.centroids)
        if self._sparse:
            centroids = tf.pad(centroids, [[0, 0], [0, 1]])
        ordered = tf.sort(centroids, axis=1)
        between = (ordered[:, 1:] + ordered[:, :-1]) / 2
        taken = tf.searchsorted(between, self._to_rows(self.latent))
        shared = self._from_rows(tf.gather(ordered, taken, batch_dims=1))
        places = tf.argsort(tf.argsort(centroids, axis=1), axis=1)
        self._taken.assign(taken)
        self._places.assign(places[:, : self.centroids.shape[1]])
        self.kernel.variable.assign(shared * self._kept if self._sparse else shared)

    def redirect(self, gradient: tf.Tensor) -> list[tuple[tf.Tensor, tf.Variable]]:
        """Turns a kernel's gradient into those of its centroids and its latent weights."""
        gradient = tf.convert_to_tensor(gradient)
        felt = gradient * self._kept if self._sparse else gradient
        # Sums row by row are always added up in one order; over all rows at once they are not.
        sums = tf.math.bincount(
            self._taken,
            weights=self._to_rows(felt),
            minlength=self._clusters,
            maxlength=self._clusters,
            axis=-1,
        )
        return [
            (tf.gather(sums, self._places, batch_dims=1), self.centroids),
            (gradient, self.latent),
        ]

    def check(self) -> None:
        """Refuses weights that no longer share values, or zeros that are none any more."""
        value = self.kernel.variable.numpy()
        unique = max(len(np.unique(row)) for row in _rows(value, self.channels))
        revived = int(np.count_nonzero(value[self._zeros]))
        if unique > self._clusters or revived:
            raise TechniqueError(
                received=f"{self.kernel.name} with {unique:,} different weights and {revived:,} "
                "former zeros that are none any more, after training",
                expected=f"at most {self._clusters} different weights, and every zero kept",
                fix="train the wrapped model itself with fit or train_on_batch: a loop of your own "
                "over model(x, training=True) updates every weight by itself",
            )

    def _to_rows(self, value: tf.Tensor) -> tf.Tensor:
        if self.channels == 1:
            return tf.reshape(value, [1, -1])
        return tf.transpose(tf.reshape(value, [-1, self.channels]))

    def _from_rows(self, rows: tf.Tensor) -> tf.Tensor:
        if self.channels > 1:
            rows = tf.transpose(rows)
        return tf.reshape(rows, self.kernel.variable.shape)


def train_shared(model: tf_keras.Model, shared: list[SharedWeights]) -> None:
    """Makes `fit` train centroids and latent weights in place of the kernels that share.

    The rule is TF-MOT's (its ClusterWeights), without a wrapper around each layer, and faster: the
    nearest centroid is looked up among sorted ones instead of compared with all of them.
    """
    by_kernel = {id(weights.kernel.variable): weights for weights in shared}

    def share() -> None:
        for weights in shared:
            weights.share()

    def train_step(data: Any) -> dict[str, Any]:
        x, y, sample_weight = tf_keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x, y, outputs, sample_weight)
        model._validate_target_and_loss(y, loss)
        pairs = []
        for gradient, variable in _gradients(model, loss, tape):
            weights = by_kernel.get(id(variable))
            if weights is None or gradient is None:
                pairs.append((gradient, variable))
            else:
                pairs += weights.redirect(gradient)
        model.optimizer.apply_gradients(pairs)
        on_all_replicas(share)
        return model.compute_metrics(x, y, outputs, sample_weight)

    kept = [variable for variable in model.trainable_variables if id(variable) not in by_kernel]
    for weights in shared:
        kept += [weights.centroids, weights.latent]
    train_step.variables = kept  # type: ignore[attr-defined]
    model.train_step = train_step


def _gradients(
    model: tf_keras.Model, loss: tf.Tensor, tape: tf.GradientTape
) -> list[tuple[tf.Tensor, tf.Variable]]:
    """What the optimizer would have applied, of Keras' optimizers or its legacy ones."""
    optimizer = model.optimizer
    compute = getattr(optimizer, "compute_gradients", None) or optimizer._compute_gradients
    return compute(loss, model.trainable_variables, tape=tape)


def _rows(value: np.ndarray, channels: int) -> np.ndarray:
    """A kernel as (channels, weights in each)."""
    return value.reshape(1, -1) if channels == 1 else value.reshape(-1, channels).T


def _centroids(
    weights: np.ndarray, count: int, initialization: Initialization, random: np.random.Generator
) -> np.ndarray:
    """Places `count` centroids among weights; where those have so few values, at these."""
    values = np.unique(weights)
    if len(values) <= count:
        return np.pad(values, (0, count - len(values)), mode="edge" if len(values) else "constant")
    if initialization == "linear":
        return np.linspace(weights.min(), weights.max(), count)
    if initialization == "random":
        return random.uniform(weights.min(), weights.max(), count)
    if initialization == "density":
        return np.quantile(weights, (np.arange(count) + 0.5) / count)
    return _kmeans_plus_plus(weights, count, random)


def _kmeans_plus_plus(weights: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Draws each centroid with a chance that grows with the squared distance to those before.

    Of a few candidates for each, the one that leaves the least distance is taken (the greedy
    variant in the paper's conclusion).
    """
    if len(weights) > _SAMPLE:
        weights = random.choice(weights, _SAMPLE, replace=False)
    weights = weights.astype(np.float64)
    chosen = [random.choice(weights)]
    distance = (weights - chosen[0]) ** 2
    candidates = 2 + int(math.log(count))
    while len(chosen) < count and distance.sum() > 0:
        drawn = random.choice(weights, candidates, p=distance / distance.sum())
        left = np.minimum(distance, (weights - drawn[:, None]) ** 2)
        best = left.sum(axis=1).argmin()
        chosen.append(drawn[best])
        distance = left[best]
    return np.pad(np.array(chosen), (0, count - len(chosen)), mode="edge")
