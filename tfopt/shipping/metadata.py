"""TFLite metadata: what a `.tflite` tells MediaPipe and other clients of its inputs and outputs."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.shipping.tensors import Ends, Image
from tfopt.tflite import schema
from tfopt.tflite.tensor_spec import TensorSpec

LABELS_FILE = "labels.txt"

_NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_RGB, _GRAY = 1, 2  # ColorSpaceType
_FEATURE, _IMAGE = 1, 2  # ContentProperties
_NORMALIZATION = 1  # ProcessUnitOptions


@dataclasses.dataclass(frozen=True)
class About:
    """What the metadata say of the model as a whole."""

    name: str
    description: str
    version: str = "1"


def with_metadata(tflite: bytes, ends: Ends, about: About) -> bytes:
    """Returns the file with metadata, and its labels packed behind it.

    The metadata are a flatbuffer of their own in a buffer named `TFLITE_METADATA`; the label file
    is a zip archive behind the flatbuffer, which a reader of the `.tflite` does not see. About 800
    bytes more. Metadata and labels that are there already are replaced.

    Args:
        tflite: The file.
        ends: Its inputs and outputs.
        about: What to say of the model.

    Raises:
        InterpreterError: The file is corrupt.

    References:
        The schema: metadata_schema.fbs, https://ai.google.dev/edge/litert/models/metadata.
    """
    model = schema.unpack(tflite)
    data = np.frombuffer(metadata(ends, about), np.uint8)
    model.metadata = [entry for entry in model.metadata or [] if entry.name != _NAME]
    model.metadata.append(schema_types.MetadataT(_NAME, schema.add_buffer(model, data)))
    return schema.pack(model) + (_archive(ends.labels) if ends.labels else b"")


def metadata(ends: Ends, about: About) -> bytes:
    """Returns the metadata as a flatbuffer.

    Args:
        ends: The inputs and outputs of the file.
        about: What to say of the model.
    """
    builder = flatbuffers.Builder(1024)
    inputs = _vector(builder, [_input(builder, spec, ends.image) for spec in ends.inputs])
    outputs = _vector(
        builder, [_output(builder, spec, spec is ends.scores) for spec in ends.outputs]
    )
    graph = _table(builder, 10, {2: inputs, 3: outputs})
    fields = {
        0: builder.CreateString(about.name),
        1: builder.CreateString(about.description),
        2: builder.CreateString(about.version),
        3: _vector(builder, [graph]),
        7: builder.CreateString("1.0.0"),  # the oldest parser that knows these fields
    }
    builder.Finish(_table(builder, 8, fields), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _input(builder: flatbuffers.Builder, spec: TensorSpec, image: Image | None) -> int:
    """The `TensorMetadata` of an input."""
    fields = {0: builder.CreateString(spec.name)}
    if image is None:
        return _table(builder, 7, fields | {3: _content(builder, _FEATURE, _table(builder, 0, {}))})
    size = _table(builder, 2, {}, numbers={0: image.width, 1: image.height})
    color = _GRAY if image.channels == 1 else _RGB
    fields[3] = _content(builder, _IMAGE, _table(builder, 2, {1: size}, enums={0: color}))
    low, high = image.bounds(spec.dtype)
    options = {0: _floats(builder, image.mean), 1: _floats(builder, image.std)}
    unit = _table(builder, 2, {1: _table(builder, 2, options)}, enums={0: _NORMALIZATION})
    fields[4] = _vector(builder, [unit])
    fields[5] = _table(builder, 2, {0: _floats(builder, high), 1: _floats(builder, low)})
    return _table(builder, 7, fields)


def _output(builder: flatbuffers.Builder, spec: TensorSpec, has_labels: bool) -> int:
    """The `TensorMetadata` of an output."""
    fields = {0: builder.CreateString(spec.name)}
    fields[3] = _content(builder, _FEATURE, _table(builder, 0, {}))
    if has_labels:
        names = {0: builder.CreateString(LABELS_FILE)}
        fields[6] = _vector(builder, [_table(builder, 5, names, enums={2: _LABELS})])
    return _table(builder, 7, fields)


def _content(builder: flatbuffers.Builder, kind: int, properties: int) -> int:
    return _table(builder, 3, {1: properties}, enums={0: kind})


def _table(
    builder: flatbuffers.Builder,
    size: int,
    offsets: dict[int, int],
    *,
    enums: dict[int, int] | None = None,
    numbers: dict[int, int] | None = None,
) -> int:
    """Writes a table whose schema has `size` fields, those given by their positions."""
    builder.StartObject(size)
    for position, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(position, offset, 0)
    for position, number in (numbers or {}).items():
        builder.PrependUint32Slot(position, number, 0)
    for position, value in (enums or {}).items():
        builder.PrependUint8Slot(position, value, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    return int(builder.CreateNumpyVector(np.asarray(values, np.float32)))


def _archive(labels: Sequence[str]) -> bytes:
    """The label file as an archive, not compressed and without a date: the same for the same."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(LABELS_FILE, date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return stream.getvalue()
