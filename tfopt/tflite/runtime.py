"""Which package runs `.tflite` files: the only importer of an interpreter."""

from __future__ import annotations

import importlib
from typing import Any

from tfopt.errors import MissingPackageError


def interpreter_module() -> Any:
    """Returns LiteRT's interpreter, or TensorFlow Lite's where only TensorFlow is installed.

    Raises:
        MissingPackageError: Neither is.
    """
    for name in ("ai_edge_litert.interpreter", "tensorflow.lite.python.interpreter"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingPackageError(
        received="neither ai-edge-litert nor tensorflow",
        expected="one of them, to run .tflite files",
        fix="pip install ai-edge-litert",
    )
