"""How many samples a file is best run on at a time, and whether it may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.tflite.tensor_spec import TensorSpec

LARGEST_BATCH = 128
# A batch pays while its largest activation stays in a core's own cache: a MobileNet's float
# activations for two images, a tiny net's for as many as it takes to make calling cheap.
_CACHE_BYTES = 2**20


def largest_batch(tensors: Sequence[dict[str, Any]], threads: int) -> int:
    """Returns how many samples to run at a time at most: as many as the cache holds activations of.

    A rule over the file instead of a trial by the clock: the same file and data are always cut the
    same way.

    Args:
        tensors: What the interpreter tells of the file's tensors, at a batch of one.
        threads: Threads of the interpreter, a cache each.

    Example:
        >>> image = {"shape": [1, 128, 128, 16], "dtype": np.float32}
        >>> largest_batch([image], threads=1), largest_batch([image], threads=4)
        (1, 4)
    """
    activations = [
        np.dtype(item["dtype"]).itemsize * int(np.prod(item["shape"], dtype=np.int64))
        for item in tensors
        if len(item["shape"]) > 1 and item["shape"][0] == 1 and item["dtype"] != np.bytes_
    ]
    return max(1, min(LARGEST_BATCH, threads * _CACHE_BYTES // max(activations, default=1)))


def same(together: np.ndarray, alone: np.ndarray, spec: TensorSpec) -> bool:
    """Whether samples give in a batch what they give one by one.

    Quantized outputs are equal to the last step, others but for rounding.

    Args:
        together: An output of the batch, (samples, ...), decoded.
        alone: The same of the samples one by one.
        spec: The output's description.

    Example:
        >>> spec = TensorSpec("sum", (None,), "float32", scale=None, zero_point=None, index=0)
        >>> same(np.array([1.0, 2.0000001]), np.array([1.0, 2.0]), spec)
        True
    """
    largest = float(np.abs(alone[np.isfinite(alone)]).max(initial=0))
    error = 0.0 if spec.scale else 1e-5 * largest
    return np.allclose(together, alone, rtol=0, atol=error, equal_nan=True)
