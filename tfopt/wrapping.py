"""What the techniques that fine-tune have in common: wrap a model for training, train, strip."""

from __future__ import annotations

import abc
import dataclasses
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from tfopt import facts, training
from tfopt.errors import SettingError, TechniqueError
from tfopt.keras2.protocols import declared
from tfopt.keras_gate import clone, tf_keras
from tfopt.selection import select
from tfopt.teaching import Teaching
from tfopt.technique import Selection, Skipped, Technique

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task

ORDER = "prune first, then cluster, then train quantization-aware"
_FROZEN = "frozen (trainable=False)"

AnyModel = str | os.PathLike[str] | Any
"""What `load_model` takes: a path, a Keras 3 model or a tf_keras model."""


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A model ready to be trained the technique's way, in a `fit` loop of the user's own.

    Args:
        model: A tf_keras model of its own: compile it and fit it.
        callbacks: What `fit` must be given as `callbacks`.
        strip: Returns the optimized model without anything the training needed, and proves that it
            holds what the technique claims (TechniqueError otherwise).
        selection: Which layers are touched, and why the others are not.
    """

    model: tf_keras.Model
    callbacks: list[tf_keras.callbacks.Callback]
    strip: Callable[[], tf_keras.Model]
    selection: Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuned(Technique, abc.ABC):
    """A technique that changes a model while it is trained a little longer.

    Args:
        epochs: Passes over the training data; fractions are allowed.
        learning_rate: Peak of the learning rate (Adam, warm-up, cosine).
        only: Names or class names of the layers to touch; None for all that can be.
        skip: Names or class names of layers to leave alone.
        teacher: `"baseline"` trains on what the float baseline answers, too (in `apply` without
            `optimize`, the model given); None on the labels alone.
    """

    epochs: float = 1
    learning_rate: float = 1e-3
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    teacher: str | None = None

    calibration_samples: ClassVar[int] = 0
    """How many representative samples `wrap` needs."""

    def __post_init__(self) -> None:
        self.check_teacher()
        for field in ("epochs", "learning_rate"):
            value = getattr(self, field)
            if not _is_number(value) or value <= 0:
                raise SettingError(
                    received=f"{field}={value!r}",
                    expected="a number above 0",
                    fix="epochs may be a fraction: 0.5 trains on half of the data"
                    if field == "epochs"
                    else "1e-3 to 1e-5 are usual for fine-tuning",
                )
        for field in ("only", "skip"):
            value = getattr(self, field)
            if isinstance(value, list):
                object.__setattr__(self, field, tuple(value))
            elif not isinstance(value, tuple) and not (field == "only" and value is None):
                raise SettingError(
                    received=f"{field}={value!r}",
                    expected="a tuple of layer names or class names",
                    fix=f"write {field}=({value!r},)",
                )

    def check_teacher(self) -> None:
        """Refuses a teacher that is neither the baseline nor none.

        Raises:
            SettingError: It is something else.
        """
        if self.teacher not in (None, "baseline"):
            raise SettingError(
                received=f"teacher={self.teacher!r}",
                expected='"baseline" or None',
                fix="to learn from another model use tfopt.Distillation(teacher=path)",
            )

    @abc.abstractmethod
    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns a copy of a model ready to be trained with the technique.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Training steps in an epoch of the loop to come; schedules are fitted
                to `epochs` times as many.
            representative: Inputs to calibrate with, where the technique needs them.

        Returns:
            The model to compile and fit, the callbacks to fit it with, and how to strip it.

        Raises:
            TechniqueError: The technique cannot work on this model.
        """

    def apply(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """Returns an optimized model; the one given is left as it was.

        Args:
            model: A tf_keras functional model.
            task: The data, loss and seed to fine-tune with.

        Raises:
            DataError: The data does not fit the model.
            TechniqueError: The technique cannot work on this model, training diverged, or the
                result does not hold what the technique claims.
        """
        if self.changes_nothing:
            return clone(model)
        count = self.calibration_samples
        wrapped = self.wrap(
            model,
            steps_per_epoch=training.steps_per_epoch(task),
            representative=task.representative_inputs(count) if count else None,
        )
        if self.teacher is not None:
            Teaching(model if task.teacher is None else task.teacher).teach(wrapped.model)
        return self._trained(wrapped, task)

    def _trained(self, wrapped: Wrapped, task: Task) -> tf_keras.Model:
        """A wrapped model trained on the task, and stripped."""
        training.fine_tune(
            wrapped.model,
            task,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            callbacks=wrapped.callbacks,
        )
        return wrapped.strip()

    @property
    def changes_nothing(self) -> bool:
        """Whether the settings ask for no change, so that there is nothing to train for."""
        return False


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel a technique may change.

    Args:
        layer: The layer that has it.
        key: Its key in `facts.kernels`.
        variable: The weights.
    """

    layer: tf_keras.layers.Layer
    key: str
    variable: Any

    @property
    def name(self) -> str:
        """The kernel in words: `conv (kernel)`."""
        return f"{self.layer.name} ({self.key})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelTechnique(FineTuned, abc.ABC):
    """A fine-tuned technique that changes the values of kernels, in whatever layer they are.

    A layer with several kernels is touched if one of them is, and each other one is listed as
    skipped, by `name` of `Kernel`. Of a custom layer, only the kernels that it offers are.
    """

    protocol: ClassVar[str] = ""
    """The method by which a custom layer offers its weights to the technique."""

    @abc.abstractmethod
    def reason_to_skip(self, kernel: Kernel) -> str | None:
        """Says why a kernel that could be trained is left alone, None if it is not."""

    @abc.abstractmethod
    def check_order(self, model: tf_keras.Model) -> None:
        """Refuses a model that an earlier technique left in a state this one would undo.

        Raises:
            TechniqueError: With the order that works.
        """

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be touched, and why the others would not.

        Raises:
            SettingError: `only` or `skip` names a layer that is not there.
            TechniqueError: No layer is left to touch, or an earlier technique's gain would be lost.
        """
        self.check_order(model)
        parts: list[Skipped] = []

        def reason_to_skip_layer(layer: tf_keras.layers.Layer) -> str | None:
            kernels, left_out = self._sorted_kernels(layer)
            if kernels:
                parts.extend(left_out)
                return None
            return left_out[0].reason

        selection = select(model, reason_to_skip_layer, only=self.only, skip=self.skip)
        if not selection.touched and not self.changes_nothing:
            reasons = dict.fromkeys(f"{skip.layer}: {skip.reason}" for skip in selection.skipped)
            raise TechniqueError(
                received=f"model {model.name!r}, of which {type(self).__name__} can touch no layer "
                f"({'; '.join(list(reasons)[:5])})",
                expected="at least one layer with a kernel it can change",
                fix="unfreeze a layer, or correct the settings that leave the layers out",
            )
        return Selection(selection.touched, (*selection.skipped, *parts))

    def chosen_kernels(self, model: tf_keras.Model) -> list[Kernel]:
        """Returns the kernels of the layers that `select` touches, without those left alone."""
        touched = set(self.select(model).touched)
        layers = [layer for layer in model.layers if layer.name in touched]
        return [kernel for layer in layers for kernel in self._sorted_kernels(layer)[0]]

    def _sorted_kernels(self, layer: tf_keras.layers.Layer) -> tuple[list[Kernel], list[Skipped]]:
        """The kernels of a layer to change, and why not the others (or the layer without any)."""
        kind = type(layer).__name__
        reason = self._reason_to_skip_layer(layer)
        if reason is not None:
            return [], [Skipped(layer.name, kind, reason)]
        chosen, left_out = [], []
        trainable = facts.trainable_kernels(layer)
        for key, variable in facts.kernels(layer).items():
            kernel = Kernel(layer, key, variable)
            reason = self.reason_to_skip(kernel) if key in trainable else _FROZEN
            if _is_custom(layer) and key not in declared(layer, self.protocol):
                reason = f"not among the weights that {self.protocol} returns"
            if reason is None:
                chosen.append(kernel)
            else:
                left_out.append(Skipped(kernel.name, kind, reason))
        return chosen, left_out

    def _reason_to_skip_layer(self, layer: tf_keras.layers.Layer) -> str | None:
        """Why no technique that changes kernels may touch a layer, None if it may."""
        if layer.weights and _is_custom(layer) and not declared(layer, self.protocol):
            way = f", or it a method {self.protocol}" if self.protocol else ""
            return (
                "a custom layer: tfopt does not know how it uses its weights (give load_model "
                f"a rule for it{way})"
            )
        if not facts.kernels(layer):
            return "has no kernel"
        return None if facts.trainable_kernels(layer) else _FROZEN

    def named_in_only(self, layer: tf_keras.layers.Layer) -> bool:
        """Whether the user asked for this very layer or its class."""
        return bool({layer.name, type(layer).__name__} & set(self.only or ()))


def _is_custom(layer: tf_keras.layers.Layer) -> bool:
    return not type(layer).__module__.startswith("tf_keras.")


def refuse_fake_quantized(model: tf_keras.Model, technique: str) -> None:
    """Refuses a model that came out of quantization-aware training.

    Raises:
        TechniqueError: A layer simulates quantization.
    """
    if facts.is_fake_quantized(model):
        raise TechniqueError(
            received=f"model {model.name!r}, which simulates quantization, for {technique}",
            expected="a model before quantization-aware training, whose ranges would no longer fit "
            "the weights",
            fix=ORDER,
        )


def after_each_step(model: tf_keras.Model, update: Callable[[], None]) -> None:
    """Makes `fit` run `update` in the graph after each optimizer step.

    The layers stay the user's own, so that masks, call arguments, shared layers and nested cells
    work as they did (a wrapper around each layer would have to hand all of that through), there is
    no callback to forget, and a checkpoint is an ordinary model.

    Args:
        model: The model to be trained; it keeps `update` until it is gone.
        update: Changes variables with TensorFlow operations; it is traced once.
    """
    plain_step = model.train_step

    def train_step(data: Any) -> dict[str, Any]:
        logs = plain_step(data)
        update()
        return logs

    model.train_step = train_step


def _is_number(value: Any) -> bool:
    """Whether a setting is a finite number and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
