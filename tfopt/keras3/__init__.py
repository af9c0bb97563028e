"""Turns a Keras 3 model into a tf_keras one that computes the same, and proves it.

The way of a model, and where to add what:

- `graph` finds the model's calls (tracing subclassed models and custom layers) and repeats each on
  tf_keras tensors, in Keras 3's order, nested models dissolved.
- `layers` makes the tf_keras layer for a Keras 3 layer. **A new layer class goes here**, as a
  function in its table; most need none, since the configuration carries over (`config`).
- `ops` makes the tf_keras layer for a `keras.ops` call. **A new op goes here**; an op that is not in
  the table still works, as an `Operation` layer.
- `activations` writes the activation functions that tf_keras lacks or means differently.
- `twins` holds the tf_keras layers of our own: the counterparts of Keras 3 layers that tf_keras
  lacks, and `Operation`, which calls any Keras 3 operation.
- `proof` compares the two models on random inputs and names the first layer that differs.
"""
