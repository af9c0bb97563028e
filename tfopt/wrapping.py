"""Techniques that change the values of kernels while they fine-tune, and what they build on."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any, ClassVar

from tfopt import facts
from tfopt.errors import TechniqueError
from tfopt.fine_tuning import FineTuned
from tfopt.keras2.protocols import declared
from tfopt.keras_gate import tf_keras
from tfopt.selection import check_touched, select
from tfopt.technique import Selection, Skipped
from tfopt.training.strategies import on_all_replicas

ORDER = "prune first, then cluster, then train quantization-aware"
_FROZEN = "frozen (trainable=False)"


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
        if not self.changes_nothing:
            check_touched(
                selection,
                model,
                can=f"{self.name} can touch no layer",
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


def refuse_optimized(
    model: tf_keras.Model, technique: str, *, trained: Collection[str] | None = None
) -> None:
    """Refuses a model with gains of later stages, for a technique whose training undoes them all.

    Args:
        model: A tf_keras model.
        technique: The technique's name.
        trained: The names of the layers whose weights change; None for all that are not frozen.

    Raises:
        TechniqueError: Weights of the model are pruned or share values, or a layer simulates
            quantization.
    """
    refuse_fake_quantized(model, technique)
    first = f"{technique} first, then prune, then cluster"
    refuse_clustered(model, technique, trained=trained, fix=first)
    _refuse_if_any(
        _trained(facts.sparse_layers(model), trained),
        f"are zero, in model {model.name!r}, for {technique}",
        expected="a model before pruning, since training gives pruned weights a value again",
        fix=first,
    )


def refuse_clustered(
    model: tf_keras.Model,
    technique: str,
    *,
    trained: Collection[str] | None = None,
    fix: str = ORDER,
) -> None:
    """Refuses a model whose weights share values, for a technique whose training parts them.

    Raises:
        TechniqueError: They do.
    """
    _refuse_if_any(
        _trained(facts.clustered_layers(model), trained),
        f"share few values, in model {model.name!r}, for {technique}",
        expected="a model before clustering, since training parts weights that share a value",
        fix=fix,
    )


def _refuse_if_any(layers: list[str], what: str, *, expected: str, fix: str) -> None:
    if layers:
        received = f"weights of {', '.join(layers[:5])} that {what}"
        raise TechniqueError(received=received, expected=expected, fix=fix)


def _trained(names: list[str], trained: Collection[str] | None) -> list[str]:
    return names if trained is None else [name for name in names if name in trained]


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

    @functools.wraps(plain_step)
    def train_step(data: Any) -> dict[str, Any]:
        logs = plain_step(data)
        on_all_replicas(update)
        return logs

    model.train_step = train_step
