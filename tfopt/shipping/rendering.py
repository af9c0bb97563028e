"""Code and text out of templates, one for each language."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import tfopt
from tfopt.shipping.literals import LITERALS
from tfopt.shipping.plan import Platform
from tfopt.tables import markdown_cell
from tfopt.tflite.tensor_spec import TensorSpec

_FOLDER = Path(__file__).parent / "templates"
_NAMES = {
    "android": "Android",
    "ios": "iOS",
    "micro": "microcontrollers",
    "python": "Python",
    "flutter": "Flutter",
}
_SOURCES: Mapping[str, tuple[str, ...]] = {
    "android": ("Model.kt",),
    "ios": ("Model.swift",),
    "micro": ("model.h", "model.cc", "model_data.h", "model_data.cc", "examples.h"),
    "python": ("model.py",),
    "flutter": ("model.dart",),
}
_MEDIAPIPE_SOURCES = {
    "android": ("MediaPipeClassifier.kt",),
    "ios": ("MediaPipeClassifier.swift",),
    "python": ("mediapipe_classifier.py",),
}
CPP_TYPES = {
    "int8": "std::int8_t",
    "uint8": "std::uint8_t",
    "int16": "std::int16_t",
    "float32": "float",
}
"""What C++ calls the types an image can have."""

_WHAT = {
    "model.tflite": "the model, with what it takes and gives in its metadata",
    "mediapipe.tflite": "the same for MediaPipe, which gives RGB images only: grey is made inside",
    "labels.txt": "the names of the classes, one in a line",
    "examples": "inputs and the outputs for them",
    "examples.h": "inputs and the outputs for them",
    "model_data.cc": "the bytes of the model",
    "model_data.h": "the bytes of the model",
}


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output as the code names it.

    Args:
        name: Its name in the file.
        dtype: Its type.
        shape: Of one sample, the first axis 1.
        scale: Size of one step, as a literal of all languages; 0.0 if there are none.
        zero_point: The integer that stands for 0.0.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: str
    zero_point: int

    @classmethod
    def of(cls, spec: TensorSpec, array: np.ndarray) -> Port:
        """Describes a tensor, in the sizes of an array for it."""
        scale = _number(spec.scale or 0.0)
        return cls(spec.name, spec.dtype, array.shape, scale, spec.zero_point or 0)

    @property
    def count(self) -> int:
        """The numbers in one sample."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The bytes of one sample."""
        return self.count * np.dtype(self.dtype).itemsize

    @property
    def meaning(self) -> str:
        """What its numbers stand for."""
        if self.scale == "0.0":
            return "as it is"
        return f"({self.dtype} - {self.zero_point}) x {self.scale}".replace("- -", "+ ")


def sources(platform: Platform, *, with_mediapipe: bool) -> tuple[str, ...]:
    """Returns the names of the source files for a platform."""
    return _SOURCES[platform] + (_MEDIAPIPE_SOURCES.get(platform, ()) if with_mediapipe else ())


def render(template: str, context: Mapping[str, Any]) -> str:
    """Returns a template with what it reads filled in; a name that is missing is an error.

    Args:
        template: The name of its file.
        context: What it reads.
    """
    names = {"platform_name": _NAMES[context["platform"]], "version": tfopt.__version__}
    return _environment().get_template(template).render({**context, **names})


def listed(names: Sequence[str]) -> str:
    """Returns names in a sentence.

    Example:
        >>> listed(["labels.txt", "model.tflite", "mediapipe.tflite"])
        '`labels.txt`, `mediapipe.tflite` and `model.tflite`'
    """
    *others, last = (f"`{name}`" for name in sorted(names))
    return f"{', '.join(others)} and {last}" if others else last


def bounds(dtype: str) -> tuple[int, int] | None:
    """Returns the smallest and the largest number of a type of integers."""
    if np.dtype(dtype).kind not in "iu":
        return None
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def table_of_files(names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the files with what each is, those of the examples as one."""
    tops = sorted({name.split("/")[0] for name in names})
    return [(name, _WHAT.get(name, "code that runs it")) for name in tops]


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # no HTML here: names are escaped as literals of each language
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {**LITERALS, "float32": _number, "cell": markdown_cell}
    return environment


def _number(value: float) -> str:
    """The shortest literal of a 32-bit float, with a point or an exponent in it.

    Example:
        >>> _number(1 / 255), _number(255)
        ('0.003921569', '255.0')
    """
    return str(np.float32(value))
