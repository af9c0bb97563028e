"""Rescaling of pixels put into the model, so that an app feeds the bytes of an image."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.errors import ModelError, SettingError
from tfopt.graph.calls import rebuild
from tfopt.keras_gate import load_model, tf_keras

Factor = float | Sequence[float]
"""One number, or one for each channel."""


def with_preprocessing(
    model: str | os.PathLike[str] | Any,
    *,
    scale: Factor = 1 / 255,
    offset: Factor = 0.0,
    mean: Factor = 0.0,
    std: Factor = 1.0,
    name: str | None = None,
) -> tf_keras.Model:
    """Returns a model that takes pixels from 0 to 255 and prepares them itself.

    Its input is uint8, and what the model saw before is (pixel * scale + offset - mean) / std. An
    int8 file of it takes bytes as they are: `Target.int8(input_type="uint8")` or any other integer
    target. A scale alone costs nothing there, the converter puts it into the first layer's weights;
    an offset is two 8-bit ops. Train and measure it with raw pixels, as
    `Task.from_tfds(..., dtype="uint8")` and `Task.from_image_folder(..., dtype="uint8")` load them.

    Args:
        model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
        scale: What a pixel is multiplied with: a number, or one for each channel.
        offset: What is added then; likewise.
        mean: What is subtracted then; likewise. Of scaled pixels: at most 1 with the default scale.
        std: What it is divided by in the end; likewise.
        name: Of the input; needed where there are several.

    Returns:
        A built tf_keras model with a `Rescaling` layer behind the input.

    Raises:
        SettingError: A number is not finite or makes all pixels the same, there are not as many as
            channels, a mean is none of scaled pixels, or `name` is no input.
        ModelError: The model cannot be loaded, or its input is of integers already.

    Example:
        >>> from tfopt.testing import small_cnn
        >>> pixels = with_preprocessing(small_cnn(), scale=1 / 127.5, offset=-1.0)
        >>> pixels.inputs[0].dtype, [layer.name for layer in pixels.layers][:3]
        (tf.uint8, ['image', 'image_rescaling', 'stem_conv'])
    """
    copy = load_model(model)
    entry = _input(copy, name)
    factor, shift = _combined(entry.shape[-1], scale, offset, mean, std)
    layer = tf_keras.layers.Rescaling(factor, shift, name=f"{entry.node.layer.name}_rescaling")
    prepared, _ = rebuild(
        copy,
        follow=lambda old, new: layer(new) if old is entry else new,
        input_types={entry.node.layer.name: "uint8"},
    )
    return prepared


def _input(model: tf_keras.Model, name: str | None) -> Any:
    """The input to prepare."""
    inputs = dict(zip(model.input_names, model.inputs, strict=True))
    if (len(inputs) > 1) if name is None else (name not in inputs):
        raise SettingError(
            received=f"name={name!r} for a model with the inputs {', '.join(inputs)}",
            expected="the name of the input that takes pixels",
            fix="name it: with_preprocessing(model, name=...)",
        )
    entry = inputs[name] if name is not None else next(iter(inputs.values()))
    if not entry.dtype.is_floating:
        raise ModelError(
            received=f"an input of {entry.dtype.name}",
            expected="a model that takes real numbers",
            fix="leave the model as it is: Target.int8() makes a file that takes its bytes",
        )
    return entry


def _combined(
    channels: int | None, scale: Factor, offset: Factor, mean: Factor, std: Factor
) -> tuple[Any, Any]:
    """Factor and offset of one layer that does it all."""
    given = {"scale": scale, "offset": offset, "mean": mean, "std": std}
    arrays = {key: _numbers(key, value, channels) for key, value in given.items()}
    for key in ("scale", "std"):
        if not np.all(arrays[key]):
            raise SettingError(
                received=f"{key}={given[key]!r}",
                expected="numbers other than 0",
                fix="give what the model was trained with",
            )
    ends = arrays["offset"], 255 * arrays["scale"] + arrays["offset"]
    beyond = (arrays["mean"] < np.minimum(*ends)) | (arrays["mean"] > np.maximum(*ends))
    if np.any(beyond & (arrays["mean"] != 0)):
        raise SettingError(
            received=f"mean={mean!r} with scale={scale!r} and offset={offset!r}",
            expected="a mean of what pixels of 0 to 255 are scaled to",
            fix="pass scale=1.0 if mean and std are those of the pixels themselves",
        )
    factor = arrays["scale"] / arrays["std"]
    shift = (arrays["offset"] - arrays["mean"]) / arrays["std"]
    if factor.ndim == shift.ndim == 0:
        return float(factor), float(shift)
    wide = np.broadcast_arrays(factor, shift)
    return wide[0].tolist(), wide[1].tolist()


def _numbers(key: str, value: Factor, channels: int | None) -> np.ndarray:
    """A number, or one for each channel."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.asarray(math.nan)
    fits = array.ndim == 0 or array.shape == (channels,)
    if not fits or not np.all(np.isfinite(array)):
        raise SettingError(
            received=f"{key}={value!r}",
            expected=f"a finite number, or {channels} of them, one for each channel",
            fix="give what the model was trained with",
        )
    return array
