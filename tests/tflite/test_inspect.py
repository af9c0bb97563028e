"""What a file holds: read from hand-made flatbuffers, whose figures are known, and real ones."""

import json
import math
import time

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as fb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import tfopt
from tfopt.errors import InterpreterError
from tfopt.tflite import schema
from tfopt.tflite.inspect import Op, inspect, layer_of


def tensor(name, shape, dtype="int8", data=None, scales=(), zeros=(), axis=0, sparsity=None):
    """A tensor of a hand-made file; `data` makes it a constant."""
    quantization = None
    if scales:
        quantization = fb.QuantizationParametersT(
            scale=np.asarray(scales, np.float32),
            zeroPoint=np.asarray(zeros or [0] * len(scales), np.int64),
            quantizedDimension=axis,
        )
    made = fb.TensorT(
        name=name.encode(),
        shape=np.maximum(np.asarray(shape, np.int32), 1),
        shapeSignature=np.asarray(shape, np.int32) if -1 in shape else None,
        type=getattr(fb.TensorType, dtype.upper()),
        quantization=quantization,
        sparsity=sparsity,
    )
    made.bytes = None if data is None else np.frombuffer(np.ascontiguousarray(data), np.uint8)
    return made


def file(tensors, ops, inputs, outputs, description=None):
    """A file of one subgraph; an op is (name or custom name, inputs, outputs, options)."""
    buffers = [fb.BufferT()]
    for made in tensors:
        made.buffer = len(buffers) if made.bytes is not None else 0
        if made.bytes is not None:
            buffers.append(fb.BufferT(data=made.bytes))
    codes, operators = [], []
    for index, (name, reads, writes, *options) in enumerate(ops):
        builtin = getattr(fb.BuiltinOperator, name, fb.BuiltinOperator.CUSTOM)
        custom = name.encode() if builtin == fb.BuiltinOperator.CUSTOM else None
        codes.append(
            fb.OperatorCodeT(
                builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127), customCode=custom
            )
        )
        operators.append(
            fb.OperatorT(
                opcodeIndex=index, inputs=np.int32(reads), outputs=np.int32(writes),
                builtinOptions=options[0] if options else None,
                builtinOptionsType=options[1] if options else 0,
            )
        )  # fmt: skip
    graph = fb.SubGraphT(
        tensors=tensors, inputs=np.int32(inputs), outputs=np.int32(outputs), operators=operators
    )
    model = fb.ModelT(
        version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers, description=description
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def convolution(kernel, scales=(1.0,), zeros=(), dtype="int8", **settings):
    """A file with one CONV_2D of a given kernel."""
    return file(
        [
            tensor("image", (-1, 6, 6, kernel.shape[-1]), scales=(0.5,), zeros=(3,)),
            tensor("net/conv/Conv2D", kernel.shape, dtype, kernel, scales, zeros, **settings),
            tensor("net/relu/Relu;net/conv/Conv2D1", (-1, 6, 6, len(kernel)), scales=(0.1,)),
        ],
        [("CONV_2D", [0, 1, -1], [2])],
        [0],
        [2],
    )


KERNEL = np.arange(-18, 18, dtype=np.int8).reshape(2, 3, 3, 2)


def test_reads_ops_and_tensors():
    found = inspect(convolution(KERNEL))
    (op,) = found.ops
    assert (op.name, op.index, op.subgraph, op.layer) == ("CONV_2D", 0, 0, "conv")
    assert [tensor.name for tensor in op.inputs] == ["image", "net/conv/Conv2D"]
    assert [tensor.constant for tensor in op.inputs] == [False, True]
    image, output = found.inputs[0], found.outputs[0]
    assert (image.shape, image.dtype, image.scales, image.zero_points) == (
        (-1, 6, 6, 2), "int8", (0.5,), (3,),
    )  # fmt: skip
    assert output is op.outputs[0]
    assert found.macs == op.macs == 6 * 6 * 2 * 3 * 3 * 2
    assert found.parameters == 36
    assert found.integer_only


def test_reads_a_path_and_custom_and_unknown_ops(tmp_path):
    content = file(
        [tensor("a", (1, 4)), tensor("b", (1, 4))], [("MyOp", [0], [1])], inputs=[0], outputs=[1]
    )
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    assert [op.name for op in inspect(path).ops] == ["MyOp"]
    assert inspect(str(path)).bytes == len(content)
    code = fb.OperatorCodeT(builtinCode=9999, deprecatedBuiltinCode=127)
    assert schema.op_name(code) == "UNKNOWN_9999"


@pytest.mark.parametrize(
    ("op", "inputs", "output", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (16, 3, 3, 4)], (1, 4, 4, 16), 4 * 4 * 16 * 9 * 4),
        ("CONV_2D", [(1, 8, 8, 4), (16, 3, 3, 2)], (1, 4, 4, 16), 4 * 4 * 16 * 9 * 2),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 8)], (1, 8, 8, 8), 8 * 8 * 8 * 9),
        ("FULLY_CONNECTED", [(1, 12), (5, 12)], (1, 5), 60),
        ("FULLY_CONNECTED", [(1, 7, 12), (5, 12)], (1, 7, 5), 7 * 60),
        ("TRANSPOSE_CONV", [(4,), (6, 3, 3, 2), (1, 5, 5, 2)], (1, 11, 11, 6), 5 * 5 * 2 * 9 * 6),
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5)], (1, 2, 2, 2, 5), 8 * 5 * 27 * 2),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 2 * 3 * 5 * 4),
        ("RNN", [(1, 4), (5, 4), (5, 5), (5,), (1, 5)], (1, 5), 4 * 5 + 5 * 5),
        ("SVDF", [(1, 4), (6, 4), (6, 8)], (1, 3), 24 + 48),
        ("ADD", [(1, 8), (8,)], (1, 8), 0),
    ],
)
def test_counts_macs(op, inputs, output, expected):
    reads = [
        tensor(f"input_{i}", shape, data=np.zeros(shape, np.int8) if i == 1 else None)
        for i, shape in enumerate(inputs)
    ]
    content = file(
        [*reads, tensor("out", output)], [(op, [*range(len(reads))], [len(reads)])], [0],
        [len(reads)],
    )  # fmt: skip
    assert inspect(content).macs == expected


