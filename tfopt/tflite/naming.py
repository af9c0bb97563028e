"""What the layers of a Keras model are called in a `.tflite`, and how its tensors point to them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tfopt.keras2.names import snake_case

_SCOPE = "layer.{:05d}."
_SCOPE_PATTERN = re.compile(r"layer\.\d{5}\.")
_OTHERWISE = {"InputLayer": {"input"}, "Functional": {"model"}}  # not named after their class
_FUNCTION_PATTERN = re.compile(r"(__(?:inference|forward|backward)_\w+?)_\d+\b")


def scopes(layers: Sequence[Any]) -> dict[int, str]:
    """Returns the scope each layer is traced in, by its `id`: its position, so no name leaks in.

    Example:
        >>> list(scopes(["a", "b"]).values())
        ['layer.00000.', 'layer.00001.']
    """
    return {id(layer): _SCOPE.format(index) for index, layer in enumerate(layers)}


def file_names(layers: Sequence[Any], *, keep: Collection[str] = ()) -> dict[int, str]:
    """Says what each layer is called in the file, by its `id`.

    A name that the user gave stays. One that Keras made (`conv2d_7`: the class, and a number that
    counts through the whole process) is numbered again within the model, as it would be in a fresh
    process: so that the same model gives the same file, whatever else was built before it.

    Args:
        layers: The layers of a model, sublayers included.
        keep: Names to leave alone.

    Returns:
        Names by `id(layer)`; two layers of one name, in two nested models, keep one name.
    """
    names: dict[int, str] = {}
    automatic: dict[str, dict[int, list[int]]] = {}
    for layer in layers:
        named = seen_through(layer)
        stem, number = _automatic(named)
        if stem is None or named.name in keep:
            names[id(layer)] = named.name
        else:
            automatic.setdefault(stem, {}).setdefault(number, []).append(id(layer))
    taken = {*names.values(), *keep}
    for stem, numbers in automatic.items():
        fresh = _numbered(stem, taken)
        for number in sorted(numbers):
            names.update(dict.fromkeys(numbers[number], next(fresh)))
    return names


def layers_by_file_name(model: Any) -> dict[str, Any]:
    """Returns the layers of a model, those of nested models included, by their names in the file.

    Args:
        model: A Keras model.
    """
    layers = list(dict.fromkeys(model._flatten_layers()))
    names = file_names(layers)
    return {names[id(layer)]: layer for layer in layers if layer is not model}


def seen_through(layer: Any) -> Any:
    """Returns the layer inside a TF-MOT wrapper (`quant_conv`), which the user knows by name."""
    inner = getattr(layer, "layer", None)
    wrapper = type(layer).__module__.startswith("tensorflow_model_optimization")
    return inner if wrapper and inner is not None else layer


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names with a number behind those that come again.

    Example:
        >>> unique(["dense", "dense", "age"])
        ('dense', 'dense_1', 'age')
    """
    found: list[str] = []
    for name in names:
        fresh = _numbered(name, found, first=0)
        found.append(next(fresh))
    return tuple(found)


def in_file(name: str, names: Mapping[str, str]) -> str:
    """Returns a tensor's traced name with the layers' names for their scopes.

    Args:
        name: One path, or several behind one another with `;`, as fused ops have.
        names: The layer's name for each scope; `""` leaves the scope out.

    Example:
        >>> names = {"layer.00000.": "", "layer.00002.": "relu", "layer.00001.": "conv"}
        >>> in_file("layer.00000./layer.00002./Relu;layer.00000./layer.00001./Conv2D1", names)
        'relu/Relu;conv/Conv2D1'
    """
    paths = []
    for path in name.split(";"):
        parts = [names.get(part, part) for part in path.split("/")]
        paths.append("/".join(part for part in parts if part))
    # a TensorFlow function's number counts through the process
    return _FUNCTION_PATTERN.sub(r"\1", ";".join(dict.fromkeys(paths)))


def mentioned(text: str, names: Mapping[str, str]) -> list[str]:
    """Returns the layers whose scopes occur in a text, such as the converter's complaint."""
    found = (names.get(scope, "") for scope in _SCOPE_PATTERN.findall(text))
    return [name for name in dict.fromkeys(found) if name]


def _automatic(layer: Any) -> tuple[str | None, int]:
    """Returns the stem and the number of a name that Keras made; (None, 0) for the user's own."""
    match = re.fullmatch(r"(.+?)(?:_(\d+))?", layer.name)
    if match is None:
        return None, 0
    made = {snake_case(type(layer).__name__)}
    made |= _OTHERWISE.get(type(layer).__name__, set())
    if re.sub("^(?:forward_|backward_)", "", match[1]) in made or match[1].startswith("tf."):
        return match[1], int(match[2] or 0)
    return None, 0


def _numbered(stem: str, taken: Collection[str], first: int | None = None) -> Iterator[str]:
    """Yields `stem`, `stem_1`, `stem_2`..., but for those taken."""
    number = (1 if stem == "input" else 0) if first is None else first  # Keras: input_1 comes first
    while True:
        name = f"{stem}_{number}" if number else stem
        if name not in taken:
            yield name
        number += 1
