"""What techniques that change the values of kernels while they fine-tune have in common."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from tfopt import facts
from tfopt.fine_tuning import FineTuned
from tfopt.keras2.protocols import declared
from tfopt.keras_gate import tf_keras
from tfopt.selection import check_touched, select
from tfopt.technique import Selection, Skipped

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
