"""Samples as tfopt reads them: arrays, and splits of them."""

from tfopt.data.arrays import (
    Arrays,
    Batch,
    DataWarning,
    as_arrays,
    check_finite,
    columns,
    concatenate,
    leaves,
    length,
    select,
)
from tfopt.data.splits import ArraySplit, DatasetSplit, Split, sample_positions

__all__ = [
    "ArraySplit",
    "Arrays",
    "Batch",
    "DataWarning",
    "DatasetSplit",
    "Split",
    "as_arrays",
    "check_finite",
    "columns",
    "concatenate",
    "leaves",
    "length",
    "sample_positions",
    "select",
]
