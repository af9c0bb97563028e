"""A model with layers replaced by chains of smaller ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from tfopt.factorization.plan import Choice
from tfopt.graph.calls import KerasTensor, Layer, rebuild, resized
from tfopt.keras2 import copying
from tfopt.keras_gate import tf_keras


def factorized(model: tf_keras.Model, choices: Mapping[str, Choice]) -> tf_keras.Model:
    """Returns a model whose layers are factorized as chosen; all else is copied.

    The last factor keeps the layer's name, bias and activation; those before it are called
    `<name>_factor1` and so on, past the names that the model has already.

    Args:
        model: A functional model; it is left as it was.
        choices: How to factorize each layer named.
    """
    copies: list[tuple[Layer, Layer]] = []
    chains: list[tuple[Layer, list[Layer], tuple[np.ndarray, ...]]] = []
    taken = {layer.name for layer in model.layers}

    def replace(layer: Layer) -> Any:
        choice = choices.get(layer.name)
        if choice is None:
            copies.append((layer, copying.copy_layer(layer, layer.name)))
            return copies[-1][1]
        factors = choice.factorization.factors(choice.ranks)
        chain = _chain(layer, factors, taken)
        chains.append((layer, chain, factors))
        return _in_turn(chain)

    new, _ = rebuild(model, replace=replace)
    for layer, copy in copies:  # whose weights are there since they were called
        copying.copy_state(layer, copy)
    for layer, chain, factors in chains:
        for part, factor in zip(chain, factors, strict=True):
            part.kernel.assign(factor.reshape(part.kernel.shape))
        if layer.use_bias:
            chain[-1].bias.assign(layer.bias)
    return new


def was_factorized(model: tf_keras.Model, smaller: tf_keras.Model, name: str) -> bool:
    """Returns whether a layer is a product now.

    Args:
        model: The model before.
        smaller: What `factorized` has made of it.
        name: The layer's name, which its last factor has: a kernel of fewer weights.
    """
    sizes = [np.prod(one.get_layer(name).kernel.shape) for one in (model, smaller)]
    return bool(sizes[1] < sizes[0])


def _chain(layer: Layer, factors: tuple[np.ndarray, ...], taken: Collection[str]) -> list[Layer]:
    """The layers of a product, not yet called."""
    numbered = (f"{layer.name}_factor{number}" for number in itertools.count(1))
    free = (name for name in numbered if name not in taken)
    plain = {"use_bias": False, "activation": "linear", "activity_regularizer": None}
    chain = []
    for index, factor in enumerate(factors):
        last = index == len(factors) - 1
        changes: dict[str, Any] = {} if last else {**plain, "name": next(free)}
        if isinstance(layer, tf_keras.layers.Dense):
            changes["units"] = factor.shape[-1]
        else:
            changes |= {"filters": factor.shape[-1], **_window(layer, factors, index)}
        chain.append(resized(layer, changes))
    return chain


def _window(layer: Layer, factors: tuple[np.ndarray, ...], index: int) -> dict[str, Any]:
    """Size, stride and dilation of a factor: each axis of the kernel has them where it has extent.

    The stride of an axis without extent goes to the first factor, which makes the second cheaper.
    """
    window: dict[str, Any] = {"kernel_size": factors[index].shape[: layer.rank]}
    for axis in range(layer.rank):
        extended = [k for k, factor in enumerate(factors) if factor.shape[axis] > 1]
        owner = extended[0] if extended else 0
        for name in ("strides", "dilation_rate"):
            values = window.setdefault(name, [1] * layer.rank)
            if index == owner:
                values[axis] = getattr(layer, name)[axis]
    return {name: tuple(values) for name, values in window.items()}


def _in_turn(chain: list[Layer]) -> Callable[..., KerasTensor]:
    """Calls layers one behind another."""

    def call(tensor: KerasTensor) -> KerasTensor:
        for layer in chain:
            tensor = layer(tensor)
        return tensor

    return call