def test_counts_macs_of_a_transposed_left_operand_and_of_a_sequence():
    options = fb.BatchMatMulOptionsT(adjX=True), fb.BuiltinOptions.BatchMatMulOptions
    content = file(
        [tensor("a", (2, 4, 3)), tensor("b", (2, 4, 5)), tensor("c", (2, 3, 5))],
        [("BATCH_MATMUL", [0, 1], [2], *options)], [0, 1], [2],
    )  # fmt: skip
    assert inspect(content).macs == 2 * 3 * 5 * 4
    weights = [tensor(f"w{i}", (5, 4), data=np.zeros((5, 4))) for i in range(4)]
    recurrent = [tensor(f"r{i}", (5, 5), data=np.zeros((5, 5))) for i in range(4)]
    content = file(
        [tensor("x", (1, 7, 4)), *weights, *recurrent, tensor("y", (1, 7, 5))],
        [("UNIDIRECTIONAL_SEQUENCE_LSTM", [*range(9)], [9])], [0], [9],
    )  # fmt: skip
    assert inspect(content).macs == 7 * 4 * (5 * 4 + 5 * 5)


def test_parameters_are_learned_numbers_stored_once():
    weights = tensor("w", (3, 4), data=np.arange(12, dtype=np.int8), scales=(1.0,))
    twin = tensor("w_again", (3, 4), scales=(1.0,))
    twin.bytes = None
    bias = tensor("b", (3,), "int32", np.arange(3, dtype=np.int32), scales=(1.0,))
    axis = tensor("axis", (1,), "int32", np.int32([1]))
    factor = tensor("factor", (1,), "float32", np.float32([2.0]))
    content = file(
        [tensor("x", (1, 4)), weights, bias, axis, factor, tensor("y", (1, 3))],
        [("FULLY_CONNECTED", [0, 1, 2], [5])],
        [0],
        [5],
    )
    assert inspect(content).parameters == 12 + 3 + 1


