"""Low-rank factorization: layers become products of smaller ones, and are fine-tuned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from tfopt.errors import SettingError, TechniqueError
from tfopt.factorization.plan import Choice, Planner, reason_to_skip
from tfopt.factorization.rebuild import factorized, was_factorized
from tfopt.fine_tuning import AnyModel, FineTuned, Wrapped
from tfopt.graph.cost import model_cost
from tfopt.keras_gate import clone, load_model, tf_keras
from tfopt.order import refuse_optimized
from tfopt.selection import select
from tfopt.sensitivity.allocation import Spread
from tfopt.sensitivity.bench import bench_of
from tfopt.sensitivity.measure import SAMPLES, curves_for
from tfopt.sensitivity.probes import Probe, low_rank
from tfopt.sensitivity.ranks import reached, searched
from tfopt.settings import check_choices, check_share
from tfopt.technique import Selection, Skipped, Stage

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.sensitivity.records import Curve
    from tfopt.task import Task

Method = Literal["auto", "spatial", "tucker"]
Allocation = Literal["uniform", "sensitivity"]

_AIMS = ("energy", "macs", "parameters", "max_drop")
_NO_USE = "its product would cost more than the layer, or more accuracy than those of other layers"
_FIELDS = {"macs": "macs", "parameters": "weights", "max_drop": "macs"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank(FineTuned):
    """Replaces kernels by products of smaller ones, where that saves MACs and weights.

    A dense layer or 1x1 convolution becomes two by truncated SVD; a larger convolution a vertical
    and a horizontal one (spatial SVD), or three with a small one in the middle (Tucker-2). Then the
    model is fine-tuned.

    Exactly one aim is given: `energy`, `macs`, `parameters` or `max_drop`.

    Args:
        energy: The share of the sum of its squared weights that each kernel keeps, 0 to 1.
        macs: The share of the model's multiply-accumulate operations to remove, 0 to 1; sizes that
            the model leaves open are taken as 64.
        parameters: The share of the model's weights to remove, 0 to 1.
        max_drop: As much as possible is removed with which the metric on the validation data drops
            no more than this before the fine-tuning.
        allocation: `"uniform"` for the same share of energy in each kernel, so that one in which
            few directions matter loses most; `"sensitivity"` for lower ranks where the outputs
            suffer least, as measured on validation data (always so with `max_drop`).
        method: How convolutions with an extent are factorized: `"spatial"`, `"tucker"`, or
            `"auto"` for what costs less, layer by layer.
        epochs: Passes over the training data; fractions are allowed.
        learning_rate: Peak of the learning rate.
        only: Names or class names of the layers to factorize; None for all that pay.
        skip: Names or class names of layers to leave alone.

    Raises:
        SettingError: A setting is out of its range, or not exactly one aim is given.

    Example:
        >>> layers = [tf_keras.Input((64,)), tf_keras.layers.Dense(64, name="wide")]
        >>> wrapped = LowRank(parameters=0.5).wrap(tf_keras.Sequential(layers), steps_per_epoch=10)
        >>> [layer.name for layer in wrapped.model.layers][1:]
        ['wide_factor1', 'wide']

    References:
        Denton et al. 2014 (SVD), Jaderberg et al. 2014 (spatial), Kim et al. 2016 (Tucker-2): see
        `tfopt.factorization.factors`.
    """

    stage: ClassVar[Stage] = Stage.STRUCTURE
    headline: ClassVar[tuple[str, ...]] = ("epochs",)
    settled: ClassVar[float] = 0.0
    probed: ClassVar[tuple[str, ...]] = ("method", "only", "skip")

    energy: float | None = None
    macs: float | None = None
    parameters: float | None = None
    max_drop: float | None = None
    allocation: Allocation = "uniform"
    method: Method = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {name: value for name in _AIMS if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            raise SettingError(
                received=f"the aims {given or 'none'}",
                expected=f"exactly one of {', '.join(_AIMS)}",
                fix="energy=0.9 keeps nine tenths of each kernel; macs=0.5 removes half the work",
            )
        check_share("0.5 is half", **given)
        check_choices(self, method=Method, allocation=Allocation)
        if self.energy is not None and self.allocation == "sensitivity":
            raise SettingError(
                received=f"energy={self.energy} with allocation='sensitivity'",
                expected="an aim that can be spread over the layers: macs, parameters or max_drop",
                fix="leave one of the two out",
            )

    @property
    def changes_nothing(self) -> bool:
        """Whether all energy is kept, or nothing is to be removed."""
        if self.max_drop is not None:
            return False
        return self.energy == 1 or self.macs == 0 or self.parameters == 0

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be factorized, and why the others would not.

        Raises:
            SettingError: `only` or `skip` names a layer that is not there.
            TechniqueError: The aim cannot be reached, or no layer pays; or the model is pruned,
                clustered or fake-quantized.
        """
        able, planner = self._planner(model)
        if self.max_drop is None:
            return self._selection(model, able, self._choices(model, planner))
        if not planner.choices(0.0):
            raise self._nothing_pays(model)
        return self._selection(model, able, planner.choices(0.0))

    def changed(self, model: tf_keras.Model, optimized: tf_keras.Model) -> Selection:
        """Says which layers were factorized: of those that can be, as many as the aim needed."""
        able, planner = self._planner(model)
        made = {
            name: choice
            for name, choice in planner.choices(0.0).items()
            if was_factorized(model, optimized, name)
        }
        return self._selection(model, able, made)

    def judged_on(self, task: Task) -> None:
        """The weights alone say what goes first."""

    def probes(
        self, model: tf_keras.Model, *, task: Task | None = None, inputs: Arrays | None = None
    ) -> list[Probe]:
        """Returns how to factorize each layer of a model alone."""
        return low_rank(model, self._planner(model)[1])

    def wrap_for(self, model: tf_keras.Model, task: Task) -> Wrapped:
        """Returns what `wrap` does, with the validation data of a task."""
        if self.max_drop is None:
            curves = curves_for(model, self, task=task) if self._measures else ()
            return self._wrapped(model, curves)
        planner = self._planner(model)[1]
        spread = Spread(curves_for(model, self, task=task), "macs")
        bench = bench_of(model, task, SAMPLES)
        energies = searched(bench, planner, spread, self.max_drop)
        return self._factorized(model, planner.choices(energies))

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns the factorized model, ready to be trained.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Not needed.
            representative: Not needed.

        Raises:
            SettingError: What is measured needs inputs, or labels, that are missing.
            TechniqueError: The aim cannot be reached, or no layer pays.
        """
        self.check_loop(steps_per_epoch)
        source = load_model(model)
        if self.max_drop is not None:
            raise SettingError(
                received=f"max_drop={self.max_drop} for wrap, which is given no labels",
                expected="macs, parameters or energy",
                fix="use apply or tfopt.optimize, which measure the metric",
            )
        curves = curves_for(source, self, inputs=representative) if self._measures else ()
        return self._wrapped(source, curves)

    @property
    def _measures(self) -> bool:
        return self.allocation == "sensitivity" and not self.changes_nothing

    def _wrapped(self, source: tf_keras.Model, curves: Sequence[Curve]) -> Wrapped:
        planner = self._planner(source)[1]
        return self._factorized(source, self._choices(source, planner, curves))

    def _factorized(self, source: tf_keras.Model, choices: dict[str, Choice]) -> Wrapped:
        if not choices and not self.changes_nothing:
            raise self._nothing_pays(source)
        smaller = factorized(source, choices)
        selection = self._selection(source, self._planner(source)[0], choices)
        return Wrapped(smaller, [], lambda: clone(smaller), selection)

    def _planner(self, model: tf_keras.Model) -> tuple[Selection, Planner]:
        """The layers that can be factorized, and their products."""
        refuse_optimized(model, self.name)
        able = select(model, reason_to_skip, only=self.only, skip=self.skip)
        return able, Planner(model, self.method, able.touched)

    def _choices(
        self, model: tf_keras.Model, planner: Planner, curves: Sequence[Curve] = ()
    ) -> dict[str, Choice]:
        """The layers with their ranks, which reach the aim."""
        choices = planner.choices(self._energies(model, planner, curves))
        if not choices and not self.changes_nothing:
            raise self._nothing_pays(model)
        return choices

    def _selection(
        self, model: tf_keras.Model, able: Selection, choices: dict[str, Choice]
    ) -> Selection:
        """The layers that are factorized, and why the others are not."""
        left = tuple(
            Skipped(name, type(model.get_layer(name)).__name__, _NO_USE)
            for name in able.touched
            if name not in choices
        )
        return Selection(tuple(choices), (*able.skipped, *left))

    def _nothing_pays(self, model: tf_keras.Model) -> TechniqueError:
        return TechniqueError(
            received=f"model {model.name!r}, of which no layer pays with {self.settings}",
            expected="at least one layer whose product costs less than itself",
            fix=f"{'raise max_drop' if self.max_drop is not None else 'lower energy'}, or remove "
            "channels instead: tfopt.ChannelPruning",
        )

    def _energies(
        self, model: tf_keras.Model, planner: Planner, curves: Sequence[Curve]
    ) -> float | dict[str, float]:
        """The share of energy that reaches the aim: one for all, or one for each layer."""
        if self.energy is not None:
            return float(self.energy)
        aim = "macs" if self.macs is not None else "parameters"
        field, whole = _FIELDS[aim], getattr(model_cost(model), _FIELDS[aim])
        wanted = round(whole * (getattr(self, aim) or 0))
        if curves:
            found: float | dict[str, float] | None = reached(
                planner, Spread(curves, field), field, wanted
            )
        else:
            found = planner.energy_for(field, wanted)
        if found is None:
            most = math.floor(1000 * planner.largest_saving(field) / whole) / 1000
            raise TechniqueError(
                received=f"{self.settings} for model {model.name!r}, of which {most:.1%} can be "
                "removed with all ranks at 1",
                expected=f"at most {aim}={most:g}",
                fix="lower the aim, or remove channels as well: tfopt.ChannelPruning",
            )
        return found
