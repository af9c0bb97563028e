"""Cross-layer equalization: channels get like ranges, and the model computes the same."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tfopt import facts
from tfopt.errors import TechniqueError
from tfopt.graph.absorption import absorb_biases
from tfopt.graph.batch_norm import fold_batch_norm, foldings
from tfopt.graph.calls import Node
from tfopt.graph.equality import difference, prove_same, results
from tfopt.graph.homogeneous import with_limits
from tfopt.graph.kernels import OUTPUT_AXES
from tfopt.graph.pairs import Pair, Pairs, Scaling, find_pairs
from tfopt.graph.stepping import input_arrays, watch
from tfopt.keras_gate import tf_keras
from tfopt.selection import check_touched
from tfopt.selection import select as select_layers
from tfopt.settings import check_choices, check_flags, check_names, check_share
from tfopt.technique import Selection, Stage, Technique

if TYPE_CHECKING:
    from tfopt.task import Task

Ranges = Literal["activations", "weights"]

_MOST_ROUNDS = 100
_CONVERGED = 1e-3
# A channel counts as if it got to this share of what channels usually get to with such weights: one
# that is seldom active would be made so large that the interpreter cannot rescale it any more.
_LEAST = 1 / 64
# What a ReLU6 cuts off at in the file: only there it costs no operation of its own.
_LIMIT = 6.0
_SAMPLES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class EqualizeChannels(Technique):
    """Rescales channels between layers, so that no channel is lost in 8 bits beside a larger one.

    A file has one scale for all channels of an activation. Where their ranges differ by much, the
    small ones are rounded away: accuracy can fall to chance. Between two layers, a channel may be
    made s times smaller by the first and read s times larger by the second, whatever lies between
    as long as f(x / s) = f(x) / s: ReLU, LeakyReLU, PReLU, pooling, padding, flattening, additions
    (all that is added together gets one scale). Nothing is trained; that the outputs stay the same
    up to float rounding is proven by running both models. Batch norms are folded into the layers
    before them, as in the file.

    The scales balance what reads a channel with the range of its activations on representative data
    (the range of the weights that make it does not matter, as a file has a scale for each output
    channel), or, as in the paper, with the weights that make it, which needs no data.

    Channels behind a ReLU6 are in 0..6 already and stay as they are, unless `relu6_tolerance` lets
    it become a ReLU. If it was rescaled before, so that each channel is cut off at another value,
    the channels are scaled back to a common 6.

    Args:
        ranges: `"activations"`, or `"weights"` for the paper's rule.
        relu6_tolerance: Largest change of the model's outputs on representative data, as a share of
            the largest output, that replacing every ReLU6 by a ReLU may cause. 0 keeps them.
        absorb_biases: Whether to move the part of a bias that no representative sample brings to
            zero behind a ReLU into the layer that reads it. It makes activation ranges smaller. On
            other data the outputs can change a little.
        only: Names or class names of the layers that may be rescaled; None for all that can be.
        skip: Names or class names of layers to leave alone.

    Raises:
        SettingError: A setting is out of its range.

    Example:
        >>> from tfopt import Task
        >>> from tfopt.testing import small_cnn
        >>> technique = EqualizeChannels()
        >>> technique.select(small_cnn()).touched
        ('stem_conv', 'stem_bn', 'block_conv', 'block_bn', 'probabilities')
        >>> equalized = technique.apply(small_cnn(), Task.digits())

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
        sections 4.1 (equation 11) and 4.1.3. Xiao et al., SmoothQuant, 2023, section 4 (equation 4,
        the ranges of activations in place of weights).
    """

    stage: ClassVar[Stage] = Stage.SCALING

    ranges: Ranges = "activations"
    relu6_tolerance: float = 0.0
    absorb_biases: bool = False
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choices(self, ranges=Ranges)
        fix = "0 keeps every ReLU6; 0.05 accepts a change of 5 % of the largest output"
        check_share(fix, whole=False, relu6_tolerance=self.relu6_tolerance)
        check_flags(self, "absorb_biases")
        check_names(self, "only", "skip")

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be rescaled or folded, and why the others would not.

        Raises:
            SettingError: `only` or `skip` names a layer that is not there.
            TechniqueError: No channels can be rescaled, or the model is clustered or
                fake-quantized.
        """
        self._check_order(model)
        norms = {folding.batch_norm.name for folding in foldings(model, constrained=False)}
        pairs = self._pairs(model, norms)
        touched = {name for pair in pairs.found for name in (*pair.layers, *pair.clips)}
        touched |= norms if touched else set()  # folding alone gains nothing

        def reason_to_skip(layer: tf_keras.layers.Layer) -> str | None:
            if layer.name in touched:
                return None
            return pairs.reasons.get(layer.name, "has no kernel")

        return check_touched(
            select_layers(model, reason_to_skip),
            model,
            can=f"{self.name} can rescale no channels",
            expected="a layer with a kernel whose output only such layers read",
            fix="leave the step out: there is nothing for it to gain",
        )

    def apply(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """Returns a model whose channels are equalized; the one given is left as it was.

        Args:
            model: A tf_keras functional model.
            task: Its representative inputs are what the proof is run on, besides random ones.

        Raises:
            DataError: The representative inputs do not fit the model, or are not finite.
            TechniqueError: No channels can be rescaled, the model computes no finite numbers, the
                outputs are no longer the same, or replacing ReLU6 changes them by more than
                allowed.
        """
        self.select(model)
        inputs = task.representative_inputs(_SAMPLES)
        own = fold_batch_norm(model, constrained=False)
        arrays = input_arrays(own, inputs)
        if self.relu6_tolerance:
            own = self._without_clips(own, arrays)
        pairs = self._pairs(own, set()).found
        seen = _largest_inputs(own, arrays)  # refuses a model whose numbers are not finite
        reached = seen if self.ranges == "activations" else {}
        equalized = equalize(own, pairs, reached)
        prove_same(own, equalized, inputs)
        return absorb_biases(equalized, arrays) if self.absorb_biases else equalized

    def _check_order(self, model: tf_keras.Model) -> None:
        """Refuses a model whose ranges or shared values rescaling would undo."""
        clustered = facts.clustered_layers(model)
        if clustered or facts.is_fake_quantized(model):
            state = "simulates quantization"
            if clustered:
                state = f"has few different weights in {', '.join(clustered[:5])}"
            raise TechniqueError(
                received=f"model {model.name!r}, which {state}, for EqualizeChannels",
                expected="a model before clustering and quantization: rescaled, weights no longer "
                "share values or fit their ranges",
                fix="apply EqualizeChannels before those steps",
            )

    def _pairs(self, model: tf_keras.Model, norms: set[str]) -> Pairs:
        """The pairs to rescale: not those whose channels are all cut off at one value."""
        named = select_layers(model, lambda layer: None, only=self.only, skip=self.skip)
        excluded = {skip.layer for skip in named.skipped}
        pairs = find_pairs(model, folded=norms, excluded=excluded)
        if self.relu6_tolerance:
            return pairs
        found = tuple(pair for pair in pairs.found if not _cut_off_alike(pair))
        names = {name for pair in found for name in pair.layers}
        bounded = {name for pair in pairs.found for name in pair.layers} - names
        reason = "its channels are cut off at one value by ReLU6, which bounds their ranges"
        return Pairs(found, pairs.reasons | dict.fromkeys(bounded, reason))

    def _without_clips(self, model: tf_keras.Model, arrays: list[np.ndarray]) -> tf_keras.Model:
        """The model with ReLU for ReLU6, if that changes its outputs little enough."""
        names = [name for pair in self._pairs(model, set()).found for name in pair.clips]
        plain = with_limits(model, {name: np.array([np.inf]) for name in names})
        change = difference(results(model, arrays), results(plain, arrays))
        if not change <= self.relu6_tolerance:
            raise TechniqueError(
                received=f"model {model.name!r}, whose outputs change by {change:.2g} of the "
                "largest on representative data with ReLU for ReLU6",
                expected=f"at most relu6_tolerance={self.relu6_tolerance:g}",
                fix="leave relu6_tolerance out, which keeps ReLU6",
            )
        return plain


def equalize(
    model: tf_keras.Model, pairs: tuple[Pair, ...], reached: dict[str, np.ndarray]
) -> tf_keras.Model:
    """Returns a copy of a model in which what makes and what reads a channel have like ranges.

    Pairs share layers in a chain, so that they are gone through until nothing moves any more.

    Args:
        model: A functional model; it is left as it was.
        pairs: Of that model.
        reached: The largest magnitude of each channel that a layer reads, by the layer's name. A
            pair without is equalized by its weights.
    """
    scaling = Scaling(pairs)
    activations = [_activations(pair, reached, scaling.magnitudes(pair)[0]) for pair in pairs]
    for _ in range(_MOST_ROUNDS):
        largest = 0.0
        for index, pair in enumerate(pairs):
            active = activations[index]
            if pair.clips:
                scales = scaling.limits[next(iter(pair.clips))] / _LIMIT
            elif active is None:
                scales = _balance(*scaling.magnitudes(pair))
            else:
                scales = _smooth(active, scaling.shares(pair))
            if active is not None:
                activations[index] = active / scales
            scaling.divide(pair, scales)
            largest = max(largest, float(np.abs(np.log(scales)).max()))
        if largest < _CONVERGED:
            break
    return scaling.rescaled(model)


def _balance(made: np.ndarray, read: np.ndarray) -> np.ndarray:
    """What to divide channels by, so that what makes and what reads each has the same range.

    A channel that nothing makes or nothing reads gets the range of the others.
    """
    alive = (made > 0) & (read > 0)
    usual = np.median(np.sqrt(made * read)[alive]) if alive.any() else 1.0
    made = np.where(made > 0, made, usual**2 / np.where(read > 0, read, usual))
    read = np.where(read > 0, read, usual**2 / made)
    return np.sqrt(made / read)


def _smooth(active: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
    """What to divide channels by, so that activations and what reads them have like ranges.

    On the average by 1: one factor for all channels changes nothing in the file.
    """
    scales = active
    if shares is not None and shares.any():
        scales = np.sqrt(scales / np.where(shares > 0, shares, np.median(shares[shares > 0])))
    return scales / np.exp(np.log(scales).mean())


def _activations(pair: Pair, reached: dict[str, np.ndarray], made: np.ndarray) -> np.ndarray | None:
    """The largest magnitude of a pair's channels, above 0; None for those inside a layer."""
    outside = [
        reached[side.layer.name].reshape(-1, pair.channels).max(axis=0)
        for side in pair.readers
        if side.layer.name in reached and side.weight != "pointwise_kernel"
    ]
    if not outside:
        return None
    active = np.max(outside, axis=0)
    alive = (active > 0) & (made > 0)
    if not alive.any():
        return None
    least = made * np.median(active[alive] / made[alive]) * _LEAST
    active = np.maximum(active, least)
    return np.where(active > 0, active, np.median(active[alive]))


def _largest_inputs(model: tf_keras.Model, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The largest magnitude of each channel of the first tensor that layers with kernels read."""
    found: dict[str, np.ndarray] = {}

    def see(node: Node, value: Any) -> None:
        if type(node.layer) not in OUTPUT_AXES:
            return
        largest = np.abs(value).max(axis=tuple(range(len(value.shape) - 1))).astype(np.float64)
        if not np.isfinite(largest).all():
            raise TechniqueError(
                received=f"layer {node.layer.name!r}, which reads numbers that are not finite on "
                "representative data",
                expected="a model that computes finite numbers",
                fix="look for infinite weights, and batch norms without variance, before it",
            )
        found[node.layer.name] = largest

    watch(model, arrays, see)
    return found


def _cut_off_alike(pair: Pair) -> bool:
    """Whether a ReLU6 bounds all channels alike."""
    return any(np.ptp(limits) <= 1e-6 * limits.max() for limits in pair.clips.values())
