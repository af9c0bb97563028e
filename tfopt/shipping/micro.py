"""What TensorFlow Lite Micro needs beside a file: the ops to register, and an arena."""

from __future__ import annotations

import math

from tfopt.errors import ConversionError
from tfopt.tflite.inspection import Inspection

# What `MicroMutableOpResolver` calls each op: there is no rule to it.
_METHODS = {
    "ABS": "AddAbs", "ADD": "AddAdd", "ADD_N": "AddAddN", "ARG_MAX": "AddArgMax",
    "ARG_MIN": "AddArgMin", "ASSIGN_VARIABLE": "AddAssignVariable",
    "AVERAGE_POOL_2D": "AddAveragePool2D", "BATCH_MATMUL": "AddBatchMatMul",
    "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd", "BROADCAST_ARGS": "AddBroadcastArgs",
    "BROADCAST_TO": "AddBroadcastTo", "CALL_ONCE": "AddCallOnce", "CAST": "AddCast",
    "CEIL": "AddCeil", "CONCATENATION": "AddConcatenation", "CONV_2D": "AddConv2D",
    "COS": "AddCos", "CUMSUM": "AddCumSum", "DEPTH_TO_SPACE": "AddDepthToSpace",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D", "DEQUANTIZE": "AddDequantize", "DIV": "AddDiv",
    "ELU": "AddElu", "EQUAL": "AddEqual", "EXP": "AddExp", "EXPAND_DIMS": "AddExpandDims",
    "FILL": "AddFill", "FLOOR": "AddFloor", "FLOOR_DIV": "AddFloorDiv", "FLOOR_MOD": "AddFloorMod",
    "FULLY_CONNECTED": "AddFullyConnected", "GATHER": "AddGather", "GATHER_ND": "AddGatherNd",
    "GREATER": "AddGreater", "GREATER_EQUAL": "AddGreaterEqual", "HARD_SWISH": "AddHardSwish",
    "IF": "AddIf", "L2_NORMALIZATION": "AddL2Normalization", "L2_POOL_2D": "AddL2Pool2D",
    "LEAKY_RELU": "AddLeakyRelu", "LESS": "AddLess", "LESS_EQUAL": "AddLessEqual", "LOG": "AddLog",
    "LOGICAL_AND": "AddLogicalAnd", "LOGICAL_NOT": "AddLogicalNot", "LOGICAL_OR": "AddLogicalOr",
    "LOGISTIC": "AddLogistic", "MAX_POOL_2D": "AddMaxPool2D", "MAXIMUM": "AddMaximum",
    "MEAN": "AddMean", "MINIMUM": "AddMinimum", "MIRROR_PAD": "AddMirrorPad", "MUL": "AddMul",
    "NEG": "AddNeg", "NOT_EQUAL": "AddNotEqual", "PACK": "AddPack", "PAD": "AddPad",
    "PADV2": "AddPadV2", "PRELU": "AddPrelu", "QUANTIZE": "AddQuantize",
    "READ_VARIABLE": "AddReadVariable", "REDUCE_MAX": "AddReduceMax", "RELU": "AddRelu",
    "RELU6": "AddRelu6", "RESHAPE": "AddReshape", "RESIZE_BILINEAR": "AddResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor", "ROUND": "AddRound",
    "RSQRT": "AddRsqrt", "SELECT_V2": "AddSelectV2", "SHAPE": "AddShape", "SIN": "AddSin",
    "SLICE": "AddSlice", "SOFTMAX": "AddSoftmax", "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd",
    "SPACE_TO_DEPTH": "AddSpaceToDepth", "SPLIT": "AddSplit", "SPLIT_V": "AddSplitV",
    "SQRT": "AddSqrt", "SQUARE": "AddSquare", "SQUARED_DIFFERENCE": "AddSquaredDifference",
    "SQUEEZE": "AddSqueeze", "STRIDED_SLICE": "AddStridedSlice", "SUB": "AddSub", "SUM": "AddSum",
    "SVDF": "AddSvdf", "TANH": "AddTanh", "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM", "UNPACK": "AddUnpack",
    "VAR_HANDLE": "AddVarHandle", "WHILE": "AddWhile", "ZEROS_LIKE": "AddZerosLike",
}  # fmt: skip

_KIB = 1024
_BASE, _PER_OP, _PER_TENSOR = 2 * _KIB, 256, 64  # of the interpreter's own records, generously
_BYTES_IN_A_LINE = 12


def resolver_methods(inspection: Inspection) -> tuple[str, ...]:
    """Returns the methods that register exactly a file's ops, sorted.

    Args:
        inspection: What the file holds.

    Raises:
        ConversionError: TensorFlow Lite Micro has no kernel for an op, or for its weights.

    References:
        tensorflow/lite/micro/micro_mutable_op_resolver.h in the sources of TensorFlow Lite Micro.
    """
    names = sorted({op.name for op in inspection.ops})
    missing = [name for name in names if name not in _METHODS]
    if missing:
        raise ConversionError(
            received=f"a file with {', '.join(missing)}",
            expected="ops that TensorFlow Lite Micro has kernels for",
            fix="replace the layers that tfopt.inspect names for them, or ship for a phone",
        )
    packed = sorted({op.name for op in inspection.ops if op.weight_bits == 4})
    if packed:
        raise ConversionError(
            received=f"4-bit weights of {', '.join(packed)}",
            expected="8-bit weights: TensorFlow Lite Micro's kernels refuse others, or some do",
            fix="make the result for Target.int8(), or ship for a phone",
        )
    return tuple(_METHODS[name] for name in names)


def arena_suggestion(inspection: Inspection) -> int:
    """Returns the bytes of an arena to begin with: activations, and room for what comes on top.

    The activations are known from the file. The interpreter's own records and the kernels' scratch
    memory depend on the version and the device: `arena_used_bytes()` tells there.

    Args:
        inspection: What the file holds.
    """
    records = _BASE + _PER_OP * len(inspection.ops) + _PER_TENSOR * len(inspection.tensors)
    return _KIB * math.ceil((1.1 * inspection.arena_bytes + records) / _KIB)


def c_array(content: bytes) -> str:
    """Returns bytes as the inside of a C array.

    Example:
        >>> c_array(b"TFL3")
        '  0x54, 0x46, 0x4c, 0x33,'
    """
    numbers = [f"0x{byte:02x}," for byte in content]
    lines = [
        " ".join(numbers[start : start + _BYTES_IN_A_LINE])
        for start in range(0, len(numbers), _BYTES_IN_A_LINE)
    ]
    return "\n".join(f"  {line}" for line in lines)
