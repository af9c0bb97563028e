"""Bias correction: what rounding does to the mean of each channel is made up for in the biases."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tfopt.errors import TechniqueError
from tfopt.graph.calls import Layer, Node, built_copy, nodes, rebuild
from tfopt.graph.kernels import channels_last, through
from tfopt.graph.statistics import input_means
from tfopt.graph.stepping import check_varied, input_arrays, steps
from tfopt.keras_gate import clone, tf_keras
from tfopt.order import refuse_fake_quantized
from tfopt.quantization.grid import CHANNEL_AXES, round_kernel
from tfopt.selection import check_touched
from tfopt.selection import select as select_layers
from tfopt.settings import check_bits, check_choices, check_counts, check_names
from tfopt.technique import Selection, Stage, Technique

if TYPE_CHECKING:
    from tfopt.task import Task

Method = Literal["empirical", "analytic"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectBias(Technique):
    """Changes biases so that rounded kernels give each channel the mean it had before.

    Rounding a kernel moves the mean of what it computes, and the layers behind it are used to
    another. `"empirical"` runs the model on representative data, once as it is and once with the
    kernels rounded as the exporter will round them, and corrects layer by layer, so that each is
    run on what the corrected ones before it give. `"analytic"` needs no data: the mean of what a
    layer reads follows from the batch norm before it; layers without one are skipped.

    Only biases are changed (a layer without one gets one, which the file has anyway where a batch
    norm follows): the exporter does the rounding. It does not go with `RoundWeights`, which fits
    the outputs itself: of weights that stand on the grid already there is nothing to correct, and
    such layers are skipped.

    Args:
        method: `"empirical"` or `"analytic"`.
        bits: Of a weight in the file: 8 or 4.
        samples: How many representative samples the empirical method runs, all at once; two or more
            that differ.
        only: Names or class names of the layers to correct; None for all that can be.
        skip: Names or class names of layers to leave alone.

    Raises:
        SettingError: A setting is out of its range.

    Example:
        >>> from tfopt import Task
        >>> from tfopt.testing import small_cnn
        >>> corrected = CorrectBias(bits=4).apply(small_cnn(), Task.digits())
        >>> corrected.get_layer("stem_conv").use_bias
        True

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
        section 4.2 (analytic) and appendix D (empirical).
    """

    stage: ClassVar[Stage] = Stage.CORRECTION
    headline: ClassVar[tuple[str, ...]] = ("method", "bits")

    method: Method = "empirical"
    bits: int = 8
    samples: int = 256
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choices(self, method=Method)
        check_bits(self)
        check_counts(self, samples=2)
        check_names(self, "only", "skip")

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers' biases would be corrected, and why the others' would not.

        Raises:
            SettingError: `only` or `skip` names a layer that is not there.
            TechniqueError: The model is fake-quantized, or no layer can be corrected.
        """
        refuse_fake_quantized(model, self.name)
        calls = Counter(node.layer.name for node in nodes(model))
        means = input_means(model) if self.method == "analytic" else {}

        def reason_to_skip(layer: Layer) -> str | None:
            if type(layer) not in CHANNEL_AXES:
                return "has no kernel whose rounding in the file is known"
            if not layer.trainable:
                return "frozen (trainable=False)"
            if calls[layer.name] > 1:
                return "called several times: one bias cannot correct the mean of each call"
            if not channels_last(layer):
                return "its channels come first"
            if self._stands_on_grid(layer):
                return "its weights stand on the grid of the file: rounding moves nothing"
            if self.method == "analytic" and layer.name not in means:
                return "no batch norm tells the mean of its input (method='empirical' measures it)"
            return None

        return check_touched(
            select_layers(model, reason_to_skip, only=self.only, skip=self.skip),
            model,
            can=f"{self.name} can correct no layer",
            expected="a convolution or dense layer whose rounding can be corrected",
            fix="correct the settings that leave the layers out, or leave the step out",
        )

    def apply(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """Returns a model with corrected biases; the one given is left as it was.

        Args:
            model: A tf_keras functional model.
            task: Its representative inputs are what the means are measured on.

        Raises:
            DataError: The representative inputs do not fit the model, are not finite, or are all
                the same.
            TechniqueError: No layer can be corrected, or the model computes no finite numbers.
        """
        touched = frozenset(self.select(model).touched)
        own = _with_biases(model, touched)
        if self.method == "analytic":
            shifts = self._analytic(own, input_means(model), touched)
        else:
            inputs = task.representative_inputs(self.samples)
            check_varied(inputs, without="CorrectBias(method='analytic')")
            shifts = self._empirical(own, input_arrays(own, inputs), touched)
        for name, shift in shifts.items():
            if not np.isfinite(shift).all():
                raise TechniqueError(
                    received=f"the layer {name!r}, which computes numbers that are not finite",
                    expected="a model that computes finite numbers",
                    fix="look for infinite weights in it and in the layers before it",
                )
            own.get_layer(name).bias.assign_add(shift)
        return own

    def _analytic(
        self, model: tf_keras.Model, means: dict[str, np.ndarray], touched: frozenset[str]
    ) -> dict[str, np.ndarray]:
        """What rounding takes from the mean of each channel, by layer, from what is known of it."""
        shifts = {}
        for name in touched:
            layer = model.get_layer(name)
            plain, rounded = _kernels(layer), self._rounded(layer)
            shifts[name] = through(layer, means[name], plain)
            shifts[name] = shifts[name] - through(layer, means[name], rounded)
        return shifts

    def _empirical(
        self, model: tf_keras.Model, arrays: list[np.ndarray], touched: frozenset[str]
    ) -> dict[str, np.ndarray]:
        """What rounding takes from the mean of each channel, by layer, measured."""
        wanted: dict[str, np.ndarray] = {}
        shifts: dict[str, np.ndarray] = {}

        def measure(name: str, sums: Any) -> Any:
            wanted[name] = _mean(sums)
            return sums

        def correct(name: str, sums: Any) -> Any:
            shifts[name] = wanted[name] - _mean(sums)
            return sums + shifts[name].astype(np.float32)

        rounded = clone(model)
        for layer in rounded.layers:
            for weight, value in self._rounded(layer).items():
                getattr(layer, weight).assign(value)
        _run_sums(clone(model), arrays, touched, measure)
        _run_sums(rounded, arrays, touched, correct)
        return shifts

    def _stands_on_grid(self, layer: Layer) -> bool:
        """Whether the exporter's rounding leaves the kernels of a layer as they are."""
        plain = _kernels(layer)
        return all(
            plain[weight].any() and np.allclose(value, plain[weight], rtol=1e-5, atol=0)
            for weight, value in self._rounded(layer).items()
        )

    def _rounded(self, layer: Layer) -> dict[str, np.ndarray]:
        """The kernels of a layer as the file will have them; none for one without."""
        return {
            weight: round_kernel(getattr(layer, weight), axes, bits=self.bits).numpy()
            for weight, axes in CHANNEL_AXES.get(type(layer), {}).items()
        }


def _kernels(layer: Layer) -> dict[str, np.ndarray]:
    """The kernels of a layer."""
    return {weight: getattr(layer, weight).numpy() for weight in CHANNEL_AXES[type(layer)]}


def _with_biases(model: tf_keras.Model, names: frozenset[str]) -> tf_keras.Model:
    """A copy of a model in which the layers named have biases."""

    def replace(layer: Layer) -> Layer:
        if layer.name not in names or layer.use_bias:
            return layer
        copy = built_copy(layer, layer.get_input_shape_at(0), {"use_bias": True})
        copy.set_weights([*layer.get_weights(), np.zeros(copy.bias.shape)])
        return copy

    own = clone(model)
    if all(own.get_layer(name).use_bias for name in names):
        return own
    return clone(rebuild(own, replace=replace)[0])


def _run_sums(
    model: tf_keras.Model, arrays: list[np.ndarray], names: frozenset[str], see: Any
) -> None:
    """Runs a model of one's own, showing what the layers named compute before their activation."""
    activations = {}
    for name in names:
        layer = model.get_layer(name)
        activations[name] = layer.activation
        layer.activation = tf_keras.activations.linear

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        result = node.layer(*args, **kwargs)
        name = node.layer.name
        return activations[name](see(name, result)) if name in names else result

    for _ in steps(model, arrays, call):
        pass


def _mean(sums: Any) -> np.ndarray:
    """The mean of each channel."""
    return np.asarray(np.mean(sums, axis=tuple(range(len(sums.shape) - 1)), dtype=np.float64))
