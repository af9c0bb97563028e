"""Whether two models differ by more than chance: a metric's difference on the same samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfopt.errors import SettingError
from tfopt.measure.intervals import NORMAL_95, bootstrap
from tfopt.measure.quality import Quality
from tfopt.report import Difference


def difference(quality: Quality, reference: Quality, *, seed: int = 0) -> Difference:
    """Compares two models sample by sample, which tells far smaller differences than two intervals.

    Args:
        quality: Of one model, as `evaluate` gives it.
        reference: Of the other, with the same task and split.
        seed: Seeds the bootstrap where samples are not right or wrong.

    Raises:
        SettingError: They were measured with other metrics or on other samples.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> quality = tfopt.evaluate(small_cnn(), task=tfopt.Task.digits())
        >>> difference(quality, quality).within_noise
        True

    References:
        Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
        Psychometrika 12 (1947); A. Agresti and Y. Min, "Simple improved confidence intervals for
        comparing matched proportions", Statistics in Medicine 24 (2005), section 2.
    """
    ours = (quality.metric, quality.split, quality.samples)
    theirs = (reference.metric, reference.split, reference.samples)
    if ours != theirs or quality.statistic is None or reference.statistic is None:
        raise SettingError(
            received=f"a quality of (metric, split, samples) {ours} and one of {theirs}",
            expected="two of one metric, measured on the same samples",
            fix="evaluate both models with the same task and split",
        )
    return difference_on(np.arange(quality.samples), quality, reference, seed=seed)


def difference_on(
    positions: np.ndarray, quality: Quality, reference: Quality, *, seed: int = 0
) -> Difference:
    """Compares two models on some of their samples, as `difference` does on all.

    Args:
        positions: Which samples.
        quality: Of one model.
        reference: Of the other, with the same task and split.
        seed: Seeds the bootstrap where samples are not right or wrong.
    """
    if quality.right is not None and reference.right is not None:
        return _of_shares(quality.right[positions], reference.right[positions])
    one, other = quality.statistic, reference.statistic
    assert one is not None and other is not None  # `evaluate` knows them

    def apart(index: np.ndarray | slice) -> float:
        return one(positions[index]) - other(positions[index])

    low, high = bootstrap(apart, len(positions), seed=seed, resamples=200)
    return Difference(apart(slice(None)), low, high)


def p_value(found: Difference) -> float:
    """Returns how likely chance alone makes a difference as large.

    Of McNemar's test where there is one; else as if the bootstrap's distribution were normal.

    Args:
        found: The difference.

    Example:
        >>> round(p_value(Difference(0.02, -0.01, 0.05)), 2)
        0.19
    """
    if found.p_value is not None:
        return found.p_value
    spread = (found.high - found.low) / (2 * NORMAL_95)
    if not spread > 0:
        return float(found.value == 0)
    return math.erfc(abs(found.value) / spread / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for how many there are: the chance of one false alarm among all.

    Args:
        p_values: Of single tests, which may depend on each other.

    Returns:
        The corrected ones, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    References:
        S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
        Statistics 6 (1979), pages 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    raised = np.maximum.accumulate(factors * np.asarray(p_values)[order])
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, raised)
    return [float(value) for value in corrected]


def drop(quality: Quality, baseline: Quality, *, seed: int = 0) -> Difference:
    """Returns how much worse a model is than another: above 0 is worse, whatever the metric.

    Args:
        quality: Of the model, as `evaluate` gives it.
        baseline: Of the other, with the same task and split.
        seed: See `difference`.

    Raises:
        SettingError: They were measured with other metrics or on other samples.
    """
    found = difference(quality, baseline, seed=seed)
    return found.turned() if quality.higher_is_better else found


def _of_shares(right: np.ndarray, reference: np.ndarray) -> Difference:
    """The difference of two shares of right samples; only those where they differ tell."""
    samples = len(right)
    won, lost = int((right & ~reference).sum()), int((~right & reference).sum())
    value = (won - lost) / samples
    adjusted = samples + 2  # half a sample more in each of the four cells
    center = (won - lost) / adjusted
    spread = NORMAL_95 * math.sqrt((won + lost + 1) / adjusted - center**2) / math.sqrt(adjusted)
    return Difference(
        value,
        max(-1.0, min(value, center - spread)),
        min(1.0, max(value, center + spread)),
        _mcnemar(won, lost),
    )


def _mcnemar(won: int, lost: int) -> float:
    """How likely a split at least as uneven is if winning and losing are equally likely."""
    total = won + lost
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        for k in range(min(won, lost) + 1)
    ]
    return min(1.0, 2 * sum(math.exp(term - total * math.log(2)) for term in logs))
