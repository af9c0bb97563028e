"""A traced model as the file of its target: one exporter's, or a mix of what it makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tfopt.target import Target
from tfopt.tflite import converter, int4, litert, mixed, sparse
from tfopt.tflite.compact import compact
from tfopt.tflite.complaints import explained
from tfopt.tflite.finishing import finish
from tfopt.tflite.inspect import inspect
from tfopt.tflite.inspection import Op
from tfopt.tflite.keeping import belongs, no_op
from tfopt.tflite.tracing import Traced


def export(
    traced: Traced, target: Target, samples: Sequence[np.ndarray]
) -> tuple[bytes, tuple[Warning, ...]]:
    """Converts a traced model.

    Exporters write 8-bit weights and activations of one width; layers with 16-bit activations,
    4-bit weights, and how numbers are stored come afterwards: the same whatever the exporter.

    Args:
        traced: The model's inference.
        target: The numerics, types and exporter.
        samples: Calibration data where the target needs it.

    Returns:
        The file's content; and what to warn of.

    Raises:
        ConversionError: The exporter fails, or a layer has no op for 16-bit activations.
        SettingError: A layer that is to be kept has no op in the file.
    """
    plain = dataclasses.replace(
        target, keep_int16=(), keep_int8=(), compact=False, sparse_encoding=False
    )
    if target.numerics == "int4_weights":
        plain = dataclasses.replace(plain, numerics="int8")
    content = _exported(traced, plain, samples)
    if target.keep_int16:
        wide = _exported(traced, _widened(plain), samples)
        content = mixed.spliced(content, wide, chosen=_of("keep_int16", target, traced, content))
    if target.numerics == "int4_weights":
        content = int4.pack_weights(content, keep=_of("keep_int8", target, traced, content))
    if target.compact:
        content = compact(content)
    return _sparse(content) if target.sparse_encoding else (content, ())


def _sparse(content: bytes) -> tuple[bytes, tuple[Warning, ...]]:
    """The file with its kernels stored sparse, as far as that makes it smaller."""
    encoded, selection = sparse.encode(content)
    if selection.touched:
        return encoded, ()
    reasons = "; ".join(f"{skip.layer}: {skip.reason}" for skip in selection.skipped)
    told = sparse.SparseEncodingWarning(
        f"sparse_encoding makes no kernel of the file smaller ({reasons}): the file stays as it "
        "is. Of a convolution, about 60 % have to be zero."
    )
    return encoded, (told,)


def _widened(target: Target) -> Target:
    """The same target with 16-bit activations."""
    return dataclasses.replace(
        target,
        numerics="int16x8",
        input_type="float32" if target.input_type == "float32" else "int16",
        output_type="float32" if target.output_type == "float32" else "int16",
        keep_float=(),
    )


def _exported(traced: Traced, target: Target, samples: Sequence[np.ndarray]) -> bytes:
    """The finished file of the target's exporter."""
    if target.exporter == "litert" and target.numerics != "float32":
        plain = dataclasses.replace(
            target, numerics="float32", input_type="float32", output_type="float32", keep_float=()
        )
        content = litert.quantized(_converted(traced, plain, ()), target, samples, traced.layers)
        return finish(content, scopes={}, inputs=traced.inputs, outputs=traced.outputs)
    return _converted(traced, target, samples)


def _converted(traced: Traced, target: Target, samples: Sequence[np.ndarray]) -> bytes:
    """The finished file of TensorFlow's converter."""
    try:
        content = converter.run(traced, target, samples if target.needs_calibration else None)
    except converter.ConverterFailure as error:
        raise explained(error, traced, target) from error
    return finish(content, scopes=traced.names, inputs=traced.inputs, outputs=traced.outputs)


def _of(field: str, target: Target, traced: Traced, tflite: bytes) -> Callable[[Op], bool]:
    """Tells the ops of the layers that a field of the target names, of which each has one."""
    names: tuple[str, ...] = getattr(target, field)
    ops = inspect(tflite).ops
    for name in names:
        if not any(belongs(op, (name,), traced.layers) for op in ops):
            raise no_op(field, name)
    return lambda op: belongs(op, names, traced.layers)
