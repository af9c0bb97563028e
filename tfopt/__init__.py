"""Optimize Keras models into small, fast, full-integer `.tflite` files, proven in the interpreter.

Everything a user needs is a name of this package. Each is imported when it is first used, so that
`import tfopt` costs nothing and what only reads a `.tflite` loads no TensorFlow (PEP 562).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from tfopt.recipe import TECHNIQUES

if TYPE_CHECKING:
    from tfopt.ablation import ablate as ablate
    from tfopt.conversion import convert as convert
    from tfopt.errors import TfoptError as TfoptError
    from tfopt.keras_gate import load_model as load_model
    from tfopt.keras_gate import save_model as save_model
    from tfopt.measure.calibration import compare_calibrations as compare_calibrations
    from tfopt.measure.cost import benchmark as benchmark
    from tfopt.measure.layers import compare_layers as compare_layers
    from tfopt.measure.profile import profile as profile
    from tfopt.measure.quality import evaluate as evaluate
    from tfopt.optimization import Result as Result
    from tfopt.optimization import optimize as optimize
    from tfopt.preprocessing import with_preprocessing as with_preprocessing
    from tfopt.quantization.synthetic import synthetic_inputs as synthetic_inputs
    from tfopt.recipe import Recipe as Recipe
    from tfopt.report import Report as Report
    from tfopt.reproduction import reproduce as reproduce
    from tfopt.sensitivity.measure import measure_sensitivity as measure_sensitivity
    from tfopt.shipping.folder import ship as ship
    from tfopt.target import Target as Target
    from tfopt.task import Task as Task
    from tfopt.technique import Technique as Technique
    from tfopt.techniques.channel_pruning import ChannelPruning as ChannelPruning
    from tfopt.techniques.correct_bias import CorrectBias as CorrectBias
    from tfopt.techniques.distillation import Distillation as Distillation
    from tfopt.techniques.equalize_channels import EqualizeChannels as EqualizeChannels
    from tfopt.techniques.low_rank import LowRank as LowRank
    from tfopt.techniques.magnitude_pruning import MagnitudePruning as MagnitudePruning
    from tfopt.techniques.quantization_aware import QuantizationAware as QuantizationAware
    from tfopt.techniques.round_weights import RoundWeights as RoundWeights
    from tfopt.techniques.weight_clustering import WeightClustering as WeightClustering
    from tfopt.tflite.inspect import inspect as inspect

_HOMES = {
    "TfoptError": "tfopt.errors",
    "Recipe": "tfopt.recipe",
    "Report": "tfopt.report",
    "Result": "tfopt.optimization",
    "Target": "tfopt.target",
    "Task": "tfopt.task",
    "Technique": "tfopt.technique",
    "ablate": "tfopt.ablation",
    "benchmark": "tfopt.measure.cost",
    "compare_calibrations": "tfopt.measure.calibration",
    "compare_layers": "tfopt.measure.layers",
    "convert": "tfopt.conversion",
    "evaluate": "tfopt.measure.quality",
    "inspect": "tfopt.tflite.inspect",
    "load_model": "tfopt.keras_gate",
    "measure_sensitivity": "tfopt.sensitivity.measure",
    "optimize": "tfopt.optimization",
    "profile": "tfopt.measure.profile",
    "reproduce": "tfopt.reproduction",
    "save_model": "tfopt.keras_gate",
    "ship": "tfopt.shipping.folder",
    "synthetic_inputs": "tfopt.quantization.synthetic",
    "with_preprocessing": "tfopt.preprocessing",
    **TECHNIQUES,
}

__all__ = sorted(_HOMES)

__version__ = importlib.metadata.version("tfopt")


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for."""
    if name not in _HOMES:
        match = difflib.get_close_matches(name, _HOMES, n=1)
        hint = f"; {match[0]!r} is nearest" if match else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