def test_zero_is_the_zero_point():
    kernel = KERNEL.copy()
    kernel[0] = 5
    assert inspect(convolution(kernel, zeros=(5,))).sparsity == pytest.approx(19 / 36)
    assert inspect(convolution(kernel, scales=(1.0, 2.0), zeros=(5, 17))).sparsity == pytest.approx(
        19 / 36
    )
    floats = np.float32(kernel).copy()
    floats[1] = 0
    assert inspect(convolution(floats, (), dtype="float32")).sparsity == pytest.approx(0.5)


def test_a_file_without_kernels_has_no_sparsity():
    content = file([tensor("a", (1, 4)), tensor("b", (1, 4))], [("RELU", [0], [1])], [0], [1])
    found = inspect(content)
    assert (found.sparsity, found.unique_weights, found.parameters, found.macs) == (0.0, 0, 0, 0)


@settings(max_examples=30, deadline=None)
@given(
    kernel=st_numpy.arrays(
        np.int8,
        st_numpy.array_shapes(min_dims=4, max_dims=4, max_side=5),
        elements=st.integers(-9, 9),
    ),
    axis=st.integers(0, 3),
    per_channel=st.booleans(),
    data=st.data(),
)
def test_sparsity_and_distinct_values_are_those_of_the_kernel(kernel, axis, per_channel, data):
    channels = kernel.shape[axis] if per_channel else 1
    zeros = data.draw(st.lists(st.integers(-9, 9), min_size=channels, max_size=channels))
    found = inspect(convolution(kernel, [1.0] * channels, zeros, axis=axis))
    groups = np.moveaxis(kernel, axis, 0) if channels > 1 else kernel[np.newaxis]
    assert found.unique_weights == max(len(set(group.ravel().tolist())) for group in groups)
    zero = sum((group == zero).sum() for group, zero in zip(groups, zeros, strict=True))
    assert found.sparsity == pytest.approx(zero / kernel.size)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "packed"),
    [("int4", -8, 7, lambda v: (v[::2] & 15) | (v[1::2] << 4)),
     ("uint4", 0, 15, lambda v: (v[::2] & 15) | (v[1::2] << 4)),
     ("int2", -2, 1, lambda v: (v[::4] & 3) | (v[1::4] & 3) << 2 | (v[2::4] & 3) << 4
      | v[3::4] << 6)],
)  # fmt: skip
def test_decodes_packed_weights(dtype, low, high, packed):
    values = np.random.default_rng(0).integers(low, high + 1, 35)
    padded = np.append(values, [0])
    content = convolution_of_bytes(packed(padded).astype(np.uint8), (5, 1, 1, 7), dtype)
    found = inspect(content)
    assert found.unique_weights == len(set(values.tolist()))
    assert found.sparsity == pytest.approx((values == 0).mean())
    assert found.parameters == 35


def convolution_of_bytes(stored, shape, dtype, **settings):
    return file(
        [
            tensor("x", (1, 6, 6, shape[-1])),
            tensor("w", shape, dtype, stored, scales=(1.0,), **settings),
            tensor("y", (1, 6, 6, shape[0])),
        ],
        [("CONV_2D", [0, 1, -1], [2])],
        [0],
        [2],
    )


