"""Where a file loses precision: each Keras layer's outputs against the file's tensors."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.data import columns
from tfopt.errors import SettingError
from tfopt.tables import text_table
from tfopt.tflite.content import read_tflite
from tfopt.tflite.file_layers import tensors_by_layer
from tfopt.tflite.inspect import inspect
from tfopt.tflite.inspection import Tensor
from tfopt.tflite.interpreter import TFLiteModel

if TYPE_CHECKING:
    from tfopt.task import Task

_BATCH = 32
_CLIPPED = 1e-3
_LITTLE_USED = 0.3
_UNEVEN = 16.0
_LOST_DB = 3.0
_FINE_DB = 30.0
_BEST_DB = 100.0
# So much less noise up to a scale for each channel is none of rounding's: channels were rescaled.
_RESCALED_DB = 10.0
_FIXED_RANGE = {"SOFTMAX", "LOGISTIC", "TANH", "LOG_SOFTMAX"}


@dataclasses.dataclass(frozen=True)
class LayerError:
    """How far a layer's outputs in a file are from the float model's.

    Args:
        layer: The Keras layer; of layers that the file fuses, the last.
        fused: All layers that the op computes, in order.
        kind: Its class name.
        op: The op that makes them in the file.
        dtype: What the file holds them in.
        sqnr_db: Signal to quantization noise, in decibels: each bit is worth about 6.
        lost_db: How much of it is lost in this layer rather than before it.
        cosine: Cosine of the angle between the outputs, 1 for the same direction.
        mse: Mean squared difference.
        range_use: The share of the range the file gives the tensor that the outputs use.
        saturation: The share of the outputs that lie outside that range, and are clipped.
        unevenness: The largest range of a channel over the median one.
        rescaled: Whether the file was made from a model in which these channels have other scales
            (`EqualizeChannels`): then all the figures are of the channels as the file scales them.
    """

    layer: str
    fused: tuple[str, ...]
    kind: str
    op: str
    dtype: str
    sqnr_db: float
    lost_db: float
    cosine: float
    mse: float
    range_use: float
    saturation: float
    unevenness: float
    rescaled: bool = False

    @property
    def advice(self) -> str:
        """What is likely to help, empty if nothing is wrong."""
        if self.lost_db < _LOST_DB or self.sqnr_db > _FINE_DB:
            return ""
        if self.saturation > _CLIPPED:
            return 'values are clipped: more representative samples, or calibration="min_max"'
        if self.unevenness > _UNEVEN:
            return f"channels differ {self.unevenness:.0f} times in range: EqualizeChannels"
        if self.range_use < _LITTLE_USED and self.op not in _FIXED_RANGE:
            return 'outliers take most of the range: calibration="mse" or "percentile"'
        finer = "keep_float" if self.dtype == "int16" else "keep_int16"
        return f"{finer}=({self.fused[0]!r},), or quantization-aware training"


@dataclasses.dataclass(frozen=True)
class LayerComparison:
    """All layers that could be compared.

    Args:
        layers: In the order of execution.
        missing: Layers of the model that no tensor of the file stands for.
        samples: How many samples were run.
    """

    layers: tuple[LayerError, ...]
    missing: tuple[str, ...]
    samples: int

    @property
    def worst_first(self) -> tuple[LayerError, ...]:
        """The layers that lose most precision themselves, first."""
        return tuple(sorted(self.layers, key=lambda row: row.lost_db, reverse=True))

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        header = ["layer", "op", "type", "SQNR dB", "lost dB", "cosine", "MSE"]
        header += ["range used", "clipped", "advice"]
        rows = [
            [
                row.layer,
                row.op,
                row.dtype,
                f"{row.sqnr_db:.1f}",
                f"{row.lost_db:.1f}",
                f"{row.cosine:.4f}",
                f"{row.mse:.3g}",
                f"{row.range_use:.0%}",
                f"{row.saturation:.2%}",
                row.advice,
            ]
            for row in self.worst_first
        ]
        left = f"\nNot in the file as tensors: {', '.join(self.missing)}." if self.missing else ""
        names = ", ".join(row.layer for row in self.layers if row.rescaled)
        left += f"\nCompared up to the scales of their channels: {names}." if names else ""
        return f"{text_table(header, rows)}\n{self.samples} samples.{left}"


def compare_layers(
    tflite: bytes | str | os.PathLike[str], model: Any, *, task: Task, samples: int = 64
) -> LayerComparison:
    """Compares the outputs of a float model's layers with the tensors of a file made from it.

    Args:
        tflite: The file: its content or its path.
        model: The float model, anything `tfopt.load_model` takes. It may be one of before a
            technique was applied: layers are matched by name, and channels that the technique has
            rescaled are compared on the file's scales.
        task: Gives representative samples.
        samples: How many of them to run.

    Raises:
        DataError: The samples do not fit the model.
        InterpreterError: The file cannot be run.
        SettingError: No layer of the model is in the file.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> model, task = small_cnn(), tfopt.Task.digits()
        >>> tflite = tfopt.convert(model, task=task, target=tfopt.Target.int8(refine=False))
        >>> compare_layers(tflite, model, task=task).layers[0].layer
        'stem_relu'
    """
    from tfopt.keras_gate import load_model

    return errors_of_layers(read_tflite(tflite), load_model(model), task=task, samples=samples)


def errors_of_layers(content: bytes, model: Any, *, task: Task, samples: int) -> LayerComparison:
    """Compares as `compare_layers` does, a model that is loaded already.

    Args:
        content: The file.
        model: A flat tf_keras model.
        task: Gives representative samples.
        samples: How many of them to run.

    Raises:
        DataError, InterpreterError, SettingError: As for `compare_layers`.
    """
    found = tensors_by_layer(inspect(content), model)
    if not found:
        raise SettingError(
            received=f"a file in which no layer of model {model.name!r} is found",
            expected="a file made from the model, with the names of its layers",
            fix="give the model that was converted",
        )
    inputs = task.representative_inputs(samples)
    arrays = columns(inputs, model.input_names)
    exact = _keras_outputs(model, list(found), arrays)
    held = _file_tensors(content, [match.tensor for match in found.values()], inputs)
    heard = _inputs_heard(content, inputs)
    rows = []
    for (layer, match), float_output, held_output in zip(found.items(), exact, held, strict=True):
        before = min((heard[index] for index in match.inputs), default=_BEST_DB)
        rows.append(_compared(match, layer, float_output, held_output, before))
        heard[match.tensor.index] = rows[-1].sqnr_db
    covered = {name for match in found.values() for name in match.fused}
    missing = tuple(
        layer.name
        for layer in model.layers
        if layer.name not in covered and type(layer).__name__ != "InputLayer"
    )
    return LayerComparison(tuple(rows), missing, len(exact[0]))


def _keras_outputs(model: Any, layers: list[str], inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What layers of the float model give, without the cost of compiling a function for it."""
    tensors = [model.get_layer(name).get_output_at(0) for name in layers]
    cut = type(model)(model.inputs, tensors)
    parts = []
    for start in range(0, len(inputs[0]), _BATCH):
        outputs = cut([array[start : start + _BATCH] for array in inputs], training=False)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        parts.append([output.numpy() for output in outputs])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _file_tensors(content: bytes, tensors: list[Tensor], inputs: Any) -> list[np.ndarray]:
    """What tensors of the file hold, as real numbers."""
    model = TFLiteModel(content, keep_tensors=True)
    parts: dict[int, list[np.ndarray]] = defaultdict(list)
    for _, values in model.activations(inputs, [tensor.index for tensor in tensors]):
        for index, value in enumerate(values):
            parts[index].append(np.array(value))
    return [tensor.decode(np.concatenate(parts[i])) for i, tensor in enumerate(tensors)]


