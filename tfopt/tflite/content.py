"""A `.tflite` as bytes, wherever it comes from."""

from __future__ import annotations

import os
from pathlib import Path

from tfopt.errors import InterpreterError

_MAGIC = b"TFL3"


def read_tflite(tflite: bytes | str | os.PathLike[str]) -> bytes:
    """Returns the bytes of a `.tflite`, given as bytes or as a path.

    Args:
        tflite: The file's content or its path.

    Raises:
        InterpreterError: There is no such file, or it is no TensorFlow Lite file, or neither bytes
            nor a path.

    Example:
        >>> read_tflite(b"PK nonsense")
        Traceback (most recent call last):
        ...
        tfopt.errors.InterpreterError: Received 11 bytes that are no TensorFlow Lite file; expected a .tflite file, 'TFL3' in bytes 4 to 8. Fix: make the file again with tfopt.convert.
    """  # noqa: E501 - a doctest's expected line cannot be wrapped
    if isinstance(tflite, (bytes, bytearray, memoryview)):
        content, name = bytes(tflite), ""
    elif not isinstance(tflite, (str, os.PathLike)):
        raise InterpreterError(
            received=f"an object of type {type(tflite).__name__}",
            expected="a .tflite, as bytes or as a path",
            fix="make a file of a Keras model with tfopt.convert, and pass that",
        )
    else:
        path = Path(tflite)
        try:
            content, name = path.read_bytes(), f" in {path}"
        except OSError as error:
            raise InterpreterError(
                received=f"{path}, which cannot be read ({error.strerror})",
                expected="the path of a .tflite file",
                fix="check the path",
            ) from error
    if content[4:8] != _MAGIC:
        raise InterpreterError(
            received=f"{len(content):,} bytes{name} that are no TensorFlow Lite file",
            expected=f"a .tflite file, {_MAGIC.decode()!r} in bytes 4 to 8",
            fix="make the file again with tfopt.convert",
        )
    return content
