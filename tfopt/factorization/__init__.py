"""Kernels as products of smaller ones.

`matrix` and `convolution` factorize the kernel of one layer and say what that costs, `choice` gives
each layer of a model the rank that an aim leaves it, `layers` makes the Keras layers.
"""
