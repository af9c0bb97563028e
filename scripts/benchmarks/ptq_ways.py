"""The ways of quantizing a trained model without training it again: peers' and tfopt's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tfopt

SAMPLES = 256
CONVERTER = "TensorFlow's converter"
DEFAULT = "tfopt"


@dataclasses.dataclass(frozen=True)
class Way:
    """One way.

    Args:
        name: What it is called in the table; tfopt's own start with its name.
        numerics: int8, int16x8 or int4.
        make: Makes the file of a model, with the task's representative samples.
        is_peer: Whether it is none of tfopt's.
    """

    name: str
    numerics: str
    make: Callable[[Any, tfopt.Task], bytes]
    is_peer: bool = False


def ways() -> tuple[Way, ...]:
    """All ways, a table's rows in order."""
    return (*_peers(), *_ours("int8"), *_ours("int16x8"), *_ours("int4"))


def float_file(model: Any, task: tfopt.Task) -> bytes:
    """The model in float32, for comparison."""
    return tfopt.convert(model, task=task, target=tfopt.Target.float32())


def _peers() -> list[Way]:
    found = [
        Way(CONVERTER, numerics, converter(numerics), True) for numerics in ("int8", "int16x8")
    ]
    bits = {"int8": (8, 8), "int16x8": (16, 8), "int4": (8, 4)}
    methods = {
        "int8": ("min_max_uniform_quantize", "MSE", "OCTAV", "GPTQ"),
        "int16x8": ("min_max_uniform_quantize",),
        "int4": ("min_max_uniform_quantize", "MSE", "OCTAV", "GPTQ"),
    }
    for numerics, names in methods.items():
        for name in names:
            title = f"LiteRT Quantizer, {name.split('_uniform')[0]}"
            found.append(Way(title, numerics, _litert(name, *bits[numerics]), True))
    return found


def _ours(numerics: str) -> list[Way]:
    """The default, and each technique alone: what it brings."""
    four = 4 if numerics == "int4" else 8
    chains: dict[str, Sequence[tfopt.Technique]] = {
        "as it is": (),
        "EqualizeChannels": (tfopt.EqualizeChannels(),),
        "CorrectBias": (tfopt.CorrectBias(bits=four),),
        "RoundWeights nearest": (tfopt.RoundWeights(bits=four, method="nearest"),),
        "RoundWeights gptq": (tfopt.RoundWeights(bits=four, method="gptq"),),
        "RoundWeights adaround": (tfopt.RoundWeights(bits=four),),
        "EqualizeChannels + RoundWeights": (
            tfopt.EqualizeChannels(),
            tfopt.RoundWeights(bits=four),
        ),
    }
    if numerics == "int16x8":
        chains = {name: chains[name] for name in ("as it is", "EqualizeChannels")}
    made = [Way(DEFAULT, numerics, _chain(numerics, None))]
    made += [Way(f"{DEFAULT} {name}", numerics, _chain(numerics, c)) for name, c in chains.items()]
    if numerics == "int8":
        for method in ("percentile", "mse", "entropy"):
            made.append(Way(f"{DEFAULT} calibration {method}", numerics, _calibrated(method)))
    return made


def _target(numerics: str, **settings: Any) -> tfopt.Target:
    kind = "int4_weights" if numerics == "int4" else numerics
    return getattr(tfopt.Target, kind)(representative_samples=SAMPLES, **settings)


def _chain(
    numerics: str, techniques: Sequence[tfopt.Technique] | None
) -> Callable[[Any, tfopt.Task], bytes]:
    """Techniques and the plain conversion; None for what tfopt does by default."""

    def make(model: Any, task: tfopt.Task) -> bytes:
        if techniques is None:
            return tfopt.convert(model, task=task, target=_target(numerics))
        for technique in techniques:
            model = technique.apply(model, task)
        return tfopt.convert(model, task=task, target=_target(numerics, refine=False))

    return make


def _calibrated(method: Any) -> Callable[[Any, tfopt.Task], bytes]:
    target = _target("int8", refine=False, calibration=method)
    return lambda model, task: tfopt.convert(model, task=task, target=target)


def converter(numerics: str) -> Callable[[Any, tfopt.Task], bytes]:
    """TensorFlow's converter, used as its documentation says; for int8 or int16x8."""

    def make(model: Any, task: tfopt.Task) -> bytes:
        import tensorflow as tf

        ops = tf.lite.OpsSet
        wide = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in _images(task))
        converter.target_spec.supported_ops = [
            ops.TFLITE_BUILTINS_INT8 if numerics == "int8" else wide
        ]
        kind = tf.int8 if numerics == "int8" else tf.int16
        converter.inference_input_type = converter.inference_output_type = kind
        return converter.convert()

    return make


def _litert(algorithm: str, activations: int, weights: int) -> Callable[[Any, tfopt.Task], bytes]:
    """A static recipe of the LiteRT Quantizer, on the converter's float file."""

    def make(model: Any, task: tfopt.Task) -> bytes:
        import tensorflow as tf
        from litert_quantizer import quantizer

        source = tf.lite.TFLiteConverter.from_keras_model(model).convert()
        made = quantizer.Quantizer(bytearray(source))
        made.add_static_config(".*", "*", activations, weights, algorithm_key=algorithm)
        name = model.input_names[0]
        data = {"serving_default": [{name: image[None]} for image in _images(task)]}
        result = made.quantize(made.calibrate(data), enable_progress_report=False)
        return bytes(result.quantized_model)

    return make


def _images(task: tfopt.Task) -> np.ndarray:
    return np.asarray(task.representative_inputs(SAMPLES))
