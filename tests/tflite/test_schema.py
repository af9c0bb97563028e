"""A file that is packed again says the same in fewer bytes."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as generated

from tfopt.tflite import schema
from tfopt.tflite.interpreter import TFLiteModel


def packed_plainly(model, tail=b""):
    builder = flatbuffers.Builder(2**16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()) + tail


def buffers(content):
    return [buffer.data for buffer in generated.ModelT.InitFromPackedBuf(content, 0).buffers]


def test_equal_vectors_are_written_once(int8_file):
    model = schema.unpack(int8_file)
    plain, packed = packed_plainly(model), schema.pack(model)
    zeros = sum(
        8 * (len(tensor.quantization.zeroPoint) - 1)
        for tensor in model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.zeroPoint is not None
    )
    assert len(plain) - len(packed) > zeros / 2 > 0
    assert schema.pack(schema.unpack(packed)) == packed
    # each says the same
    assert packed_plainly(schema.unpack(packed)) == packed_plainly(schema.unpack(plain))


def test_weights_behind_the_flatbuffer_are_brought_into_it(float_file):
    model = schema.unpack(float_file)
    largest = max((b for b in model.buffers if b.data is not None), key=lambda b: b.data.size)
    data, largest.data = largest.data.tobytes(), None
    largest.offset, largest.size = 2, len(data)  # a place to be known only after packing
    length = len(packed_plainly(model))
    largest.offset = length
    content = packed_plainly(model, data)
    assert len(content) == length + len(data)
    packed = schema.pack(schema.unpack(content))
    assert any(found is not None and found.tobytes() == data for found in buffers(packed))
    images = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    ours, theirs = (TFLiteModel(file).predict(images) for file in (packed, float_file))
    np.testing.assert_array_equal(ours, theirs)
