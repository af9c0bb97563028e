"""What a `.tflite` holds: its ops and tensors, what it costs, and whether it computes in float."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import zlib
from collections import Counter
from typing import Any

import numpy as np

from tfopt.tables import text_table
from tfopt.tflite import four_bit_ops
from tfopt.tflite.kernels import Kernels

_FLOATS = ("float", "bfloat", "complex")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    Args:
        index: Its number in its subgraph.
        name: Its name, which tells the Keras layer as a rule.
        shape: Its axes; one that the file leaves open is -1.
        dtype: Its data type, such as `"int8"`.
        constant: Whether its values are in the file.
        scales: The size of one integer step in real numbers: one, or one for each channel. Empty
            if the tensor is not quantized.
        zero_points: The integers that stand for 0.0.
        quantized_dimension: The axis of the channels.
        subgraph: The number of its subgraph; 0 is the model, others are bodies of loops and such.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    subgraph: int = 0

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.startswith(_FLOATS)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest real numbers that it can hold, if its channels share a scale."""
        if not self.scales:
            return -math.inf, math.inf
        limits, scale, zero = np.iinfo(self.dtype), self.scales[0], self.zero_points[0]
        return float((limits.min - zero) * scale), float((limits.max - zero) * scale)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Returns the real numbers that stored values stand for, if its channels share a scale.

        Args:
            values: As the interpreter gives them.

        Example:
            >>> tensor = Tensor(0, "x", (2,), "int8", False, scales=(0.5,), zero_points=(-128,))
            >>> tensor.decode(np.array([-128, 127], np.int8)), tensor.range
            (array([  0. , 127.5], dtype=float32), (0.0, 127.5))
        """
        real = values.astype(np.float32)
        if not self.scales:
            return real
        return (real - self.zero_points[0]) * np.float32(self.scales[0])

    def __str__(self) -> str:
        return f"{self.name or 'a tensor without a name'} ({self.dtype} {list(self.shape)})"


@dataclasses.dataclass(frozen=True)
class Op:
    """An op of a file.

    Args:
        index: Its place in its subgraph, in the order of execution.
        subgraph: The number of its subgraph.
        name: What it is, such as `"CONV_2D"`; a custom op's own name.
        inputs: The tensors it reads.
        outputs: The tensors it writes.
        macs: Multiply-accumulate operations of one run.
        layer: The Keras layer it comes from, guessed from the names of its tensors.
        kernels: The constants its weights are stored in.
        origins: Names of tensors at it and around it, those that tell most about its layer first.
    """

    index: int
    subgraph: int
    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    macs: int
    layer: str | None
    kernels: tuple[Tensor, ...] = ()
    origins: tuple[str, ...] = dataclasses.field(repr=False, default=())

    @property
    def weight_bits(self) -> int | None:
        """Bits of a weight in its kernel as stored; None if it has none."""
        bits = [int(re.sub(r"\D", "", kernel.dtype.split("_")[0])) for kernel in self.kernels]
        return max(bits, default=None)

    @property
    def dtypes(self) -> str:
        """The types of its first input and output, such as `"int8"` or `"float32 to int8"`."""
        ends = [tensor.dtype for tensor in (*self.inputs[:1], *self.outputs[:1])]
        return " to ".join(dict.fromkeys(ends))

    def __str__(self) -> str:
        layer = f" of layer {self.layer!r}" if self.layer else ""
        reads = ", ".join(str(tensor) for tensor in self.inputs if not tensor.constant)
        writes = ", ".join(map(str, self.outputs))
        return f"{self.name}{layer}, which reads {reads or 'nothing'} and writes {writes}"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way to call a file.

    Args:
        key: Its name, such as `"serving_default"`.
        inputs: The names of its inputs.
        outputs: The names of its outputs.
    """

    key: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a `.tflite` holds.

    Args:
        ops: All ops, of all subgraphs.
        tensors: All tensors, of all subgraphs.
        inputs: The model's inputs.
        outputs: The model's outputs.
        signatures: The ways to call it.
        parameters: Weights and biases: elements of its constants in floating point or quantized.
        macs: Multiply-accumulate operations of one run; the body of a loop counts once.
        bytes: Size of the file.
        arena_bytes: Memory that the activations take at once, at least: the largest sum of tensors
            that are alive at one op.
    """

    ops: tuple[Op, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    signatures: tuple[Signature, ...]
    parameters: int
    macs: int
    bytes: int
    arena_bytes: int
    _kernels: Kernels = dataclasses.field(repr=False, compare=False)

    @functools.cached_property
    def float_ops(self) -> tuple[Op, ...]:
        """The ops that read or write floating point.

        But for a QUANTIZE that reads an input of the model and a DEQUANTIZE that writes one of its
        outputs: a file may take and give real numbers and still compute in integers.
        """
        return tuple(op for op in self.ops if self._computes_in_float(op))

    @property
    def integer_only(self) -> bool:
        """Whether no op computes in floating point."""
        return not self.float_ops

    @functools.cached_property
    def sparsity(self) -> float:
        """Share of the weights in kernels that are zero (stored as the zero point), 0 to 1."""
        return self._kernels.sparsity()

    @functools.cached_property
    def unique_weights(self) -> int:
        """Largest number of distinct stored values among weights that share a scale.

        In a kernel quantized per channel that is a channel, else the whole kernel.
        """
        return self._kernels.unique_weights()

    @functools.cached_property
    def deflated_bytes(self) -> int:
        """Size of the file compressed, as an app's package stores it."""
        return len(zlib.compress(self._kernels.content, 9))

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures and the ops as JSON values."""
        return {
            "bytes": self.bytes,
            "deflated_bytes": self.deflated_bytes,
            "arena_bytes": self.arena_bytes,
            "parameters": self.parameters,
            "macs": self.macs,
            "sparsity": self.sparsity,
            "unique_weights": self.unique_weights,
            "integer_only": self.integer_only,
            "inputs": [dataclasses.asdict(tensor) for tensor in self.inputs],
            "outputs": [dataclasses.asdict(tensor) for tensor in self.outputs],
            "signatures": [dataclasses.asdict(signature) for signature in self.signatures],
            "ops": [_op_to_dict(op) for op in self.ops],
            "float_ops": [[op.subgraph, op.index] for op in self.float_ops],
        }

    def __str__(self) -> str:
        counts = Counter((op.name, op.dtypes) for op in self.ops)
        macs_of = Counter[tuple[str, str]]()
        for op in self.ops:
            macs_of[op.name, op.dtypes] += op.macs
        rows = [[*kind, str(number), f"{macs_of[kind]:,}"] for kind, number in counts.items()]
        lines = [
            text_table(["op", "types", "count", "MACs"], rows),
            "",
            f"inputs      {'; '.join(map(str, self.inputs))}",
            f"outputs     {'; '.join(map(str, self.outputs))}",
            f"size        {self.bytes:,} bytes, {self.deflated_bytes:,} deflated",
            f"arena       {self.arena_bytes:,} bytes of activations at once",
            f"parameters  {self.parameters:,}, {self.sparsity:.1%} zero, "
            f"at most {self.unique_weights:,} distinct where they share a scale",
            f"MACs        {self.macs:,}",
            *self._weights(),
            f"arithmetic  {self._arithmetic()}",
        ]
        islands = self.float_ops if lines[-1].endswith(":") else ()
        return "\n".join([*lines, *(f"            - {op}" for op in islands)])

    def _weights(self) -> list[str]:
        """Says which weights have 8 bits in a file that has others of 4, and why."""
        bits = Counter(op.weight_bits for op in self.ops if op.weight_bits)
        if 4 not in bits:
            return []
        wider = sorted(set(bits) - {4})
        counts = [f"{size} bits in {bits[size]} op(s)" for size in (4, *wider)]
        kept = [
            f"            - {op.name}"
            + (f" of layer {op.layer!r}" if op.layer else "")
            + f": {why}"
            for op, why in four_bit_ops.kept(self.ops)
        ]
        return [f"weights     {', '.join(counts)}" + ":" * bool(kept), *kept]

    def _arithmetic(self) -> str:
        if self.integer_only:
            return "integer only"
        if not any(tensor.scales and not tensor.constant for tensor in self.tensors):
            return "floating point"
        return f"{len(self.float_ops)} of {len(self.ops)} ops in floating point:"

    def _computes_in_float(self, op: Op) -> bool:
        if op.name == "QUANTIZE" and all(tensor in self.inputs for tensor in op.inputs):
            return any(tensor.is_float for tensor in op.outputs)
        if op.name == "DEQUANTIZE" and all(tensor in self.outputs for tensor in op.outputs):
            return any(tensor.is_float for tensor in op.inputs)
        return any(tensor.is_float for tensor in (*op.inputs, *op.outputs))


def _op_to_dict(op: Op) -> dict[str, Any]:
    return {
        "index": op.index,
        "subgraph": op.subgraph,
        "name": op.name,
        "layer": op.layer,
        "weight_bits": op.weight_bits,
        "macs": op.macs,
        "inputs": [dataclasses.asdict(tensor) for tensor in op.inputs],
        "outputs": [dataclasses.asdict(tensor) for tensor in op.outputs],
    }
