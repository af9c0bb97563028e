"""Which ops of a `.tflite` run on 4-bit weights, and why others do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfopt.tflite.inspection import Op

# The version of each op that knows 4-bit weights with 8-bit activations. For DEPTHWISE_CONV_2D that
# is 7; but the reference kernels, which run it too, are registered up to 6 only.
VERSIONS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 10}


def obstacle(op: Op) -> str | None:
    """Says why an op cannot have 4-bit weights; None if it can.

    Args:
        op: An op that has a kernel.

    References:
        `GetBuiltinOperatorVersion` in tflite/tools/versioning/op_version.cc of LiteRT's sources.
    """
    if op.name not in VERSIONS:
        return "no interpreter has a kernel of it for 4-bit weights"
    if op.inputs[0].dtype != "int8" or op.inputs[0].constant:
        return f"its activations are {op.inputs[0].dtype}, and must be int8"
    if len(op.kernels) != 1 or op.kernels[0] not in op.inputs:
        return "its weights are not constants that it reads itself"
    if op.kernels[0].dtype not in ("int8", "int4"):
        return f"its weights are {op.kernels[0].dtype}, and must be int8"
    if not all(tensor.constant for tensor in op.inputs[1:]):
        return "its bias is not a constant"
    return None


def kept(ops: Sequence[Op]) -> list[tuple[Op, str]]:
    """Returns the ops whose weights do not have 4 bits, each with the reason.

    Args:
        ops: All ops of a file.
    """
    wider = [op for op in ops if op.kernels and op.weight_bits != 4]
    return [(op, obstacle(op) or _sharing(op, ops) or "kept, as was asked for") for op in wider]


def able(ops: Sequence[Op]) -> list[Op]:
    """Returns the ops that can have 4-bit weights, as all that read the same ones can."""
    return [op for op in ops if op.kernels and not obstacle(op) and not _sharing(op, ops)]


def _sharing(op: Op, ops: Sequence[Op]) -> str | None:
    """Says that an op's weights are also read by one that cannot; None if not."""
    for other in ops:
        reads = other.subgraph == op.subgraph and op.kernels[0] in other.inputs
        if reads and (op.kernels != other.kernels or obstacle(other)):
            return f"{other.name} reads the same weights, and cannot: {obstacle(other)}"
    return None
