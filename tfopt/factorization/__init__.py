"""Kernels as products of smaller ones.

`factors` factorizes one kernel and says what that costs, `plan` gives each layer of a model the
ranks that an aim leaves it, `rebuild` makes the Keras layers.
"""
