"""Weight clustering: the weights of a kernel share a few values, which training moves."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tfopt.fine_tuning import AnyModel, Wrapped
from tfopt.gains import Gains
from tfopt.keras2.protocols import CLUSTERABLE
from tfopt.keras_gate import clone, load_model, tf_keras
from tfopt.kernel_technique import Kernel, KernelTechnique
from tfopt.order import refuse_fake_quantized
from tfopt.settings import check_choices, check_counts, check_flags
from tfopt.shared_weights import Initialization, SharedWeights, train_shared
from tfopt.technique import Selection, Skipped, Stage
from tfopt.training.updates import after_each_step

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightClustering(KernelTechnique):
    """Lets the weights of each kernel share at most `clusters` different values.

    Each weight takes the nearest of the kernel's centroids. While training, the gradients of the
    weights that share a centroid add up to move it, and each weight's own gradient decides which
    centroid it takes next. A file with few different weights compresses well; it is no faster.

    Zeros a kernel already has stay zero, and zero then counts as one of its clusters. So do those
    of the kernels that are left alone, which else train on; such a one whose weights share values
    already is held at them. Depthwise kernels hold few weights and much of the accuracy: they are
    left alone unless `only` names their layer.

    Args:
        clusters: Different values in a kernel, at least 2.
        initialization: Where the centroids start: evenly spaced between the smallest and the
            largest weight (`"linear"`), at `"random"` between them, with as many weights between
            any two neighbours (`"density"`), or drawn far apart (`"kmeans++"`).
        per_channel: Give each output channel of a Conv2D centroids of its own, as 8-bit
            quantization gives each a scale of its own. Other kernels are clustered whole.
        epochs: Passes over the training data; fractions are allowed. Or `steps`, or `seconds`: see
            `Budgeted`, as for `early_stopping`.
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
        >>> len(np.unique(wrapped.strip().layers[-1].kernel))
        4

    References:
        Han et al., Deep Compression, 2016, section 3 (shared weights), 3.2 (the initializations)
        and 3.3 (gradients of a centroid, equation 3). Arthur and Vassilvitskii, k-means++: The
        Advantages of Careful Seeding, 2007, section 2.2. Bengio et al., Estimating or Propagating
        Gradients Through Stochastic Neurons, 2013 (the straight-through estimator).
    """

    stage: ClassVar[Stage] = Stage.SHARING
    headline: ClassVar[tuple[str, ...]] = ("clusters", "epochs")
    finishes: ClassVar[tuple[str, ...]] = ("RoundWeights",)
    protocol: ClassVar[str] = CLUSTERABLE
    settled: ClassVar[float] = 0.0

    clusters: int = 16
    initialization: Initialization = "kmeans++"
    per_channel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, clusters=2)
        check_choices(self, initialization=Initialization)
        check_flags(self, "per_channel")

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

    def wrap_for(self, model: tf_keras.Model, task: Task) -> Wrapped:
        """Returns what `wrap` does, drawn with the seed of a task."""
        return self._wrapped(load_model(model), task.seed)

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
            trained in a way that parted weights which share a value, or gave zeros one.

        Raises:
            SettingError: `steps_per_epoch` is no number of steps.
            TechniqueError: No layer can be clustered, or the model is fake-quantized.
        """
        self.check_loop(steps_per_epoch)
        return self._wrapped(load_model(model), seed=0)

    def _wrapped(self, own: tf_keras.Model, seed: int) -> Wrapped:
        random = np.random.default_rng(seed)
        shared = [
            SharedWeights(
                kernel,
                self._channels(kernel),
                clusters=self.clusters,
                initialization=self.initialization,
                random=random,
            )
            for kernel in self.chosen_kernels(own)
        ]
        train_shared(own, shared)
        gains = Gains(own, but=[weights.kernel.variable for weights in shared])
        if gains:
            after_each_step(own, gains.keep)

        def strip() -> tf_keras.Model:
            gains.check()
            for weights in shared:
                weights.check()
            return clone(own)

        return Wrapped(own, [], strip, self.select(own))

    def _channels(self, kernel: Kernel) -> int:
        """How many parts of a kernel have centroids of their own."""
        if self.per_channel and type(kernel.layer) is tf_keras.layers.Conv2D:
            return kernel.variable.shape[-1]
        return 1
