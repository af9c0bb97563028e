"""What a model's kernels are like: zeros, shared values, and what a step has lost of them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfopt.facts.kernels import kernels, own_weights, trainable_kernels, unwrapped, wrapper_names
from tfopt.keras_gate import tf_keras

# A kernel counts as clustered with this many values at most: what an 8-bit lookup table holds.
_MOST_CLUSTERS = 256
_SAMPLE = 2**16
_SPARSE_FROM = 0.1
_SPARSITY_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class KernelFacts:
    """What is true of one kernel.

    Args:
        layer: The layer's name as the user knows it, a training wrapper's prefix left out.
        kernel: The key `kernels` gives it, such as `kernel` or `cell.recurrent_kernel`.
        shape: The kernel's shape.
        sparsity: Share of weights that are exactly zero, 0 to 1.
        unique: Number of different values, zero included.
        channel_unique: The same within an output channel (the last axis): the largest over them.
    """

    layer: str
    kernel: str
    shape: tuple[int, ...]
    sparsity: float
    unique: int
    channel_unique: int

    @property
    def sparse(self) -> bool:
        """Whether weights have been made zero; all of them are where nothing was trained yet."""
        return _SPARSE_FROM <= self.sparsity < 1

    @property
    def clustered(self) -> bool:
        """Whether the weights share few values, far fewer than there are weights to share them."""
        return self._few(self.unique, math.prod(self.shape))

    @property
    def clustered_per_channel(self) -> bool:
        """Whether the weights of each output channel share few values."""
        return self._few(self.channel_unique, math.prod(self.shape[:-1]))

    @property
    def shares_values(self) -> bool:
        """Whether the weights share few values, those of the kernel or of each output channel."""
        return self.clustered or self.clustered_per_channel

    def _few(self, unique: int, weights: int) -> bool:
        """Whether so many values are few, zeros (which pruning makes too) left out of the count."""
        nonzero = weights * (1 - self.sparsity)
        return 1 < unique - (self.sparsity > 0) <= nonzero / 2 and unique <= _MOST_CLUSTERS


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What is true of a model.

    Args:
        kernels: One record for each kernel, in the order of the layers.
        parameters: Number of weights, what training wrappers add left out.
        fake_quantized: Whether a layer simulates quantization (quantization-aware training).
    """

    kernels: tuple[KernelFacts, ...]
    parameters: int
    fake_quantized: bool

    @property
    def sparsity(self) -> float:
        """Share of zeros over all kernels, 0 to 1."""
        sizes = [math.prod(kernel.shape) for kernel in self.kernels]
        zeros = sum(
            size * kernel.sparsity for size, kernel in zip(sizes, self.kernels, strict=True)
        )
        return zeros / sum(sizes) if sizes else 0.0

    @property
    def unique_weights(self) -> int:
        """Different values in the kernel that has most of them."""
        return max((kernel.unique for kernel in self.kernels), default=0)


def is_fake_quantized(model: tf_keras.Model) -> bool:
    """Returns whether a layer of the model simulates quantization."""
    kinds = {"QuantizeWrapper", "QuantizeLayer"}
    return any(wrapper_names(layer) & kinds for layer in layers_of(model))


def clustered_layers(model: tf_keras.Model) -> list[str]:
    """Returns the names of the layers whose trainable kernels share few values.

    Quicker than `measure`, since a part of a large kernel is enough to tell.
    """
    return _layers_where(model, lambda kernel: kernel.shares_values)


def sparse_layers(model: tf_keras.Model) -> list[str]:
    """Returns the names of the layers with a trainable kernel that has been pruned; quick, too."""
    return _layers_where(model, lambda kernel: kernel.sparse)


def measure(model: tf_keras.Model) -> ModelFacts:
    """Measures a model's kernels.

    Args:
        model: A built tf_keras model, wrapped for training or not.

    Returns:
        The facts; layers bear the names the user gave them.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, name="top", input_shape=(2,))])
        >>> model.layers[0].kernel.assign([[0.0, 1.0], [1.0, 1.0]])  # doctest: +ELLIPSIS
        <tf.Variable ...
        >>> facts = measure(model)
        >>> facts.sparsity, facts.unique_weights, facts.parameters
        (0.25, 2, 6)
    """
    records = tuple(
        kernel_facts(unwrapped(layer).name, key, variable.numpy())
        for layer in layers_of(model)
        for key, variable in kernels(layer).items()
    )
    weights = {id(weight): weight for layer in layers_of(model) for weight in own_weights(layer)}
    parameters = sum(math.prod(weight.shape) for weight in weights.values())
    return ModelFacts(records, parameters, is_fake_quantized(model))


