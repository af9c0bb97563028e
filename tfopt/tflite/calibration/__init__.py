"""Activation ranges: what samples show of a file's tensors, and the range made of it."""
