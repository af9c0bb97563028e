"""Low-rank factorization: layers become products of smaller ones, and are fine-tuned."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from tfopt.errors import SettingError, TechniqueError, nearest
from tfopt.factorization.plan import Choice, Planner, reason_to_skip
from tfopt.factorization.rebuild import factorized
from tfopt.graph.cost import model_cost
from tfopt.keras_gate import clone, load_model, tf_keras
from tfopt.selection import select
from tfopt.technique import Selection, Skipped, Stage
from tfopt.wrapping import AnyModel, FineTuned, Wrapped, refuse_fake_quantized

if TYPE_CHECKING:
    from tfopt.data import Arrays

Method = Literal["auto", "spatial", "tucker"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank(FineTuned):
    """Replaces kernels by products of smaller ones, where that saves MACs and weights.

    A dense layer or 1x1 convolution becomes two by truncated SVD; a larger convolution a vertical
    and a horizontal one (spatial SVD), or three with a small one in the middle (Tucker-2). Every
    layer keeps the same share of the energy of its kernel, so that one in which few directions
    matter loses most. Then the model is fine-tuned.

    Exactly one aim is given: `energy`, `macs` or `parameters`.

    Args:
        energy: The share of the sum of its squared weights that each kernel keeps, 0 to 1.
        macs: The share of the model's multiply-accumulate operations to remove, 0 to 1.
        parameters: The share of the model's weights to remove, 0 to 1.
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

    energy: float | None = None
    macs: float | None = None
    parameters: float | None = None
    method: Method = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        aims = {name: getattr(self, name) for name in ("energy", "macs", "parameters")}
        given = {name: value for name, value in aims.items() if value is not None}
        if len(given) != 1:
            raise SettingError(
                received=f"the aims {given or 'none'}",
                expected="exactly one of energy, macs and parameters",
                fix="energy=0.9 keeps nine tenths of each kernel; macs=0.5 removes half the work",
            )
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise SettingError(
                    received=f"{name}={value!r}", expected="a share from 0 to 1", fix="0.5 is half"
                )
        if self.method not in get_args(Method):
            raise SettingError(
                received=f"method={self.method!r}",
                expected=nearest(str(self.method), get_args(Method)),
                fix="leave it out for auto",
            )

    @property
    def changes_nothing(self) -> bool:
        """Whether all energy is kept, or nothing is to be removed."""
        return self.energy == 1 or self.macs == 0 or self.parameters == 0

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be factorized, and why the others would not.

        Raises:
            SettingError: `only` or `skip` names a layer that is not there.
            TechniqueError: The aim cannot be reached, or no layer pays.
        """
        return self._plan(model)[0]

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns the factorized model, ready to be trained.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Not needed.
            representative: Not needed.

        Raises:
            TechniqueError: The aim cannot be reached, or no layer pays.
        """
        source = load_model(model)
        selection, choices = self._plan(source)
        smaller = factorized(source, choices)
        return Wrapped(smaller, [], lambda: clone(smaller), selection)

    def _plan(self, model: tf_keras.Model) -> tuple[Selection, dict[str, Choice]]:
        """The layers with their ranks, and why the others have none."""
        refuse_fake_quantized(model, self.name)
        able = select(model, reason_to_skip, only=self.only, skip=self.skip)
        planner = Planner(model, self.method, able.touched)
        choices = planner.choices(self._energy(model, planner))
        if not choices and not self.changes_nothing:
            raise TechniqueError(
                received=f"model {model.name!r}, of which no layer pays with {self.settings}",
                expected="at least one layer whose product costs less than itself",
                fix="lower energy, or remove channels instead: tfopt.ChannelPruning",
            )
        left = tuple(
            Skipped(name, type(model.get_layer(name)).__name__, "its product would cost more")
            for name in able.touched
            if name not in choices
        )
        return Selection(tuple(choices), (*able.skipped, *left)), choices

    def _energy(self, model: tf_keras.Model, planner: Planner) -> float:
        """The share of energy that reaches the aim."""
        if self.energy is not None:
            return float(self.energy)
        field = "macs" if self.macs is not None else "weights"
        share = self.macs if self.macs is not None else self.parameters
        whole = getattr(model_cost(model), field)
        energy = planner.energy_for(field, round(whole * (share or 0)))
        if energy is None:
            most = planner.largest_saving(field) / whole
            raise TechniqueError(
                received=f"{self.settings} for model {model.name!r}, of which {most:.1%} can be "
                "removed with all ranks at 1",
                expected=f"at most {most:.2f}",
                fix="lower the aim, or remove channels as well: tfopt.ChannelPruning",
            )
        return energy
