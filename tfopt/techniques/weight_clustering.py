"""Weight clustering: the weights of a kernel share a few values, which training moves."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import tensorflow as tf

from tfopt.errors import SettingError, TechniqueError, nearest
from tfopt.keras_gate import clone, load_model, tf_keras
from tfopt.technique import Selection, Skipped, Stage
from tfopt.wrapping import AnyModel, Kernel, KernelTechnique, Wrapped, refuse_fake_quantized

if TYPE_CHECKING:
    from tfopt.data import Arrays

Initialization = Literal["linear", "random", "density", "kmeans++"]

# A sample of a large kernel places the first centroids as well as all of it.
_SAMPLE = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightClustering(KernelTechnique):
    """Lets the weights of each kernel share at most `clusters` different values.

    Each weight takes the nearest of the kernel's centroids. While training, the gradients of the
    weights that share a centroid add up to move it, and each weight's own gradient decides which
    centroid it takes next. A file with few different weights compresses well; it is no faster.

    Zeros a kernel already has stay zero, and zero then counts as one of its clusters. Depthwise
    kernels hold few weights and much of the accuracy: they are left alone unless `only` names
    their layer.

    Args:
        clusters: Different values in a kernel, at least 2.
        initialization: Where the centroids start: evenly spaced between the smallest and the
            largest weight (`"linear"`), at `"random"` between them, with as many weights between
            any two neighbours (`"density"`), or drawn far apart (`"kmeans++"`).
        per_channel: Give each output channel of a Conv2D centroids of its own, as 8-bit
            quantization gives each a scale of its own. Other kernels are clustered whole.
        epochs: Passes over the training data; fractions are allowed.
        learning_rate: Peak of the learning rate.
        only: Names or class names of the layers to cluster; None for all that can be.
        skip: Names or class names of layers to leave alone.

    Raises:
        SettingError: A setting is out of its range.

    Example:
        >>> technique = WeightClustering(clusters=4)
        >>> layers = [tf_keras.Input((8,)), tf_keras.layers.Dense(4)]
        >>> wrapped = technique.wrap(tf_keras.Sequential(layers), steps_per_epoch=10)
        >>> wrapped.model.compile("adam", "mse")
        >>> data = (np.ones((320, 8)), np.ones((320, 4)))
        >>> history = wrapped.model.fit(*data, callbacks=wrapped.callbacks, verbose=0)
        >>> len(np.unique(wrapped.strip().layers[0].kernel))
        4

    References:
        Han et al., Deep Compression, 2016, section 3 (shared weights), 3.2 (the initializations)
        and 3.3 (gradients of a centroid, equation 3). Arthur and Vassilvitskii, k-means++: The
        Advantages of Careful Seeding, 2007, section 2.2. Bengio et al., Estimating or Propagating
        Gradients Through Stochastic Neurons, 2013 (the straight-through estimator).
    """

    stage: ClassVar[Stage] = Stage.SHARING
    headline: ClassVar[tuple[str, ...]] = ("clusters", "epochs")

    clusters: int = 16
    initialization: Initialization = "kmeans++"
    per_channel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.clusters, int) or isinstance(self.clusters, bool):
            self._refuse_clusters("a whole number of clusters")
        if self.clusters < 2:
            self._refuse_clusters("at least 2 clusters")
        if self.initialization not in get_args(Initialization):
            raise SettingError(
                received=f"initialization={self.initialization!r}",
                expected=nearest(str(self.initialization), get_args(Initialization)),
                fix="leave initialization out for the default",
            )

    def _refuse_clusters(self, expected: str) -> None:
        raise SettingError(
            received=f"clusters={self.clusters!r}",
            expected=expected,
            fix="8 to 32 are usual",
        )

    def check_order(self, model: tf_keras.Model) -> None:
        """Refuses a fake-quantized model, whose ranges would no longer fit."""
        refuse_fake_quantized(model, type(self).__name__)

    def reason_to_skip(self, kernel: Kernel) -> str | None:
        """Leaves alone depthwise kernels and those too small to share anything."""
        if "depthwise_kernel" in kernel.key and not self.named_in_only(kernel.layer):
            return (
                "depthwise: few weights that matter much (name the layer in `only` to cluster it)"
            )
        channels = self._channels(kernel)
        size = math.prod(kernel.variable.shape) // channels
        if size <= self.clusters:
            where = " a channel" if channels > 1 else ""
            return f"{size} weights{where}, no more than clusters={self.clusters}"
        zeros = np.count_nonzero(kernel.variable.numpy() == 0)
        if zeros == math.prod(kernel.variable.shape):
            return "all of its weights are zero"
        if zeros and self.clusters == 2:
            return "sparse: zero takes one of clusters=2, and one other value is not enough"
        return None

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be touched, and why the others would not (wholly)."""
        selection = super().select(model)
        if not self.per_channel:
            return selection
        kinds = {layer.name: type(layer).__name__ for layer in model.layers}
        whole = tuple(
            Skipped(f"{name} (per channel)", kinds[name], "clustered whole: it is no Conv2D")
            for name in selection.touched
            if kinds[name] != "Conv2D"
        )
        return Selection(selection.touched, (*selection.skipped, *whole))

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns a copy of a model whose weights are clustered, and stay so while it is fitted.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Not needed.
            representative: Not needed.

        Returns:
            The model, no callbacks, and `strip`, which raises TechniqueError if the model was
            trained in a way that parted weights which share a value.

        Raises:
            TechniqueError: No layer can be clustered, or the model is fake-quantized.
        """
        own = load_model(model)
        random = np.random.default_rng(0)
        shared = [
            _SharedWeights(kernel, self._channels(kernel), self, random)
            for kernel in self.chosen_kernels(own)
        ]
        _train_shared(own, shared)

        def strip() -> tf_keras.Model:
            for weights in shared:
                weights.check()
            return clone(own)

        return Wrapped(own, [], strip, self.select(own))

    def _channels(self, kernel: Kernel) -> int:
        """How many parts of a kernel have centroids of their own."""
        if self.per_channel and type(kernel.layer) is tf_keras.layers.Conv2D:
            return kernel.variable.shape[-1]
        return 1


class _SharedWeights:
    """A kernel, its centroids and which weight takes which, channel by channel.

    `rows` below is a kernel as (channels, weights in each); one row for a kernel clustered whole.
    """

    def __init__(
        self, kernel: Kernel, channels: int, settings: WeightClustering, random: np.random.Generator
    ) -> None:
        value = kernel.variable.numpy()
        self.kernel, self.channels = kernel, channels
        self._zeros = value == 0
        self._sparse = bool(self._zeros.any())
        rows = _rows(value, channels)
        nonzero = [row[row != 0] for row in rows]
        # Weights that share fewer values already keep sharing as few.
        count = min(settings.clusters - self._sparse, max(len(np.unique(row)) for row in nonzero))
        self._clusters = count + self._sparse
        centroids = [_centroids(row, count, settings.initialization, random) for row in nonzero]
        self.centroids = tf.Variable(np.stack(centroids).astype(value.dtype), name="centroids")
        self.latent = tf.Variable(value, name="latent")
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


def _train_shared(model: tf_keras.Model, shared: list[_SharedWeights]) -> None:
    """Makes `fit` train centroids and latent weights in place of the kernels that share."""
    by_kernel = {id(weights.kernel.variable): weights for weights in shared}

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
        for weights in shared:
            weights.share()
        return model.compute_metrics(x, y, outputs, sample_weight)

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
