"""The metadata hold what a client looks for. MediaPipe itself reads them in test_mediapipe."""

import io
import zipfile

import flatbuffers
import numpy as np
import pytest
from flatbuffers import encode, number_types

import tfopt
from tfopt.shipping.metadata import About, metadata, with_metadata
from tfopt.shipping.tensors import Ends, Image
from tfopt.tflite import schema
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.io_types import with_io_type

LABELS = ("cat", "<script>", "\U0001f600")


@pytest.fixture
def ends(int8_file):
    model = TFLiteModel(with_io_type(int8_file, "uint8"))
    image = Image(8, 8, 1, (127.5,), (64.0,), "a test")
    return Ends(model.inputs, model.outputs, image, LABELS)


class Table:
    """Reads a flatbuffer's table by the positions of its fields."""

    def __init__(self, table):
        self.table = table

    @classmethod
    def root(cls, data):
        start = encode.Get(flatbuffers.packer.uoffset, data, 0)
        return cls(flatbuffers.table.Table(bytearray(data), start))

    def _at(self, position):
        place = number_types.UOffsetTFlags.py_type(self.table.Offset(4 + 2 * position))
        return place + self.table.Pos if place else None

    def text(self, position):
        return self.table.String(self._at(position)).decode()

    def number(self, position, flags=number_types.Uint8Flags):
        return self.table.Get(flags, self._at(position))

    def child(self, position):
        place = self.table.Indirect(self._at(position))
        return Table(flatbuffers.table.Table(self.table.Bytes, place))

    def children(self, position):
        offset = self.table.Offset(4 + 2 * position)
        start = self.table.Vector(offset)
        places = [start + 4 * index for index in range(self.table.VectorLen(offset))]
        return [
            Table(flatbuffers.table.Table(self.table.Bytes, self.table.Indirect(place)))
            for place in places
        ]

    def floats(self, position):
        offset = self.table.Offset(4 + 2 * position)
        return self.table.GetVectorAsNumpy(number_types.Float32Flags, offset).tolist()


def test_fields_are_where_the_schema_has_them(ends):
    data = metadata(ends, About("digits", "a test"))
    assert data[4:8] == b"M001"
    root = Table.root(data)
    assert (root.text(0), root.text(1), root.text(7)) == ("digits", "a test", "1.0.0")
    (graph,) = root.children(3)
    (image,), (scores,) = graph.children(2), graph.children(3)
    assert image.text(0) == ends.inputs[0].name
    content = image.child(3)
    assert content.number(0) == 2  # ImageProperties
    assert content.child(1).number(0) == 2  # GRAYSCALE
    size = content.child(1).child(1)
    assert [size.number(place, number_types.Uint32Flags) for place in (0, 1)] == [8, 8]
    (unit,) = image.children(4)
    assert unit.number(0) == 1  # NormalizationOptions
    assert (unit.child(1).floats(0), unit.child(1).floats(1)) == ([127.5], [64.0])
    assert (image.child(5).floats(0), image.child(5).floats(1)) == ([255.0], [0.0])
    (file,) = scores.children(6)
    assert file.text(0) == "labels.txt" and file.number(2) == 2  # TENSOR_AXIS_LABELS


def test_the_labels_are_behind_the_file_and_nothing_else_changes(int8_file, ends, images):
    plain = with_io_type(int8_file, "uint8")
    full = with_metadata(plain, ends, About("digits", "a test"))
    assert len(full) - len(plain) < 1200
    with zipfile.ZipFile(io.BytesIO(full)) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
    found, expected = TFLiteModel(full).predict(images), TFLiteModel(plain).predict(images)
    np.testing.assert_array_equal(found, expected)
    assert tfopt.inspect(full).ops == tfopt.inspect(plain).ops


def test_metadata_are_replaced_not_stacked(int8_file, ends):
    once = with_metadata(int8_file, ends, About("one", ""))
    twice = with_metadata(once, ends, About("two", ""))
    entries = [entry for entry in schema.unpack(twice).metadata if entry.name == b"TFLITE_METADATA"]
    assert len(entries) == 1
    assert with_metadata(int8_file, ends, About("one", "")) == once


def test_tables_of_numbers_have_no_pixels(multi_file):
    model = TFLiteModel(multi_file)
    data = metadata(Ends(model.inputs, model.outputs, None, None), About("sums", ""))
    (graph,) = Table.root(data).children(3)
    assert [one.child(3).number(0) for one in graph.children(2)] == [1, 1]  # FeatureProperties
    assert len(graph.children(3)) == 2