def sparse(matrix, block):
    """A matrix stored as rows of blocks, those without a weight left out; and how it is stored."""
    rows, columns = matrix.shape
    segments, indices, stored = [0], [], []
    for row in range(rows):
        for column in range(0, columns, block):
            if matrix[row, column : column + block].any():
                indices.append(column // block)
                stored.append(matrix[row, column : column + block])
        segments.append(len(indices))
    meta = [
        fb.DimensionMetadataT(format=fb.DimensionType.DENSE, denseSize=rows),
        fb.DimensionMetadataT(
            format=fb.DimensionType.SPARSE_CSR,
            arraySegmentsType=fb.SparseIndexVector.Int32Vector,
            arraySegments=fb.Int32VectorT(values=np.int32(segments)),
            arrayIndicesType=fb.SparseIndexVector.Int32Vector,
            arrayIndices=fb.Int32VectorT(values=np.int32(indices)),
        ),
    ]
    order, blocks = [0, 1], None
    if block > 1:
        meta.append(fb.DimensionMetadataT(format=fb.DimensionType.DENSE, denseSize=block))
        order, blocks = [0, 1, 2], np.int32([1])
    parameters = fb.SparsityParametersT(
        traversalOrder=np.int32(order), blockMap=blocks, dimMetadata=meta
    )
    return np.concatenate([np.empty(0, np.int8), *stored]).astype(np.int8), parameters


@settings(max_examples=30, deadline=None)
@given(
    matrix=st_numpy.arrays(
        np.int8,
        st.tuples(st.integers(1, 5), st.sampled_from([4, 8])),
        elements=st.sampled_from([0, 0, 0, 1, -3]),
    ),
    block=st.sampled_from([1, 2, 4]),
)
def test_decodes_sparse_weights(matrix, block):
    stored, parameters = sparse(matrix, block)
    made = tensor("w", matrix.shape, data=stored, scales=(1.0,), sparsity=parameters)
    assert np.array_equal(schema.values(stored, made), matrix)
    if matrix.any():
        content = file(
            [tensor("x", (1, matrix.shape[1])), made, tensor("y", (1, matrix.shape[0]))],
            [("FULLY_CONNECTED", [0, 1, -1], [2])],
            [0],
            [2],
        )
        assert inspect(content).sparsity == pytest.approx((matrix == 0).mean())
        assert inspect(content).unique_weights == len(np.unique(matrix))


def test_says_which_kernel_it_cannot_decode():
    found = inspect(convolution_of_bytes(np.zeros(10, np.uint8), (5, 1, 1, 7), "int8"))
    with pytest.raises(InterpreterError, match=r"kernel 'w' of int8 \[5, 1, 1, 7\] in 10 bytes"):
        found.sparsity  # noqa: B018 - reading it is what is tested


def test_sees_through_16_bit_weights():
    kernel = np.float16([[1, 0, 2, 0]])
    content = file(
        [
            tensor("x", (1, 4), "float32"),
            tensor("w16", (1, 4), "float16", kernel),
            tensor("w", (1, 4), "float32"),
            tensor("y", (1, 1), "float32"),
        ],
        [("DEQUANTIZE", [1], [2]), ("FULLY_CONNECTED", [0, 2, -1], [3])],
        [0],
        [3],
    )
    found = inspect(content)
    assert (found.sparsity, found.unique_weights, found.parameters) == (0.5, 3, 4)


def quantized_chain(first, last):
    """input -> QUANTIZE -> RELU -> DEQUANTIZE -> output, of given types at both ends."""
    return [
        tensor("x", (1, 4), first),
        tensor("q", (1, 4)),
        tensor("r", (1, 4)),
        tensor("y", (1, 4), last),
    ]


def test_float_at_the_ends_is_no_float_op():
    ops = [("QUANTIZE", [0], [1]), ("RELU", [1], [2]), ("DEQUANTIZE", [2], [3])]
    assert inspect(file(quantized_chain("float32", "float32"), ops, [0], [3])).integer_only
    assert inspect(file(quantized_chain("uint8", "int8"), ops, [0], [3])).integer_only


def test_float_in_the_middle_is():
    tensors = [
        *quantized_chain("int8", "float32"),
        tensor("s", (1, 4), "float32"),
        tensor("z", (1, 4)),
    ]
    ops = [("RELU", [0], [2]), ("DEQUANTIZE", [2], [3]), ("SIN", [3], [4]), ("QUANTIZE", [4], [5])]
    found = inspect(file(tensors, ops, [0], [5]))
    assert [op.name for op in found.float_ops] == ["DEQUANTIZE", "SIN", "QUANTIZE"]
    assert not found.integer_only
    assert "reads y (float32 [1, 4]) and writes s (float32 [1, 4])" in str(found.float_ops[1])
    # an output that another op reads, too, is not only an output
    found = inspect(file(tensors, ops, [0], [3, 5]))
    assert [op.name for op in found.float_ops] == ["SIN", "QUANTIZE"]


def test_integers_that_are_no_activations_are_no_float_ops():
    content = file(
        [tensor("words", (1, 6), "int32"), tensor("table", (9, 4), data=np.ones((9, 4), np.int8),
         scales=(1.0,)), tensor("y", (1, 6, 4)), tensor("mask", (1, 6), "bool"),
         tensor("shape", (2,), "int32")],
        [("GATHER", [1, 0], [2]), ("NOT_EQUAL", [0, 0], [3]), ("SHAPE", [0], [4])],
        [0], [2, 3, 4],
    )  # fmt: skip
    found = inspect(content)
    assert found.integer_only
    assert found.unique_weights == 1


def op_named(*origins):
    return Op(0, 0, "CONV_2D", (), (), 0, None, origins=origins)


@pytest.mark.parametrize(
    ("origins", "known", "expected"),
    [
        (("sequential/re_lu/Relu;sequential/batch_normalization/FusedBatchNormV3;"
          "sequential/conv2d/Conv2D",), ["re_lu", "batch_normalization", "conv2d"], "conv2d"),
        (("StatefulPartitionedCall:0", "net/dense/MatMul"), ["dense"], "dense"),
        (("StatefulPartitionedCall:0",), ["dense"], None),
        (("net/block/conv/Conv2D",), ["block", "block/conv", "conv"], "block/conv"),
        (("net/attention/dense/einsum/Einsum",), ["dense", "attention"], "attention"),
        (("net/conv2d_1/Conv2D",), ["conv2d", "conv2d_1"], "conv2d_1"),
        (("net/conv2d_1/Conv2D",), ["conv2d"], None),
        (("dense:0",), ["dense"], "dense"),
        (("net/dense/Relu",), ["Relu"], None),
        ((), ["dense"], None),
    ],
)  # fmt: skip
def test_layer_of(origins, known, expected):
    assert layer_of(op_named(*origins), known) == expected


def test_the_layer_of_an_op_without_a_name_is_told_by_its_neighbours():
    tensors = [
        tensor("image", (1, 4)),
        tensor("net/dense/MatMul", (3, 4), data=np.ones((3, 4), np.int8), scales=(1.0,)),
        tensor("arith.constant7", (1, 3)),
        tensor("StatefulPartitionedCall:0", (1, 3)),
    ]
    ops = [("FULLY_CONNECTED", [0, 1, -1], [2]), ("SOFTMAX", [2], [3])]
    found = inspect(file(tensors, ops, [0], [3]))
    assert found.ops[0].layer == "dense"
    assert layer_of(found.ops[0], ["dense"]) == "dense"
    named = inspect(
        file([*tensors[:2], tensor("net/dense/BiasAdd", (1, 3)), tensors[3]], ops, [0], [3])
    )
    assert layer_of(named.ops[1], ["dense"]) == "dense"


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"", "0 bytes that are no TensorFlow Lite file"),
        (b"PK\x03\x04 something else", "19 bytes that are no TensorFlow Lite file"),
        (b"\x1c\x00\x00\x00TFL3", "8 bytes that begin as a TensorFlow Lite file but are corrupt"),
        (convolution(KERNEL)[:300], "begin as a TensorFlow Lite file but are corrupt"),
    ],
)
def test_refuses_what_is_no_file(content, received):
    with pytest.raises(InterpreterError) as caught:
        inspect(content)
    assert received in caught.value.received
    assert ".tflite file" in caught.value.expected
    assert "tfopt.convert" in caught.value.fix


