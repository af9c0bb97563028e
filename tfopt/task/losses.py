"""The losses Keras knows by name, known here without importing TensorFlow."""

from __future__ import annotations

import sys

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
_ALIASES = (
    *("BCE", "KLD", "MAE", "MAPE", "MSE", "MSLE", "bce", "kld", "mae", "mape", "mse", "msle"),
    *("huber_loss", "kullback_leibler_divergence", "logcosh"),
)
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
NAMES = frozenset({*_FUNCTIONS, *_ALIASES, *_CLASSES})


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


def _registered(name: str) -> bool:
    """Whether the user made the name known to tf_keras, which is then imported already."""
    if "tf_keras" not in sys.modules:
        return False
    from tfopt.keras_gate import tf_keras

    try:
        return tf_keras.losses.get(name) is not None
    except (ValueError, TypeError):
        return False