def lost_gains(before: ModelFacts, after: ModelFacts) -> list[str]:
    """Compares two models kernel by kernel: what had an earlier step gained that is gone?

    Args:
        before: The model as a step found it.
        after: The model as the step left it.

    Returns:
        A sentence for each kernel that had at least 10 % zeros (not all: it was trained) and lost
        more than 1 % of its weights to other values, or whose weights shared few values and no
        longer do (one more value, such as a new zero, is no loss), or that has more weights than
        before, as one that was cut or factorized may not. Empty if nothing was lost. Kernels that
        are only in one of the models are not compared, and of smaller ones only their number of
        weights.

    Example:
        >>> def model(sparsity):
        ...     kernel = KernelFacts("conv", "kernel", (9, 9), sparsity, 50, 5)
        ...     return ModelFacts((kernel,), 81, False)
        >>> lost_gains(model(0.5), model(0.0))
        ['the sparsity of conv (kernel) fell from 0.500 to 0.000']
    """
    now = {(kernel.layer, kernel.kernel): kernel for kernel in after.kernels}
    lost = []
    for old in before.kernels:
        new = now.get((old.layer, old.kernel))
        where = f"{old.layer} ({old.kernel})"
        if new is None or new.shape != old.shape:
            sizes = [math.prod(kernel.shape) for kernel in (old, new) if kernel is not None]
            if len(sizes) == 2 and sizes[1] > sizes[0]:
                lost.append(f"{where} had {sizes[0]:,} weights and now has {sizes[1]:,}")
            continue
        if old.sparse and new.sparsity < old.sparsity - _SPARSITY_TOLERANCE:
            lost.append(
                f"the sparsity of {where} fell from {old.sparsity:.3f} to {new.sparsity:.3f}"
            )
        if old.clustered and new.unique > old.unique + 1:
            lost.append(f"{where} had {old.unique:,} different weights and now has {new.unique:,}")
        elif old.clustered_per_channel and new.channel_unique > old.channel_unique + 1:
            lost.append(
                f"{where} had {old.channel_unique:,} different weights in a channel and now has "
                f"{new.channel_unique:,}"
            )
    return lost


def weights_checksum(model: tf_keras.Model) -> str:
    """SHA-256 over the weights of a model, in order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = variable.numpy()
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _layers_where(model: tf_keras.Model, holds: Callable[[KernelFacts], bool]) -> list[str]:
    """The names of the layers of which something holds for a sample of a trainable kernel."""
    names = []
    for layer in layers_of(model):
        for key, variable in trainable_kernels(layer).items():
            channels = variable.shape[-1]
            rows = tf.reshape(variable, [-1, channels])[: math.ceil(_SAMPLE / channels)]
            if holds(kernel_facts(unwrapped(layer).name, key, rows.numpy())):
                names.append(unwrapped(layer).name)
    return list(dict.fromkeys(names))


def kernel_facts(layer: str, key: str, value: np.ndarray) -> KernelFacts:
    """Counts the zeros and the different values of one kernel.

    Args:
        layer: The name of its layer.
        key: The key `kernels` gives it.
        value: Its weights.
    """
    channels = np.sort(value.reshape(-1, value.shape[-1]), axis=0)
    changes = (channels[1:] != channels[:-1]).sum(axis=0)
    return KernelFacts(
        layer=layer,
        kernel=key,
        shape=tuple(value.shape),
        sparsity=float(np.mean(value == 0)),
        unique=len(np.unique(value)),
        channel_unique=int(changes.max()) + 1,
    )


def layers_of(model: tf_keras.Model) -> Iterator[tf_keras.layers.Layer]:
    """Yields the layers of a model, those of nested models in their place."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model):
            yield from layers_of(layer)
        else:
            yield layer
