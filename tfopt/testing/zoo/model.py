"""An entry of the zoo: a function that builds a model in any Keras, and data that fits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfopt.testing.zoo.data import Losses, random_arrays, random_task

if TYPE_CHECKING:
    from tfopt.task import Task

_CLASSES = "sparse_categorical_crossentropy"


@dataclasses.dataclass(frozen=True)
class ZooModel:
    """A typical small model.

    Args:
        function: Builds it from a Keras (the module `tf_keras` or `keras`); its name is the
            model's.
        loss: The loss of each output; several are a tuple in the order of the outputs.
        low: The smallest input.
        high: Inputs are below this: pixels below 256, token numbers below the vocabulary's size.
        only: The one Keras it can be built in, if it cannot in both.

    Example:
        >>> import keras
        >>> from tfopt.testing.zoo import MODELS
        >>> entry = next(entry for entry in MODELS if entry.name == "ds_cnn")
        >>> model = entry.build(keras)
        >>> entry.family, model.output_shape, entry.task(model).train.size
        ('audio', (None, 12), 64)
    """

    function: Callable[[Any], Any]
    loss: Losses = _CLASSES
    low: float = 0.0
    high: float = 1.0
    only: Literal["tf_keras", "keras"] | None = None

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__

    @property
    def family(self) -> str:
        """The name of the module that defines it."""
        return self.function.__module__.rpartition(".")[2]

    def build(self, keras: Any, *, seed: int = 0) -> Any:
        """Returns the model, not compiled, the same for the same seed.

        The random state of Python, NumPy and TensorFlow is set.

        Args:
            keras: The module `tf_keras` or `keras`.
            seed: Seeds the weights.
        """
        keras.utils.set_random_seed(seed)
        model = self.function(keras)
        settle(model, seed=seed, low=self.low, high=self.high)
        return model

    def task(self, model: Any, *, samples: int = 64, seed: int = 0) -> Task:
        """Returns random data that fits the model.

        Args:
            model: What `build` returned, or what `tfopt.load_model` made of it.
            samples: How many.
            seed: Seeds the data.
        """
        return random_task(
            model, loss=self.loss, samples=samples, low=self.low, high=self.high, seed=seed
        )


def settle(model: Any, *, seed: int = 0, low: float = 0.0, high: float = 1.0) -> None:
    """Makes the numbers of a new model like those of a trained one, in place.

    Biases, scales and offsets move off 0 and 1, so that losing one shows. Batch norm takes the
    statistics of a batch, so that a deep net neither dies out nor explodes.

    Args:
        model: A model of any Keras, not frozen.
        seed: Seeds what is random.
        low: The smallest input.
        high: Inputs are below this.

    Example:
        >>> from tfopt.keras_gate import tf_keras
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
        >>> settle(model)
        >>> bool(model.get_weights()[1].any())
        True
    """
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if len(weight.shape) == 1:
            noise = generator.normal(0.0, 0.1, tuple(weight.shape))
            weight.assign(weight.numpy() + noise.astype(np.float32))
    norms = [layer for layer in model._flatten_layers() if "BatchNormalization" in str(type(layer))]
    if not norms or not getattr(model, "inputs", None):
        return
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(random_arrays(model, samples=32, low=low, high=high, seed=seed), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
