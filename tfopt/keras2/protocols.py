"""What a custom layer says of its own weights, in the ways that TF-MOT laid down for it."""

from __future__ import annotations

from typing import Any

PRUNABLE = "get_prunable_weights"
"""The method of `tfmot.sparsity.keras.PrunableLayer`: returns weights."""
CLUSTERABLE = "get_clusterable_weights"
"""The method of `tfmot.clustering.keras.ClusterableLayer`: returns names and weights."""


def declared(layer: Any, protocol: str) -> dict[str, Any]:
    """Returns the weights that a layer offers to a technique.

    Args:
        layer: A built layer, custom or not.
        protocol: `PRUNABLE` or `CLUSTERABLE`.

    Returns:
        The variables by the attribute that holds each; empty for a layer without the method.

    Example:
        >>> class Layer:
        ...     def __init__(self):
        ...         self.gate = "a variable"
        ...     def get_clusterable_weights(self):
        ...         return [("gate", self.gate)]
        >>> declared(Layer(), CLUSTERABLE), declared(Layer(), PRUNABLE)
        ({'gate': 'a variable'}, {})
    """
    method = getattr(layer, protocol, None)
    if not callable(method):
        return {}
    attributes: dict[int, str] = {id(value): name for name, value in vars(layer).items()}
    found: dict[str, Any] = {}
    for weight in method():
        name, variable = weight if isinstance(weight, tuple) else ("", weight)
        given: str = name or variable.name.split("/")[-1].split(":")[0]
        found[attributes.get(id(variable), given)] = variable
    return found
