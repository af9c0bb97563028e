"""Samples as tfopt reads them: arrays, and splits of them."""

from tfopt.data.arrays import (
    Arrays,
    Batch,
    DataWarning,
    as_arrays,
    check_finite,
    columns,
    concatenate,
    fitted,
    leaves,
    length,
    matched,
    select,
)
from tfopt.data.choosing import balanced_positions, spread_positions
from tfopt.data.splits import ArraySplit, DatasetSplit, Split, sample_positions

__all__ = [
    "ArraySplit",
    "Arrays",
    "Batch",
    "DataWarning",
    "DatasetSplit",
    "Split",
    "as_arrays",
    "balanced_positions",
    "check_finite",
    "columns",
    "concatenate",
    "fitted",
    "leaves",
    "length",
    "matched",
    "sample_positions",
    "select",
    "spread_positions",
]
