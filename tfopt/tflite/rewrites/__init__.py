"""TensorFlow ops without an 8-bit kernel as equal combinations of ops that have one.

One file for each idea, `table` for which op goes where, `tracing` for how they get into a model.
"""
