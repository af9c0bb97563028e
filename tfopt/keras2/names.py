"""Layer names: unique in a model, legal as TensorFlow scopes, traceable to the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ILLEGAL = re.compile(r"[^A-Za-z0-9_.\\/>-]")


def legal(name: str) -> str:
    """Returns a name as near as possible to `name` that TensorFlow takes as a scope.

    Example:
        >>> legal("my conv"), legal("_stem")
        ('my_conv', 'x_stem')
    """
    name = _ILLEGAL.sub("_", name)
    return name if re.match(r"[A-Za-z0-9.]", name) else "x" + name


def snake_case(name: str) -> str:
    """Returns a class name as Keras spells it in the names of layers.

    Example:
        >>> snake_case("SeparableConv2D")
        'separable_conv2d'
    """
    split = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", split).lower()


class Names:
    """Hands out the layer names of one model.

    A layer at the top of the user's model keeps its name; one from a nested model gets the nested
    model's name in front: `conv` in `backbone` becomes `backbone_conv`.

    Args:
        top: Names of the layers at the top, kept for them.

    Example:
        >>> names = Names(["conv", "backbone_conv"])
        >>> names.take("conv"), names.take("conv", ["backbone"]), names.take("relu", ["backbone"])
        ('conv', 'backbone_conv_1', 'backbone_relu')
    """

    def __init__(self, top: Iterable[str]) -> None:
        self._reserved = {legal(name) for name in top}
        self._taken: set[str] = set()

    def take(self, name: str, path: Iterable[str] = ()) -> str:
        """Returns a free name for the layer `name` inside the nested models of `path`."""
        path = list(path)
        wanted = legal("_".join([*path, name]))
        free, count = wanted, 0
        while free in self._taken or ((path or count) and free in self._reserved):
            count += 1
            free = f"{wanted}_{count}"
        self._taken.add(free)
        return free
