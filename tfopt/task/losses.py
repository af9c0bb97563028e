"""What a loss tells of outputs and labels, and the names Keras knows: without TensorFlow."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from tfopt.errors import SettingError, nearest

_FUNCTIONS = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
)
# Keras knows these in capitals, too
_SHORT = {
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
}
_ALIASES = _SHORT | {
    "huber_loss": "huber",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
}
_CLASSES = (
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
)
NAMES = frozenset({*_FUNCTIONS, *_ALIASES, *map(str.upper, _SHORT), *_CLASSES})

# before a capital that follows a small letter, or that a small letter follows: KL|Divergence
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

CROSSENTROPIES = frozenset(name for name in _FUNCTIONS if name.endswith("crossentropy"))
"""Losses of probabilities, or of logits if they are told so."""

OF_NUMBERS = frozenset(
    {
        "huber",
        "log_cosh",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "poisson",
    }
)
"""Losses of a regression."""


def check_name(name: str) -> None:
    """Refuses the name of a loss that Keras does not know.

    Args:
        name: Of a loss of tf_keras, or one the user has registered there.

    Raises:
        SettingError: There is none of that name.

    Example:
        >>> check_name("mse")
    """
    if name not in NAMES and not _registered(name):
        words = set(name.split("_"))
        holding = [known for known in _FUNCTIONS if words <= set(known.split("_"))]
        wanted = holding[0] if len(holding) == 1 else name  # only a word was left out
        raise SettingError(
            received=f"loss={name!r}",
            expected=nearest(wanted, (*_FUNCTIONS, *_ALIASES)),
            fix="use one of them, a tf_keras loss, or a function of (labels, outputs)",
        )


def each(loss: Any, outputs: Sequence[str]) -> list[Any]:
    """Returns the loss of each output; a single one goes with a single output of any name.

    Args:
        loss: The task's loss; one for all outputs, or a dict or list of several.
        outputs: The names of the outputs, in order.

    Example:
        >>> each({"age": "mae"}, ["name", "age"])
        [None, 'mae']
    """
    if isinstance(loss, dict) and len(loss) == len(outputs) == 1:
        return list(loss.values())
    if isinstance(loss, dict):
        return [loss.get(name) for name in outputs]
    if isinstance(loss, (list, tuple)) and len(loss) == len(outputs):
        return list(loss)
    return [loss] * len(outputs)


def loss_name(loss: Any) -> str | None:
    """Returns the one name of a Keras loss, that of its function; None if it has none.

    Args:
        loss: A name, a loss or a function; of one that is not Keras' own, its name in lower case
            with underscores is returned.

    Example:
        >>> loss_name("BCE"), loss_name("KLDivergence")
        ('binary_crossentropy', 'kl_divergence')
    """
    name = loss
    if not isinstance(loss, str):
        name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    if not isinstance(name, str):
        return None
    snake = _WORD_BEGINS.sub("_", name).lower()
    return _ALIASES.get(snake, snake)


def of_logits(loss: Any) -> bool:
    """Returns whether a loss, or one of several, says that the outputs are logits.

    Example:
        >>> from tfopt.keras_gate import tf_keras
        >>> of_logits(tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        True
    """
    parts = list(loss.values()) if isinstance(loss, dict) else loss
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    return any(getattr(part, "from_logits", False) or _set_from_logits(part) for part in parts)


def of_numbers(loss: Any) -> bool:
    """Returns whether a loss is one of numbers, as in a regression.

    Example:
        >>> of_numbers("mae"), of_numbers("categorical_crossentropy")
        (True, False)
    """
    return loss_name(loss) in OF_NUMBERS


def _set_from_logits(loss: Any) -> bool:
    """Whether it is among a loss's settings, where Keras keeps it of most."""
    return hasattr(loss, "get_config") and bool(loss.get_config().get("from_logits", False))


def _registered(name: str) -> bool:
    """Whether the user made the name known to tf_keras, which is then imported already."""
    if "tf_keras" not in sys.modules:
        return False
    from tfopt.keras_gate import tf_keras

    try:
        return tf_keras.losses.get(name) is not None
    except (ValueError, TypeError):
        return False
