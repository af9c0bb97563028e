"""Whether data and model go together: found out in milliseconds, before anything is trained."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tfopt.data import Arrays, ArraySplit, Split, leaves, matched
from tfopt.errors import DataError
from tfopt.task.losses import CROSSENTROPIES, OF_NUMBERS, each, loss_name, of_logits

Shape = tuple[int | None, ...]

# Losses whose labels have the shape of the outputs; axes of length 1 may be left out.
_SPARSE = "sparse_categorical_crossentropy"
_SAME_SHAPE = (CROSSENTROPIES - {_SPARSE}) | OF_NUMBERS | {"kl_divergence"}
_KINDS = {"b": "integers", "i": "integers", "u": "integers", "f": "floating point"}


def check_alike(
    train: Split, validation: Split, test: Split | None, representative: Arrays | None
) -> None:
    """Refuses splits whose samples differ in structure, shape or kind of number.

    Raises:
        DataError: They do: one split was prepared in another way.
    """
    x, y = train.first()
    parts = [("validation", validation), ("test", test)]
    sides = [(f"the inputs of {name}", split.first()[0], x) for name, split in parts if split]
    sides += [(f"the labels of {name}", split.first()[1], y) for name, split in parts if split]
    if representative is not None:
        sides.append(("the representative inputs", representative, x))
    for what, arrays, reference in sides:
        ours, theirs = (
            {name: (array.shape[1:], _KINDS[array.dtype.kind]) for name, array in leaves(side)}
            for side in (arrays, reference)
        )
        if ours != theirs:
            raise DataError(
                received=f"{what}: {_described(ours)}",
                expected=f"the shape and type of train: {_described(theirs)}",
                fix="prepare all splits in the same way",
            )


def check_inputs(model: Any, split: Split, name: str) -> None:
    """Refuses samples that do not fit the inputs of a model.

    Args:
        model: Has `inputs` with `shape` and `dtype`, and perhaps `input_names`: any Keras.
        split: The samples.
        name: Which split it is.

    Raises:
        DataError: Number, names, shape or type of the inputs differ.
    """
    names = _names(model, "input")
    arrays = _columns(split.first()[0], names, f"the inputs of {name}")
    for tensor, own, array in zip(model.inputs, names, arrays, strict=True):
        expected = _shape(tensor)
        if expected is not None and not _fits(array.shape[1:], expected):
            raise DataError(
                received=f"inputs of {name} of shape {array.shape[1:]}",
                expected=f"{expected}, as input {own!r} of the model takes them "
                "(the axis of samples left out)",
                fix=_shape_fix(array.shape[1:], expected),
            )
        dtype = getattr(tensor.dtype, "name", tensor.dtype)
        if "int" in str(dtype) and array.dtype.kind == "f":
            raise DataError(
                received=f"inputs of {name} of type {array.dtype}",
                expected=f"{dtype}, as input {own!r} of the model takes them",
                fix=f"convert them: x.astype({str(dtype)!r})",
            )


def check_labels(model: Any, split: Split, name: str, *, loss: Any, classes: int | None) -> None:
    """Refuses labels that do not fit the outputs of a model and the loss.

    Args:
        model: Has `outputs` with `shape`, and perhaps `output_names`.
        split: The samples. Of a stream, the first ones are looked at.
        name: Which split it is.
        loss: The task's loss; shapes are checked for Keras' own losses.
        classes: How many classes the data has, if it is known.

    Raises:
        DataError: Number, shape or range of the labels do not fit.
    """
    names = _names(model, "output")
    labels = split.y if isinstance(split, ArraySplit) else split.first()[1]
    arrays = _columns(labels, names, f"the labels of {name}")
    losses = [loss_name(own) for own in each(loss, names)]
    for tensor, own, array, kind in zip(model.outputs, names, arrays, losses, strict=True):
        shape = _shape(tensor)
        if shape is None:
            continue
        if kind == _SPARSE:
            _check_class_numbers(array, shape, name, own)
        elif kind in _SAME_SHAPE:
            _check_same_shape(array, shape, name, own, kind)
    shape = _shape(model.outputs[0])
    if len(names) == 1 and classes is not None and losses[0] in (_SPARSE, *_SAME_SHAPE):
        outputs = shape[-1] if shape else None
        if outputs not in (None, classes) and not (outputs == 1 and classes == 2):
            raise DataError(
                received=f"data of {classes} classes",
                expected=f"{outputs} classes, as many as the model has outputs",
                fix="use the data the model was trained for; if it counts other classes too, map "
                "the labels and leave class_names out",
            )


def unfit_losses(model: Any, loss: Any) -> list[str]:
    """Says which outputs are no probabilities where the loss takes them for such.

    Args:
        model: A tf_keras model, wrapped for training or not.
        loss: The task's loss.

    Returns:
        A text for each output that comes from a layer without activation, if the loss is a
        cross-entropy without `from_logits=True`.
    """
    names = _names(model, "output")
    return [
        f"output {name!r} has no softmax or sigmoid, and the loss {loss_name(own)} takes "
        "it for probabilities: training will go badly, and a single output is held against "
        "the threshold 0.5. Pass a loss with from_logits=True, "
        "such as tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), or the "
        "flag --from_logits"
        for name, output, own in zip(names, model.outputs, each(loss, names), strict=True)
        if loss_name(own) in CROSSENTROPIES and not of_logits(own) and scale_of(output) == "logits"
    ]


def scale_of(output: Any) -> Literal["logits", "probabilities"] | None:
    """Returns what an output of a tf_keras model is, told by its layer; None if that is unknown."""
    layer = output._keras_history.layer
    layer = getattr(layer, "layer", layer)  # the layer inside a wrapper
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if activation in ("softmax", "sigmoid") or type(layer).__name__ == "Softmax":
        return "probabilities"
    return "logits" if activation == "linear" and hasattr(layer, "kernel") else None


def _names(model: Any, side: str) -> list[str]:
    """The names a model gives its inputs or outputs."""
    names = getattr(model, f"{side}_names", None)
    tensors = getattr(model, f"{side}s")
    return list(names) if names else [tensor.name for tensor in tensors]


def _columns(arrays: Arrays, names: list[str], what: str) -> list[np.ndarray]:
    try:
        return matched(arrays, names)
    except DataError as error:
        raise DataError(
            received=f"{what}: {error.received}", expected=error.expected, fix=error.fix
        ) from None


def _shape(tensor: Any) -> Shape | None:
    """The shape of one sample, or None if the number of axes is open."""
    try:
        return tuple(None if size is None else int(size) for size in tensor.shape)[1:]
    except ValueError:
        return None


def _fits(shape: Shape, expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        wanted is None or size == wanted for size, wanted in zip(shape, expected, strict=True)
    )


def _shape_fix(shape: Shape, expected: Shape) -> str:
    if len(shape) + 1 == len(expected) and _fits((*shape, 1), expected):
        return "add the axis of channels: x[..., np.newaxis]"
    if len(shape) == len(expected) == 3 and shape[2] == expected[2]:
        return "resize the images (image_size=...), or use a model of this size"
    if len(shape) == len(expected) == 3:
        return "give images of as many channels as the model takes"
    return "reshape the inputs, or use the model they were made for"


def _check_class_numbers(labels: np.ndarray, outputs: Shape, name: str, own: str) -> None:
    *places, classes = outputs
    if not (_fits(labels.shape[1:], tuple(places)) or _fits(labels.shape[1:], (*places, 1))):
        one_hot = _fits(labels.shape[1:], outputs)
        raise DataError(
            received=f"labels of {name} of shape {labels.shape}",
            expected=f"one class number for each sample, for output {own!r} of shape "
            f"{(None, *outputs)} and the loss {_SPARSE}",
            fix='use loss="categorical_crossentropy" for one-hot labels'
            if one_hot
            else "check which labels belong to this model",
        )
    low, high = labels.min(), labels.max()
    if low < 0 or (classes is not None and high >= classes) or (labels != np.floor(labels)).any():
        raise DataError(
            received=f"labels of {name} from {low} to {high}",
            expected=f"whole numbers from 0 to {classes - 1 if classes else '...'}, one for each "
            f"class of output {own!r}",
            fix="count the classes from 0, or use a model with an output for each class",
        )


def _check_same_shape(
    labels: np.ndarray, outputs: Shape, name: str, own: str, kind: str | None
) -> None:
    shape = labels.shape[1:]
    without = tuple(size for size in outputs if size != 1)
    if _fits(shape, outputs) or _fits(tuple(size for size in shape if size != 1), without):
        return
    numbers = shape in ((), (1,)) and labels.dtype.kind in "iu"
    raise DataError(
        received=f"labels of {name} of shape {labels.shape}",
        expected=f"the shape of output {own!r}, {(None, *outputs)}, for the loss {kind}",
        fix=f'use loss="{_SPARSE}" for class numbers'
        if numbers
        else "check which labels belong to this model",
    )


def _described(parts: dict[str, tuple[Shape, str]]) -> str:
    return "; ".join(
        f"{name or 'one array'} of shape {shape}, {kind}" for name, (shape, kind) in parts.items()
    )
