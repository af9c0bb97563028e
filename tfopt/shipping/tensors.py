"""What goes into a file and comes out: tensors, pixels and labels."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfopt.tflite.tensor_spec import TensorSpec

_NEAR = 0.01  # a share of the range; calibration rarely sees the very ends
_SHIFTS = {"uint8": 0, "int8": 128}
_USUAL = {(0.0, 1.0): (0.0, 255.0), (-1.0, 1.0): (127.5, 127.5), (0.0, 255.0): (0.0, 1.0)}


@dataclasses.dataclass(frozen=True)
class Image:
    """An input of pixels, and what the model takes for them: (pixel - mean) / std.

    Args:
        height: In pixels.
        width: In pixels.
        channels: 3 for RGB, 1 for grey.
        mean: Of one number, or one for each channel, in pixels from 0 to 255.
        std: Likewise.
        told_by: Where mean and std are known from, in words.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    told_by: str

    def bounds(self, dtype: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The smallest and the largest number that a tensor of the input's type holds."""
        if dtype == "uint8":
            return (0.0,), (255.0,)
        pairs = list(zip(self.mean, self.std, strict=True))
        return (
            tuple((0.0 - mean) / std for mean, std in pairs),
            tuple((255.0 - mean) / std for mean, std in pairs),
        )

    def grid(self) -> tuple[float, int] | None:
        """Scale and zero point of an input that holds the pixels as they are; None: impossible.

        Zero stands for the mean pixel, and has to be a whole number of them.
        """
        means, stds = set(self.mean), set(self.std)
        mean, std = self.mean[0], self.std[0]
        whole = mean == round(mean) and 0 <= mean <= 255
        return (1.0 / std, round(mean)) if len(means) == len(stds) == 1 and whole else None

    def is_grid(self, scale: float, zero_point: int) -> bool:
        """Whether a uint8 input of this scale and zero point holds pixels, within half a step."""
        means, stds = set(self.mean), set(self.std)
        if len(means) > 1 or len(stds) > 1:
            return False
        ends = [(value - zero_point) * scale for value in (0, 255)]
        wanted = [(value - self.mean[0]) / self.std[0] for value in (0, 255)]
        return bool(np.allclose(ends, wanted, rtol=0, atol=0.51 * scale))


@dataclasses.dataclass(frozen=True)
class Ends:
    """The inputs and outputs of a file that is shipped.

    Args:
        inputs: In the file's order.
        outputs: In the file's order.
        image: What the only input shows, if it is an image.
        labels: The names of the classes, in the order of `scores`; None if there are none.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    image: Image | None
    labels: tuple[str, ...] | None

    @property
    def scores(self) -> TensorSpec | None:
        """The output that the labels belong to."""
        return self.outputs[0] if self.labels is not None else None

    @property
    def shift(self) -> int | None:
        """What has to be subtracted from a pixel to get the input; None if that is not all."""
        spec = self.inputs[0]
        if self.image is None or spec.dtype not in _SHIFTS:
            return None
        shift = _SHIFTS[spec.dtype]
        holds = self.image.is_grid(spec.scale or 1.0, (spec.zero_point or 0) + shift)
        return shift if holds else None

    @property
    def takes_pixels(self) -> bool:
        """Whether the bytes of an image are the file's input as they are."""
        return self.shift == 0


def is_image(spec: TensorSpec) -> bool:
    """Whether an input has the shape of an image: (samples, height, width, 1 or 3)."""
    known = all(size is not None for size in spec.shape[1:])
    return len(spec.shape) == 4 and known and spec.shape[3] in (1, 3) and spec.dtype != "bool"


def usual_normalization(low: float, high: float) -> tuple[float, float] | None:
    """Returns (mean, std) of the pixels behind values of a range, if it is a usual one.

    Example:
        >>> usual_normalization(-1.0, 0.998)
        (127.5, 127.5)
        >>> usual_normalization(-2.1, 2.6) is None
        True
    """
    for (least, most), found in _USUAL.items():
        slack = _NEAR * (most - least)
        if abs(low - least) <= slack and abs(high - most) <= slack:
            return found
    return None
