"""Simulating 8-bit inference in training.

`layout` decides where the file rounds, `insert` puts fake quantization there and proves that it
changed nothing else, `grid` says which numbers weights can have, `ranges` and `kernels` do the
rounding, `gains` keeps the zeros and clusters of kernels that are not rounded, `finish` makes of a
trained model what the converter understands. `synthetic` makes inputs to calibrate with where there
is no data.
"""