def test_refuses_a_missing_path(tmp_path):
    with pytest.raises(InterpreterError, match=r"nothing\.tflite, which cannot be read \(No such"):
        inspect(tmp_path / "nothing.tflite")


@settings(max_examples=150, deadline=None)
@given(
    cut=st.integers(0, 900),
    changes=st.lists(st.tuples(st.integers(8, 900), st.integers(0, 255)), max_size=4),
)
def test_a_corrupt_file_is_an_error_of_ours_or_read(cut, changes):
    content = bytearray(convolution(KERNEL))
    for position, value in changes:
        content[position % len(content)] = value
    content = bytes(content[: len(content) - cut % len(content)])
    try:
        found = inspect(content)
        found.to_dict(), str(found)
    except InterpreterError:
        pass


def test_an_index_that_points_nowhere_is_corrupt():
    content = file([tensor("a", (1, 4))], [("RELU", [0], [7])], [0], [0])
    with pytest.raises(InterpreterError, match="an operator on a tensor that is not there"):
        inspect(content)


def test_views():
    found = inspect(convolution(KERNEL))
    known = json.loads(json.dumps(found.to_dict()))
    assert known["macs"] == 1296
    assert known["ops"][0]["name"] == "CONV_2D"
    assert known["ops"][0]["inputs"][1]["name"] == "net/conv/Conv2D"
    assert known["float_ops"] == []
    assert known["deflated_bytes"] < known["bytes"]
    lines = str(found).splitlines()
    assert lines[0].split() == ["op", "types", "count", "MACs"]
    assert lines[1].split() == ["CONV_2D", "int8", "1", "1,296"]
    assert "inputs      image (int8 [-1, 6, 6, 2])" in lines
    assert "parameters  36, 2.8% zero, at most 36 distinct where they share a scale" in lines
    assert lines[-1] == "arithmetic  integer only"


