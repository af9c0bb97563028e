"""Keeps what C++ code prints off the terminal, and at hand for when it fails."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator

_STREAMS = (1, 2)
_LOGGERS = ("absl", "tensorflow")
_lock = threading.RLock()  # descriptors and warnings belong to the whole process


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Captures what is printed meanwhile, by C++ too: at the level of file descriptors.

    Yields:
        A function that returns what was printed, during the capture and after it.

    Example:
        >>> with captured() as printed:
        ...     _ = os.write(2, b"fully_quantize: 0")
        >>> printed()
        'fully_quantize: 0'
    """
    text = ""
    with _lock, tempfile.TemporaryFile() as file:

        def printed() -> str:
            if file.closed:
                return text
            _flush()
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        try:
            with _to(file.fileno()), _no_warnings():
                yield printed
        finally:
            text = printed()


@contextlib.contextmanager
def _to(descriptor: int) -> Iterator[None]:
    _flush()
    saved = [os.dup(stream) for stream in _STREAMS]
    try:
        for stream in _STREAMS:
            os.dup2(descriptor, stream)
        yield
    finally:
        _flush()
        for stream, original in zip(_STREAMS, saved, strict=True):
            os.dup2(original, stream)
            os.close(original)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Silences Python's own warnings and loggers, which may not write to descriptor 2."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # closed, or none at all
            stream.flush()
