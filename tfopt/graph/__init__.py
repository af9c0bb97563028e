"""The layer graph of a functional model: walking it, rebuilding it, and proving it the same.

`calls` walks a model call by call and builds it again with layers replaced.
"""
