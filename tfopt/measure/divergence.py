"""How far probabilities have moved: the Kullback-Leibler divergence from another model's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.task.losses import of_logits, of_numbers

# An 8-bit softmax says 0 of what is only unlikely: no class counts as impossible.
_LEAST = 1e-5
_CHUNK = 2**22


def kl_divergence(
    outputs: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    *,
    losses: Sequence[Any] = (),
) -> float | None:
    """Returns the mean Kullback-Leibler divergence of a model's probabilities from another's.

    Agreement counts decisions; this sees probabilities move before a decision turns.

    Args:
        outputs: The outputs of one model, (samples, ...) each, such as `Quality.outputs`.
        reference: Those of the other, the baseline.
        losses: The loss of each output, which tells logits and numbers; none if left out.

    Returns:
        The mean of KL(reference || outputs) over samples and outputs, in nats, at least 0; None if
        no output of the reference is of probabilities or logits.

    Example:
        >>> ours, theirs = [np.array([[.9, .1]])], [np.array([[.8, .2]])]
        >>> round(kl_divergence(ours, theirs), 4), kl_divergence(theirs, theirs)
        (0.0444, 0.0)

    References:
        S. Kullback and R. A. Leibler, "On Information and Sufficiency", The Annals of Mathematical
        Statistics 22 (1951), pages 79-86.
    """
    given = losses or [None] * len(outputs)
    found = [
        _mean(output, other, loss)
        for output, other, loss in zip(outputs, reference, given, strict=True)
        if _read(other, loss) is not None
    ]
    return float(np.mean(found)) if found else None


def probabilities(outputs: np.ndarray, loss: Any, *, like: np.ndarray) -> np.ndarray | None:
    """Returns the probability of each class: of logits the softmax, of a single output both.

    Args:
        outputs: (samples, ..., classes), or (samples, ..., 1), or (samples,).
        loss: The task's loss, which tells logits.
        like: The outputs of the float model, which tell what these mean.

    Returns:
        (samples, ..., classes), at least two; None if they are no probabilities.

    Example:
        >>> yes = np.array([[0.25]])
        >>> probabilities(yes, None, like=yes)
        array([[0.75, 0.25]])
    """
    meaning = _read(like, loss)
    if meaning is None:
        return None
    exact = outputs.astype(np.float64)
    exact = exact[:, np.newaxis] if exact.ndim == 1 else exact
    if meaning == "logits" and exact.shape[-1] == 1:
        exact = np.concatenate([np.zeros_like(exact), exact], axis=-1)
    elif exact.shape[-1] == 1:
        exact = np.concatenate([1 - exact, exact], axis=-1)
    if meaning == "logits":
        exact = np.exp(exact - exact.max(axis=-1, keepdims=True))
    exact = np.maximum(exact, _LEAST)
    return exact / exact.sum(axis=-1, keepdims=True)


def _read(outputs: np.ndarray, loss: Any) -> str | None:
    """What outputs are: "probabilities", "logits", or None."""
    if outputs.dtype.kind != "f" or not outputs.size or of_numbers(loss):
        return None
    if of_logits(loss):
        return "logits"
    single = outputs.ndim == 1 or outputs.shape[-1] == 1
    within = outputs.min() >= 0 and outputs.max() <= 1
    whole = single or np.allclose(outputs.sum(axis=-1), 1, atol=0.02)
    return "probabilities" if within and whole else None


def _mean(output: np.ndarray, reference: np.ndarray, loss: Any) -> float:
    """The divergence of one output, some samples at a time."""
    size = max(1, _CHUNK // max(1, reference[:1].size))
    total, count = 0.0, 0
    for start in range(0, len(reference), size):
        index = slice(start, start + size)
        theirs = probabilities(reference[index], loss, like=reference)
        ours = probabilities(output[index], loss, like=reference)
        assert ours is not None and theirs is not None  # `kl_divergence` has asked
        terms = (theirs * np.log(theirs / ours)).sum(axis=-1)
        total, count = total + float(terms.sum()), count + terms.size
    return max(0.0, total / count)
