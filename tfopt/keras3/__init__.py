"""Turns a Keras 3 model into a tf_keras one that computes the same, and proves it.

The way of a model, and where to add what:

- `graph` finds the model's calls: as Keras 3 recorded them, or traced from a `call` method.
- `translation` repeats each call on tf_keras tensors, in Keras 3's order, nested models dissolved.
- `layers` makes the tf_keras layer for a Keras 3 layer. **A new layer class goes here**, as a
  function in its table; most need none, since the configuration carries over (`config`).
- `ops` makes the tf_keras layer for a `keras.ops` call (`call` is what the rules see of one), and
  `tensorflow_ops` calls TensorFlow's functions where no layer does it. **A new op goes here**; an
  op that is in neither table still works, as a `Keras3Operation`.
- `channels` turns layers around whose channels come first.
- `activations` writes the activation functions that tf_keras lacks or means differently.
- `twins` holds the tf_keras layers of our own, counterparts of Keras 3 layers that tf_keras lacks.
- `operation` holds `Keras3Operation`, the layer that calls any Keras 3 operation: the last resort.
- `functions` turns Python functions that call TensorFlow (a Lambda's, say) into layers.
- `proof` compares the two models on random inputs and names the first layer that differs;
  `samples` draws inputs that both take, and `running` runs them.
"""
