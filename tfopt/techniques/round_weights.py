"""Rounding weights for what comes of it: each up or down, as the layer's outputs need it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tfopt import facts
from tfopt.errors import SettingError, TechniqueError
from tfopt.graph.batch_norm import fold_batch_norm
from tfopt.graph.calls import Layer, nodes
from tfopt.graph.kernels import channels_last
from tfopt.graph.stepping import check_varied
from tfopt.keras_gate import clone, tf_keras
from tfopt.rounding.adaround import Learning
from tfopt.rounding.clipping import Ranges
from tfopt.rounding.grid import Grid
from tfopt.rounding.linear import FOUR_BIT_KINDS, KINDS, Linear
from tfopt.rounding.model import (
    Method,
    Scope,
    Settings,
    grid_of,
    round_for_outputs,
    round_nearest,
)
from tfopt.selection import check_touched, named
from tfopt.selection import select as select_layers
from tfopt.sensitivity.probes import Probe, rounded
from tfopt.settings import check_bits, check_choices, check_counts, check_names, check_positive
from tfopt.technique import Selection, Stage, Technique

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task

# A matrix of its inputs' products with each other is inverted for a layer by `gptq`.
_MOST_GPTQ_INPUTS = 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundWeights(Technique):
    """Rounds kernels to the integers of the file, chosen so that the layers' outputs stay the same.

    The exporter rounds each weight to the nearest integer, by itself, and the errors of a channel
    add up. Here they are chosen together, on representative data: layer after layer, each fed with
    what the rounded ones before it give and held against what the float model's layer gives, the
    activation behind it included. The rounded weights lie on the exporter's own grid: it finds
    these very integers again. Batch norms are folded first, as it does. No training, and no labels.

    `"adaround"` learns which of the two integers next to it each weight becomes. `"gptq"` takes one
    weight after another, makes up for its error with the others, and for what earlier layers lost:
    faster, and nearly as good. A channel (or block) that fits other samples no better than nearest
    rounding does keeps that. What matters most at 4 bits is worth little at 8.

    Zeros stay zeros. A kernel whose weights share few values is skipped, since it would lose them:
    the exporter keeps them. Frozen layers are rounded like all others, as the file has no float
    weights for them either.

    Args:
        method: `"adaround"`, `"gptq"`, or `"nearest"`, which needs no data: only the ranges.
        bits: Of a weight in the file: 8, or 4 for `Target.int4_weights()`. Transposed convolutions,
            of which no interpreter has a kernel for 4 bits, are rounded to 8.
        ranges: Where a channel's weights are cut off: at the largest (`"max"`), or where the
            squared error is smallest, found by trying (`"mse"`) or by Newton's method (`"octav"`).
        scope: What `"adaround"` learns at once: a `"layer"`, or a residual `"block"` (up to three
            layers in a row where there are none), which takes several times as long and as much
            memory as all samples' inputs and outputs of a block.
        samples: How many representative samples are looked at; two or more that differ.
        steps: Of learning, for each layer or block.
        learning_rate: Of learning.
        batch_size: Samples in a step of learning.
        keep_int8: Names or class names of layers that are rounded to 8 bits where others are to 4:
            those of the target's `keep_int8`.
        only: Names or class names of the layers to round; None for all that can be.
        skip: Names or class names of layers to leave to the exporter.

    Raises:
        SettingError: A setting is out of its range.

    Example:
        >>> from tfopt import Task
        >>> from tfopt.testing import small_cnn
        >>> technique = RoundWeights(bits=4, method="gptq", samples=64)
        >>> kernel = technique.apply(small_cnn(), Task.digits()).get_layer("stem_conv").kernel
        >>> integers = 7 * kernel.numpy() / np.abs(kernel).max(axis=(0, 1, 2))
        >>> bool(np.abs(integers - integers.round()).max() < 1e-5)
        True

    References:
        Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, 2020, section
        3.3 (equations 21 to 25). Frantar et al., GPTQ: Accurate Post-Training Quantization for
        Generative Pre-trained Transformers, 2022, algorithm 1. Li et al., BRECQ: Pushing the Limit
        of Post-Training Quantization by Block Reconstruction, 2021, section 3.2. Sakr et al.,
        Optimal Clipping and Magnitude-aware Differentiation, 2022 (octav).
    """

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    headline: ClassVar[tuple[str, ...]] = ("method", "bits")
    finishes: ClassVar[tuple[str, ...]] = ("CorrectBias",)
    probed: ClassVar[tuple[str, ...]] = ("ranges", "only", "skip")

    method: Method = "adaround"
    bits: int = 8
    ranges: Ranges = "mse"
    scope: Scope = "layer"
    samples: int = 1024
    steps: int = 1000
    learning_rate: float = 0.03
    batch_size: int = 32
    keep_int8: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choices(self, method=Method, ranges=Ranges, scope=Scope)
        check_bits(self)
        if self.scope == "block" and self.method != "adaround":
            raise SettingError(
                received=f"scope='block' with method={self.method!r}",
                expected="a method that learns, for a block",
                fix="use method='adaround', or leave scope out",
            )
        check_counts(self, samples=2, steps=1, batch_size=1)
        check_positive("0.01 to 0.1 are usual", learning_rate=self.learning_rate)
        check_names(self, "keep_int8", "only", "skip")

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be rounded, and why the others would not.

        Raises:
            SettingError: `only`, `skip` or `keep_int8` names a layer that is not there.
            TechniqueError: The model is fake-quantized, or no layer can be rounded.
        """
        if facts.is_fake_quantized(model):
            raise TechniqueError(
                received=f"model {model.name!r}, which simulates quantization, for {self.name}",
                expected="a float model: one from quantization-aware training has learned to do "
                "with the nearest integers",
                fix="round the model it was trained from, or leave RoundWeights out",
            )
        named(model, keep_int8=self.keep_int8)
        calls = Counter(node.layer.name for node in nodes(model))
        clustered = _clustered(model)

        def reason_to_skip(layer: Layer) -> str | None:
            if not facts.kernels(layer):
                return "has no kernel"
            if layer.name in clustered:
                return "its weights share few values, which the exporter's own rounding keeps"
            if calls[layer.name] > 1:
                return f"called {calls[layer.name]} times: its rounding would have to suit each"
            return self._reason_of_kind(layer)

        return check_touched(
            select_layers(model, reason_to_skip, only=self.only, skip=self.skip),
            model,
            can=f"{self.name} can round no layer",
            expected="a convolution or dense layer whose weights can be rounded",
            fix="correct the settings that leave the layers out, or leave the step out",
        )

    def _reason_of_kind(self, layer: Layer) -> str | None:
        """Why the kernel of such a layer is not rounded, None if it is."""
        kind = type(layer).__name__
        if not type(layer).__module__.startswith("tf_keras."):
            return "a custom layer: tfopt does not know how it uses its weights"
        if kind in ("SeparableConv1D", "SeparableConv2D"):
            return "two convolutions in one layer: make it a DepthwiseConv and a Conv"
        if type(layer) not in KINDS:
            return f"a {kind}: only convolutions and dense layers are rounded"
        if not channels_last(layer):
            return "its channels come first"
        inputs = Linear(layer).fan_in
        if self.method == "gptq" and inputs > _MOST_GPTQ_INPUTS:
            return (
                f"{inputs:,} inputs, of more than {_MOST_GPTQ_INPUTS:,} of which gptq would invert "
                "the matrix (adaround does not)"
            )
        return None

    def apply(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """Returns a model with rounded kernels; the one given is left as it was.

        Args:
            model: A tf_keras functional model.
            task: Its representative inputs are what the layers are looked at with; its seed makes
                the result the same each time.

        Raises:
            DataError: The representative inputs do not fit the model, are not finite, or are all
                the same.
            TechniqueError: The model is fake-quantized, its numbers are not finite, or no layer can
                be rounded.
        """
        touched = self.select(model).touched
        # Folding would part the weights of a clustered kernel; the grid is the same without it.
        own = clone(model) if _clustered(model) else fold_batch_norm(model)
        wide = named(model, keep_int8=self.keep_int8)
        grids = {name: self._grid(own.get_layer(name), is_wide=name in wide) for name in touched}
        if self.method == "nearest":
            return round_nearest(own, grids)
        inputs = task.representative_inputs(self.samples)
        check_varied(inputs, without="RoundWeights(method='nearest')")
        learning = Learning(self.steps, self.learning_rate, task.seed)
        settings = Settings(self.method, self.scope, learning, self.batch_size)
        return round_for_outputs(own, grids, inputs, settings)

    def judged_on(self, task: Task) -> None:
        """The weights alone say how they are rounded to the nearest integers."""

    def probes(
        self, model: tf_keras.Model, *, task: Task | None = None, inputs: Arrays | None = None
    ) -> list[Probe]:
        """Returns how to round each layer of a model alone, to the nearest integers."""
        layers = [Linear(model.get_layer(name)) for name in self.select(model).touched]
        return rounded(layers, self.ranges)

    def _grid(self, layer: Layer, *, is_wide: bool) -> Grid:
        """Where a layer's weights stand."""
        if not np.isfinite(Linear(layer).kernel).all():
            raise TechniqueError(
                received=f"layer {layer.name!r} with NaN or infinity in its kernel",
                expected="finite weights",
                fix="train the model again with a smaller learning rate",
            )
        bits = self.bits if type(layer) in FOUR_BIT_KINDS and not is_wide else 8
        return grid_of(Linear(layer), bits=bits, ranges=self.ranges)


def _clustered(model: tf_keras.Model) -> set[str]:
    """The names of the layers whose weights share few values, frozen ones included."""
    names = set(facts.clustered_layers(model))
    if any(facts.kernels(layer) and not layer.trainable for layer in model.layers):
        kernels = facts.measure(model).kernels
        names |= {fact.layer for fact in kernels if fact.clustered or fact.clustered_per_channel}
    return names
