"""A technique that would undo what an earlier one gained is refused, with the order that works."""

from __future__ import annotations

from collections.abc import Collection

from tfopt import facts
from tfopt.errors import TechniqueError
from tfopt.keras_gate import tf_keras

ORDER = "prune first, then cluster, then train quantization-aware"


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
