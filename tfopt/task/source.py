"""Where a task's data came from, as JSON values that load it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfopt.errors import DataError, nearest
from tfopt.task import losses

_TASK = ("loss", "metric", "batch_size", "seed", "strategy")
# The settings of each kind of source.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "digits": _TASK,
    "tfds": ("name", "train", "validation", "test", "image_size", "dtype", "groups", *_TASK),
    "image_folder": ("directory", "image_size", "channels", "dtype", *_TASK),
}


def describe(
    place: Mapping[str, Any], *, loss: Any, metric: Any, batch_size: int, seed: int
) -> dict[str, Any] | None:
    """Returns a source, or None if the loss or the metric is the user's own and no JSON.

    Args:
        place: The kind of source, and where the data is.
        loss: As for `Task`, like the settings after it.
        metric: See `Task`.
        batch_size: See `Task`.
        seed: See `Task`.

    Example:
        >>> task = {"metric": "mae", "batch_size": 32, "seed": 0}
        >>> describe({"kind": "digits"}, loss="mse", **task)["kind"]
        'digits'
        >>> describe({"kind": "digits"}, loss=max, **task) is None
        True
    """
    record = {**place, "loss": _loss_to_json(loss), "metric": metric}
    try:
        return json.loads(json.dumps(record | {"batch_size": batch_size, "seed": seed}))
    except TypeError:
        return None


def parse(source: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the kind of a source and its settings.

    Raises:
        DataError: The kind or a setting is unknown.

    Example:
        >>> parse({"kind": "digits", "batch_size": 8})
        ('digits', {'batch_size': 8})
    """
    settings = dict(source)
    kind = settings.pop("kind", None)
    if kind not in SETTINGS:
        raise DataError(
            received=f"a data source of kind {kind!r}",
            expected=nearest(str(kind), SETTINGS),
            fix="correct the source in the recipe, or pass the task itself",
        )
    for key in settings:
        if key not in SETTINGS[kind]:
            raise DataError(
                received=f"the key {key!r} in a data source of kind {kind!r}",
                expected=nearest(key, SETTINGS[kind]),
                fix="correct or remove the key",
            )
    if settings.get("image_size") is not None:
        settings["image_size"] = tuple(settings["image_size"])
    if "loss" in settings:
        settings["loss"] = _loss_from_json(settings["loss"])
    return kind, settings


def tf_keras_loss(loss: Any) -> Any:
    """Returns a Keras 3 loss as the tf_keras one of the same name and settings; others as given.

    Raises:
        DataError: tf_keras has no such loss.
        SettingError: It is a name that tf_keras does not know.
    """
    parts = _map(loss, tf_keras_loss)
    if parts is not None:
        return parts
    if isinstance(loss, str):
        losses.check_name(loss)
    if not type(loss).__module__.startswith("keras.") or not hasattr(loss, "get_config"):
        return loss
    return _twin(type(loss).__name__, loss.get_config())


def _loss_to_json(loss: Any) -> Any:
    parts = _map(loss, _loss_to_json)
    if parts is not None:
        return parts
    if type(loss).__module__.startswith("tf_keras.") and hasattr(loss, "get_config"):
        return {"class_name": type(loss).__name__, "config": loss.get_config()}
    return loss


def _map(loss: Any, function: Any) -> Any:
    """Applies a function to the losses of several outputs; None if there is only one."""
    if isinstance(loss, dict):
        return {name: function(one) for name, one in loss.items()}
    return [function(one) for one in loss] if isinstance(loss, (list, tuple)) else None


def _loss_from_json(record: Any) -> Any:
    if isinstance(record, dict) and "class_name" in record:
        return _twin(record["class_name"], record.get("config", {}))
    parts = _map(record, _loss_from_json)
    return record if parts is None else parts


def _twin(class_name: str, config: Mapping[str, Any]) -> Any:
    """A loss of tf_keras by its name and settings."""
    from tfopt.keras_gate import tf_keras

    found = getattr(tf_keras.losses, class_name, None)
    if found is None:
        raise DataError(
            received=f"the loss {class_name!r}",
            expected="a loss of tf_keras.losses",
            fix="pass its tf_keras twin, or a function of (labels, outputs)",
        )
    # Keras 3 keeps a dtype policy beside the settings; tf_keras has none for losses.
    return found.from_config({key: value for key, value in config.items() if key != "dtype"})
