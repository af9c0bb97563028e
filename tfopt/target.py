"""What a device accepts and what may be spent."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

from tfopt.errors import SettingError, nearest
from tfopt.settings import check_at_least, check_choices, check_counts, check_flags, check_names

Numerics = Literal["float32", "float16", "dynamic_range", "int8", "int16x8", "int4_weights"]
IOType = Literal["float32", "int8", "uint8", "int16"]
Exporter = Literal["tflite", "litert"]
Calibration = Literal["min_max", "moving_average", "percentile", "mse", "entropy"]
Choice = Literal["random", "balanced", "spread"]

_IO_TYPES: dict[str, tuple[str, ...]] = {
    "float32": ("float32",),
    "float16": ("float32",),
    "dynamic_range": ("float32",),
    "int8": ("int8", "uint8", "float32"),
    "int16x8": ("int16", "float32"),
    "int4_weights": ("int8", "uint8", "float32"),
}
_INTEGER_ONLY: tuple[Numerics, ...] = ("int8", "int16x8", "int4_weights")
BUDGETS = (
    "max_accuracy_drop",
    "max_bytes",
    "max_latency_ms",
    "max_arena_bytes",
    "max_group_drop",
)
# Which layers can be excepted from what.
_KEEPING: dict[str, tuple[Numerics, ...]] = {
    "keep_float": _INTEGER_ONLY,
    "keep_int16": ("int8", "int4_weights"),
    "keep_int8": ("int4_weights",),
}
# What goes with some numerics only, and why not with others.
_OPTIONS: dict[str, tuple[tuple[Numerics, ...], str]] = {
    "sparse_encoding": (
        ("float32", "int8"),
        "the interpreter refuses a file whose sparse kernels are to be unpacked for ops of other "
        "numbers",
    ),
    "compact": (
        ("int8", "int4_weights"),
        "beside the rounding of finer activations, that of few digits is not small",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """The numbers a device computes with, and the budgets a model has to keep on it.

    Build one with `Target.float32()`, `float16()`, `dynamic_range()`, `int8()`, `int16x8()` or
    `int4_weights()`.

    Args:
        numerics: How weights and activations are stored. `int8`, `int16x8` and `int4_weights` mean
            integer only.
        input_type: Data type of the file's inputs. `float32` puts a QUANTIZE op in front.
        output_type: Data type of the file's outputs. `float32` puts a DEQUANTIZE op behind.
        allow_float_ops: Accept ops that compute in floating point in an integer file, listed as
            warnings, instead of refusing the file.
        representative_samples: How many representative samples calibrate the activation ranges.
        representative_choice: Which ones: at `random`, `balanced` over the classes, or `spread` out
            over the inputs.
        calibration: How an activation's range is made of what the samples show: the extremes
            (`min_max`), their `moving_average` over the samples, a `percentile`, or the range with
            the smallest squared error (`mse`) or loss of information (`entropy`).
        exporter: What writes the file: TensorFlow's converter (`tflite`), or that together with
            the LiteRT Quantizer (`litert`), an extra package.
        keep_float: Names of Keras layers that compute in floating point in an integer file.
        keep_int16: Names of Keras layers that compute with 16-bit activations in an int8 file. One
            between 8-bit neighbours still reads and is read in 8 bits: name chains of layers. Runs
            on LiteRT's interpreter; TensorFlow's own has no op from 8 to 16 bits. The ranges of a
            model from quantization-aware training are calibrated anew.
        keep_int8: Names of Keras layers that keep 8-bit weights in a file of 4-bit ones.
        sparse_encoding: Store kernels that have many zeros as what is not zero: a smaller file of
            float32 or int8, as fast as before. See `tfopt.tflite.sparse`.
        compact: Round scales and biases to few digits, which moves outputs by about as much as
            8 bits do: a file about as large and as fast, that deflates smaller. See
            `tfopt.tflite.compact`.
        refine: Try post-training techniques, and take what measures best on the validation data.
            False leaves the weights as they are.
        max_accuracy_drop: Largest loss of the metric against the baseline, in the metric's units
            (0.01 is one point of accuracy). Layers of an integer file that loses more are kept in
            finer numbers until it is met, whatever `refine` says: those that `keep_int16` (or
            `keep_int8`, for 4-bit weights) would name, with `allow_float_ops` in floating point.
        max_bytes: Largest file, in bytes.
        max_latency_ms: Longest median single-thread latency on this machine, in milliseconds.
        max_arena_bytes: Most memory that the activations may take at once, in bytes.
        max_group_drop: Largest loss of the metric for any class or group of 25 samples or more.

    Raises:
        SettingError: A name is unknown, a type does not go with the numerics, or a budget is
            negative.

    Example:
        >>> Target.int8(max_bytes=256_000).input_type
        'int8'
    """

    numerics: Numerics
    input_type: IOType = "float32"
    output_type: IOType = "float32"
    allow_float_ops: bool = False
    representative_samples: int = 256
    representative_choice: Choice = "random"
    calibration: Calibration = "min_max"
    exporter: Exporter = "tflite"
    keep_float: tuple[str, ...] = ()
    keep_int16: tuple[str, ...] = ()
    keep_int8: tuple[str, ...] = ()
    sparse_encoding: bool = False
    compact: bool = False
    refine: bool = True
    max_accuracy_drop: float | None = None
    max_bytes: int | None = None
    max_latency_ms: float | None = None
    max_arena_bytes: int | None = None
    max_group_drop: float | None = None

    def __post_init__(self) -> None:
        if self.numerics not in _IO_TYPES:
            raise SettingError(
                received=f"numerics={self.numerics!r}",
                expected=nearest(str(self.numerics), get_args(Numerics)),
                fix="use Target.int8() or one of its siblings",
            )
        check_choices(
            self, representative_choice=Choice, calibration=Calibration, exporter=Exporter
        )
        check_flags(self, "allow_float_ops", "refine", *_OPTIONS)
        check_names(self, *_KEEPING)
        for field in _KEEPING:
            self._check_layers(field)
        self._check_options()
        for field in ("input_type", "output_type"):
            if getattr(self, field) not in _IO_TYPES[self.numerics]:
                raise SettingError(
                    received=f"{field}={getattr(self, field)!r} with numerics={self.numerics!r}",
                    expected=f"one of {', '.join(_IO_TYPES[self.numerics])}",
                    fix=f"leave {field} out for the default",
                )
        check_counts(self, representative_samples=1)
        budgets = {field: getattr(self, field) for field in BUDGETS}
        check_at_least(0, **{field: value for field, value in budgets.items() if value is not None})

    def _check_options(self) -> None:
        """Some ways to store a file go with some numerics only."""
        for field, (numerics, why) in _OPTIONS.items():
            if getattr(self, field) and self.numerics not in numerics:
                raise SettingError(
                    received=f"{field}=True with numerics={self.numerics!r}",
                    expected=f"{' or '.join(numerics)}: {why}",
                    fix=f"use Target.int8({field}=True), or leave {field} out",
                )

    def _check_layers(self, field: str) -> None:
        """Only some integer files can mix numerics."""
        names = getattr(self, field)
        if names and self.numerics not in _KEEPING[field]:
            raise SettingError(
                received=f"{field}={names!r} with numerics={self.numerics!r}",
                expected=f"layers to except from {' or '.join(_KEEPING[field])}",
                fix=f"leave {field} out, or use Target.{_KEEPING[field][0]}()",
            )

    @classmethod
    def float32(cls, **settings: Any) -> Target:
        """Weights and activations in 32-bit floating point."""
        return cls._of("float32", settings)

    @classmethod
    def float16(cls, **settings: Any) -> Target:
        """Weights stored in 16-bit floating point: half the bytes, computed in 32 bits on a CPU."""
        return cls._of("float16", settings)

    @classmethod
    def dynamic_range(cls, **settings: Any) -> Target:
        """8-bit weights, activations in floating point, quantized on the fly: needs no data."""
        return cls._of("dynamic_range", settings)

    @classmethod
    def int8(
        cls, *, input_type: IOType = "int8", output_type: IOType = "int8", **settings: Any
    ) -> Target:
        """8-bit weights and activations, integer only."""
        return cls._of("int8", {"input_type": input_type, "output_type": output_type} | settings)

    @classmethod
    def int16x8(
        cls, *, input_type: IOType = "int16", output_type: IOType = "int16", **settings: Any
    ) -> Target:
        """8-bit weights and 16-bit activations, integer only: accurate, and slow on a CPU."""
        return cls._of("int16x8", {"input_type": input_type, "output_type": output_type} | settings)

    @classmethod
    def int4_weights(
        cls, *, input_type: IOType = "int8", output_type: IOType = "int8", **settings: Any
    ) -> Target:
        """4-bit weights where kernels take them, 8-bit activations, integer only: half the bytes.

        A convolution or dense layer whose kernel the interpreter cannot run on 4 bits keeps 8. For
        size, not for speed: XNNPACK has no such kernels, and those of the interpreter unpack the
        weights in each run, so that a net of 1x1 convolutions becomes several times slower.
        """
        settings = {"input_type": input_type, "output_type": output_type} | settings
        return cls._of("int4_weights", settings)

    @classmethod
    def _of(cls, numerics: Numerics, settings: dict[str, Any]) -> Target:
        """A target of its settings; a wrong name gets the nearest right one."""
        valid = [field.name for field in dataclasses.fields(cls) if field.name != "numerics"]
        for name, value in settings.items():
            if name not in valid:
                raise SettingError(
                    received=f"{name}={value!r} for Target.{numerics}()",
                    expected=nearest(name, valid),
                    fix="correct or remove the name",
                )
        return cls(numerics=numerics, **settings)

    @property
    def integer_only(self) -> bool:
        """Whether the file may hold no op that computes in floating point."""
        return self.numerics in _INTEGER_ONLY

    @property
    def drops(self) -> dict[str, float | None]:
        """What the task's metric may lose, by the budget that says so; None for no limit."""
        return {field: getattr(self, field) for field in ("max_accuracy_drop", "max_group_drop")}

    @property
    def needs_calibration(self) -> bool:
        """Whether the converter needs representative data."""
        return self.integer_only


def check_target(target: Any) -> None:
    """Refuses what is no target, before anything is done with it.

    Raises:
        SettingError: It is none.

    Example:
        >>> check_target(Target.int8())
    """
    if not isinstance(target, Target):
        called = target if isinstance(target, str) and target in _IO_TYPES else "int8"
        raise SettingError(
            received=f"target={target!r}",
            expected="a tfopt.Target",
            fix=f"pass target=tfopt.Target.{called}()",
        )