def _inputs_heard(content: bytes, inputs: Any) -> dict[int, float]:
    """The signal to noise of the file's inputs, by their tensor's number."""
    specs = TFLiteModel(content).inputs
    arrays = columns(inputs, [spec.name for spec in specs])
    return {
        spec.index: _sqnr_db(array, spec.decode(spec.encode(array)))
        for spec, array in zip(specs, arrays, strict=True)
    }


def _sqnr_db(exact: np.ndarray, held: np.ndarray) -> float:
    """Signal to quantization noise in decibels."""
    exact = exact.astype(np.float64)
    signal, error = np.square(exact).sum(), np.square(exact - held).sum()
    return float(min(_BEST_DB, 10 * np.log10(max(signal, 1e-30) / max(error, 1e-30))))


def _compared(
    match: Any, layer: str, exact: np.ndarray, held: np.ndarray, best_db: float
) -> LayerError:
    """The errors of one layer."""
    held = held.reshape(exact.shape).astype(np.float64)
    exact, rescaled = _on_scales_of(held, exact.astype(np.float64))
    signal, error = np.square(exact).sum(), np.square(exact - held).sum()
    sqnr = _sqnr_db(exact, held)
    norms = np.sqrt(signal * np.square(held).sum())
    low, high = match.tensor.range
    step = (high - low) / 255
    peaks = np.abs(exact).max(axis=tuple(range(exact.ndim - 1)))
    middle = float(np.median(peaks[peaks > 0])) if (peaks > 0).any() else 0.0
    return LayerError(
        layer=layer,
        fused=match.fused,
        kind=match.kind,
        op=match.op,
        dtype=match.tensor.dtype,
        sqnr_db=sqnr,
        lost_db=max(0.0, best_db - sqnr),
        cosine=float((exact * held).sum() / norms) if norms else float(error == 0),
        mse=float(error / exact.size),
        range_use=float(min(1.0, np.ptp(exact) / (high - low))) if high > low else 1.0,
        saturation=float(((exact < low - step) | (exact > high + step)).mean()),
        unevenness=float(peaks.max() / middle) if middle else 1.0,
        rescaled=rescaled,
    )


def _on_scales_of(held: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, bool]:
    """The float outputs with the channels' scales of the file, and whether these are others.

    A channel that is lost to rounding fits no scale, so that its error stays.
    """
    axes = tuple(range(exact.ndim - 1))
    energy = np.square(exact).sum(axis=axes)
    products = (exact * held).sum(axis=axes)
    scales = np.divide(products, energy, out=np.ones_like(energy), where=products > 0)
    scaled = exact * scales
    if _sqnr_db(scaled, held) < _sqnr_db(exact, held) + _RESCALED_DB:
        return exact, False
    return scaled, True
