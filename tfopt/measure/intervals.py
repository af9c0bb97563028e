"""How sure a measured number is: confidence intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NORMAL_95 = 1.959963984540054
"""The standard normal distribution's 97.5th percentile: 95 % lie within this many deviations."""

_DRAWS = 50_000_000


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Returns the 95 % confidence interval of a proportion.

    Stays within 0 and 1 and keeps its promise near them, where a net's accuracy is, unlike the
    normal approximation.

    Args:
        successes: How often it was right.
        trials: How many times it was tried, at least 1.

    Returns:
        Lower and upper end.

    Example:
        >>> low, high = wilson(97, 100)
        >>> round(low, 4), round(high, 4)
        (0.9155, 0.9897)

    References:
        E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
        Journal of the American Statistical Association 22 (1927), pages 209-212.
    """
    share, z2 = successes / trials, NORMAL_95**2
    center = share + z2 / (2 * trials)
    spread = NORMAL_95 * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    scale = 1 + z2 / trials
    low, high = (center - spread) / scale, (center + spread) / scale
    return max(0.0, min(share, float(low))), min(1.0, max(share, float(high)))  # exact at 0 and 1


def bootstrap(
    statistic: Callable[[np.ndarray], float], samples: int, *, seed: int, resamples: int = 1000
) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of any statistic of the samples.

    Args:
        statistic: The number, given the positions of the samples to compute it on.
        samples: How many samples there are.
        seed: The same seed gives the same interval.
        resamples: How often samples are drawn, with replacement. Fewer (at least 200) are drawn of
            more than 50,000 samples: their interval is narrow, and drawing it takes long.

    Returns:
        Lower and upper end, of the resamples for which the statistic exists.

    Example:
        >>> values = np.arange(100.0)
        >>> low, high = bootstrap(lambda index: values[index].mean(), 100, seed=0)
        >>> 40 < low < values.mean() < high < 60
        True

    References:
        B. Efron, "Bootstrap Methods: Another Look at the Jackknife", The Annals of Statistics 7
        (1979), pages 1-26.
    """
    generator = np.random.default_rng(seed)
    count = max(min(resamples, 200), min(resamples, _DRAWS // samples))
    drawn = [statistic(generator.integers(0, samples, samples)) for _ in range(count)]
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)