def test_the_table_lists_float_islands():
    tensors = [
        *quantized_chain("int8", "float32"),
        tensor("wave/Sin", (1, 4), "float32"),
        tensor("z", (1, 4), scales=(1.0,)),
    ]
    ops = [("RELU", [0], [2]), ("DEQUANTIZE", [2], [3]), ("SIN", [3], [4]), ("QUANTIZE", [4], [5])]
    text = str(inspect(file(tensors, ops, [0], [5], description=schema.DESCRIPTION.encode())))
    assert "arithmetic  3 of 4 ops in floating point:" in text
    assert "- SIN of layer 'wave', which reads y (float32 [1, 4])" in text


def test_large_files_are_read_fast():
    weights = np.random.default_rng(0).integers(-127, 128, (4096, 12000), np.int8)
    content = convolution_of_bytes(weights, (4096, 1, 1, 12000), "int8")
    assert len(content) > 49e6
    began = time.perf_counter()
    found = inspect(content)
    assert found.parameters == weights.size
    assert time.perf_counter() - began < 0.5
    assert found.unique_weights == 255
    assert found.sparsity == pytest.approx(1 / 255, rel=0.1)
    assert time.perf_counter() - began < 10


def test_a_real_file_of_the_converter(cnn, int8_file, float_file):
    found = inspect(int8_file)
    names = [layer.name for layer in cnn.layers]
    assert [op.layer for op in found.ops][:2] == ["stem_conv", "block_conv"]
    assert [layer_of(op, names) for op in found.ops][:2] == ["stem_conv", "block_conv"]
    assert [layer_of(op, names) for op in found.ops][-2:] == ["probabilities", "probabilities"]
    assert found.integer_only
    assert [signature.key for signature in found.signatures] == ["serving_default"]
    assert found.signatures[0].inputs == ("image",)
    assert not inspect(float_file).integer_only
    assert "arithmetic  floating point" in str(inspect(float_file))
    # 64 and 16 places of 3x3 windows
    assert [op.macs for op in found.ops][:2] == [64 * 8 * 9, 16 * 16 * 9 * 8]


def test_packs_what_it_unpacks_with_weights_aligned(int8_file):
    from tfopt.tflite.interpreter import TFLiteModel

    packed = schema.pack(schema.unpack(int8_file))
    assert schema.pack(schema.unpack(packed)) == packed
    model = schema.unpack(packed)
    start = np.frombuffer(packed, np.uint8).ctypes.data
    places = [b.data.ctypes.data - start for b in model.buffers if schema.is_constant(b)]
    assert places and all(place % 16 == 0 for place in places)
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    for before, after in zip(
        TFLiteModel(int8_file).predict(x), TFLiteModel(packed).predict(x), strict=True
    ):
        assert np.array_equal(before, after)
    assert math.prod(inspect(packed).ops[0].inputs[1].shape) == 72


@pytest.mark.parametrize("read", [inspect, tfopt.benchmark])
def test_what_is_no_file_is_refused(read):
    for thing, kind in ((3, "int"), (object(), "object")):
        with pytest.raises(InterpreterError, match=rf"of type {kind}; .*with tfopt\.convert"):
            read(thing)
