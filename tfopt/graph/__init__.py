"""The layer graph of a functional model: walking it, rebuilding it, and proving it the same.

`calls` lists a model's calls and builds it again with layers replaced, `stepping` makes the calls
one by one, `equality` proves that a rewritten model computes the same. `kernels`, `homogeneous` and
`pairs` say which channels can be rescaled, `batch_norm`, `absorption` and `statistics` what batch
norms and biases do to them. `dependencies` finds which channels go together, `slicing` removes
some; `cost` and `slice_cost` reckon what a model costs, as it is and with some of its channels.
"""
