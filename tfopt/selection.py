"""Which layers a technique touches, by name, then by class, and why it leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tfopt.errors import SettingError, TechniqueError, nearest
from tfopt.facts import check_usable
from tfopt.keras_gate import check_loaded
from tfopt.technique import Selection, Skipped

if TYPE_CHECKING:
    import tf_keras

    ReasonToSkip = Callable[[tf_keras.layers.Layer], str | None]

_MOST_REASONS = 5


def select(
    model: tf_keras.Model,
    reason_to_skip: ReasonToSkip,
    *,
    only: tuple[str, ...] | None = None,
    skip: tuple[str, ...] = (),
) -> Selection:
    """Sorts every layer of a model but its inputs into touched and skipped, nothing silently.

    Args:
        model: A functional model.
        reason_to_skip: Says of a layer why the technique leaves it alone, None if it does not.
        only: Names or class names of the layers that may be touched; None for all.
        skip: Names or class names of the layers that may not.

    Returns:
        The layers, in the model's order.

    Raises:
        ModelError: A weight is NaN or infinite, or layers are still wrapped for training.
        SettingError: A name in `only` or `skip` is no layer's and no layer's class.

    Example:
        >>> from tfopt.keras_gate import tf_keras
        >>> layers = [tf_keras.layers.Dense(3, name="hidden"), tf_keras.layers.Dense(2, name="top")]
        >>> model = tf_keras.Sequential([tf_keras.Input((4,)), *layers])
        >>> selection = select(model, lambda layer: None, skip=("top",))
        >>> selection.touched, selection.skipped[0].reason
        (('hidden',), "named in skip=('top',)")
    """
    named(model, only=only or (), skip=skip)
    check_usable(model)
    touched: list[str] = []
    skipped: list[Skipped] = []
    for layer in _layers(model):
        reason = _reason_by_name(layer, only, skip) or reason_to_skip(layer)
        if reason is None:
            touched.append(layer.name)
        else:
            skipped.append(Skipped(layer.name, type(layer).__name__, reason))
    return Selection(tuple(touched), tuple(skipped))


def named(model: tf_keras.Model, **settings: tuple[str, ...]) -> frozenset[str]:
    """Returns the names of the layers that settings name.

    Args:
        model: A functional model.
        settings: Names or class names of layers, by the setting that has them.

    Raises:
        SettingError: A name is no layer's and no layer's class.
    """
    layers = _layers(model)
    known = {name for layer in layers for name in _names(layer)}
    for setting, names in settings.items():
        for name in names:
            if name not in known:
                raise SettingError(
                    received=f"{setting}={names!r}, and the model has no layer {name!r}",
                    expected=f"names or class names of its layers ({nearest(name, known)})",
                    fix=f"correct {setting}, or leave it out",
                )
    wanted = {name for names in settings.values() for name in names}
    return frozenset(layer.name for layer in layers if wanted & set(_names(layer)))


def check_touched(
    selection: Selection, model: tf_keras.Model, *, can: str, expected: str, fix: str
) -> Selection:
    """Refuses a selection that touches no layer, with the reasons.

    Args:
        selection: What a technique would touch.
        model: The model.
        can: The technique and what it cannot do: `"LowRank can touch no layer"`.
        expected: A model that it can work on.
        fix: What the user may do.

    Returns:
        The selection, if it touches a layer.

    Raises:
        TechniqueError: It touches none.
    """
    if selection.touched:
        return selection
    reasons = [f"{skip.layer}: {skip.reason}" for skip in selection.skipped]
    told = f" ({'; '.join(reasons[:_MOST_REASONS])})" if reasons else ", as it has none"
    raise TechniqueError(
        received=f"model {model.name!r}, of which {can}{told}", expected=expected, fix=fix
    )


def _layers(model: tf_keras.Model) -> list[tf_keras.layers.Layer]:
    """All layers but the inputs."""
    check_loaded(model)
    return [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]


def _names(layer: tf_keras.layers.Layer) -> tuple[str, str]:
    """What a layer may be called in a setting."""
    return layer.name, type(layer).__name__


def _reason_by_name(
    layer: tf_keras.layers.Layer, only: tuple[str, ...] | None, skip: tuple[str, ...]
) -> str | None:
    """Why the user's own choice leaves a layer out."""
    if any(name in skip for name in _names(layer)):
        return f"named in skip={skip!r}"
    if only is not None and not any(name in only for name in _names(layer)):
        return f"not named in only={only!r}"
    return None
