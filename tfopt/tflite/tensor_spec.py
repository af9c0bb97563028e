"""What an input or output of a `.tflite` holds, and the way between real numbers and its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfopt.errors import DataError


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output tensor of a file.

    Args:
        name: Its name in the file's signature, which is the Keras layer's as a rule.
        shape: Its axes, samples first; None where the file leaves the size open.
        dtype: Its data type, such as `"int8"`.
        scale: Size of one integer step in real numbers; None if the tensor is not quantized.
        zero_point: The integer that stands for 0.0; None if the tensor is not quantized.
        index: Its number in the file.

    Example:
        >>> spec = TensorSpec("image", (None, 2), "int8", scale=0.5, zero_point=3, index=0)
        >>> spec.encode(np.array([[-1.0, 0.25]]))
        array([[1, 3]], dtype=int8)
        >>> spec.decode(np.array([[1, 3]], np.int8))
        array([[-1.,  0.]], dtype=float32)

    References:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, equation 1.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    index: int = dataclasses.field(repr=False)

    @classmethod
    def of(cls, details: dict[str, Any], name: str) -> TensorSpec:
        """Reads what the interpreter tells of a tensor."""
        shape = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
        scale, zero_point = details["quantization"]
        return cls(
            name=name,
            shape=tuple(None if size < 0 else int(size) for size in shape),
            dtype=np.dtype(details["dtype"]).name,
            scale=float(scale) if scale else None,
            zero_point=int(zero_point) if scale else None,
            index=int(details["index"]),
        )

    def check(self, array: np.ndarray) -> None:
        """Refuses samples this input cannot take, before the interpreter sees them.

        Real numbers go into float and quantized inputs alike; integers of the input's own type are
        taken as quantized already; an integer input that is not quantized (word numbers, say)
        takes integers in its range.

        Args:
            array: The samples, (samples, ...).

        Raises:
            DataError: Shape or type do not fit, there is no sample, or a value is NaN.
        """
        axes = self.shape[1:]
        fits = array.ndim == len(axes) + 1 and all(
            want in (None, have) for want, have in zip(axes, array.shape[1:], strict=True)
        )
        if not fits or not len(array):
            wanted = ", ".join("any" if size is None else str(size) for size in axes)
            raise DataError(
                received=f"an array of shape {array.shape} for input {self.name!r}",
                expected=f"shape (samples, {wanted}) with at least one sample",
                fix="give samples along the first axis, each of the shape the model was trained on",
            )
        if not self._takes(array):
            raise DataError(
                received=f"values of dtype {array.dtype} for input {self.name!r}",
                expected=f"{self.dtype}, or real numbers to be quantized"
                if self.scale
                else f"numbers that {self.dtype} can hold",
                fix=f"pass x.astype({self.dtype!r}) if its values mean the same",
            )
        if array.dtype.kind == "f" and np.isnan(np.min(array)):
            samples = np.flatnonzero(np.isnan(array.reshape(len(array), -1)).any(axis=1))
            raise DataError(
                received=f"NaN in {len(samples)} of {len(array)} samples for input {self.name!r} "
                f"(first: sample {samples[0]})",
                expected="numbers",
                fix="drop those samples or fill the missing values",
            )

    def encode(self, array: np.ndarray) -> np.ndarray:
        """Returns the samples in the tensor's own type.

        Rounds to the nearest integer, ties to even, and clips, as the interpreter's QUANTIZE op
        does: so a file with integer inputs gives what its twin with float inputs gives.

        Args:
            array: Samples that `check` has passed.
        """
        dtype = np.dtype(self.dtype)
        if array.dtype == dtype:
            return array
        if self.scale is None:
            return array.astype(dtype)
        bounds = np.iinfo(dtype)
        values = np.multiply(array, np.float32(1) / np.float32(self.scale), dtype=np.float32)
        np.rint(values, out=values)
        values += np.float32(self.zero_point or 0)
        return np.clip(values, bounds.min, bounds.max, out=values).astype(dtype)

    def decode(self, array: np.ndarray) -> np.ndarray:
        """Returns float32 for what the tensor holds; as it is if it is not quantized."""
        if self.scale is None:
            return array
        return (array.astype(np.float32) - np.float32(self.zero_point or 0)) * np.float32(
            self.scale
        )

    def _takes(self, array: np.ndarray) -> bool:
        """Whether values of the array's type keep their meaning in this input."""
        dtype, kind = np.dtype(self.dtype), array.dtype.kind
        if array.dtype == dtype:
            return True
        if self.scale is not None or dtype.kind == "f":
            return kind in "biuf"
        if dtype.kind in "iu" and kind in "biu":
            bounds = np.iinfo(dtype)
            return bool(array.min() >= bounds.min and array.max() <= bounds.max)
        return False


def specs_of(interpreter: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Returns the inputs and outputs in the file's order, by the names of its signature if any.

    Outputs that the converter numbered (`output_0`, ...) come in the order of the numbers.

    Args:
        interpreter: LiteRT's, with the file loaded.
    """
    signatures = interpreter.get_signature_list()
    inputs: dict[int, str] = {}
    outputs: dict[int, str] = {}
    if len(signatures) == 1 or "serving_default" in signatures:
        key = "serving_default" if "serving_default" in signatures else next(iter(signatures))
        runner = interpreter.get_signature_runner(key)
        inputs = {item["index"]: name for name, item in runner.get_input_details().items()}
        outputs = {item["index"]: name for name, item in runner.get_output_details().items()}
        del runner  # while it lives, the interpreter refuses to resize

    def specs(details: list[dict[str, Any]], names: dict[int, str]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec.of(item, names.get(item["index"], item["name"])) for item in details
        )

    found = specs(interpreter.get_output_details(), outputs)
    numbers = [spec.name.removeprefix("output_") for spec in found]
    if all(number.isdecimal() for number in numbers):
        found = tuple(sorted(found, key=lambda spec: int(spec.name.removeprefix("output_"))))
    return specs(interpreter.get_input_details(), inputs), found
