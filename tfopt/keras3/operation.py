"""The tf_keras layer that calls any Keras 3 operation: the last resort of the translation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tfopt.keras2.graph import is_symbol

_INPUT, _WEIGHT = "tfopt:input:", "tfopt:weight:"


@tf_keras.saving.register_keras_serializable(package="tfopt")
class Keras3Operation(tf_keras.layers.Layer):
    """Calls any operation or layer of Keras 3, on its TensorFlow backend.

    The last resort for what has no tf_keras layer: exact, saved and loaded like any layer, and
    trained, but a closed box to every technique. The Keras 3 object is used as a function: its
    variables' values are those of this layer's weights.

    Args:
        operation: The Keras 3 object, or its configuration as JSON.
        arguments: What it is called with, as JSON: Keras 3's serialization of `[args, kwargs]`
            with `tfopt:input:0` in the place of the first input, and so on, and `tfopt:weight:0` in
            that of the first weight that is an argument.
        weights_spec: Name, shape, dtype and whether it is trained, of each weight: those that are
            arguments, then the operation's own.
        build_config: How to build the Keras 3 layer, as JSON.
        **kwargs: name, trainable, dtype.
    """

    def __init__(
        self,
        operation: Any,
        arguments: str,
        *,
        weights_spec: Sequence[Sequence[Any]] = (),
        build_config: str = "null",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "autocast": False})
        if isinstance(operation, str):
            operation = _deserialized(operation, build_config)
        # tf_keras would take a Keras 3 layer in an attribute for a layer of its own.
        self._operation = lambda: operation
        self._arguments = arguments
        self._build_config = build_config
        self._weights_spec = [list(spec) for spec in weights_spec]

    @property
    def operation(self) -> Any:
        """The Keras 3 object."""
        return self._operation()

    def build(self, input_shape: Any) -> None:
        """Creates the weights."""
        self.own_weights = [
            self.add_weight(name, shape=shape, dtype=dtype, trainable=trainable)
            for name, shape, dtype, trainable in self._weights_spec
        ]
        super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns what the operation returns for the inputs, a tensor or several."""
        import keras

        variables = _variables(self.operation)
        free = self.own_weights[: len(self.own_weights) - len(variables)]
        own = self.own_weights[len(free) :]
        filled = {f"{_INPUT}{i}": x for i, x in enumerate(tf.nest.flatten(inputs))}
        filled |= {f"{_WEIGHT}{i}": tf.convert_to_tensor(w) for i, w in enumerate(free)}
        template = keras.saving.deserialize_keras_object(json.loads(self._arguments))
        args, kwargs = keras.tree.map_structure(
            lambda leaf: filled.get(leaf, leaf) if isinstance(leaf, str) else leaf, template
        )
        if getattr(self.operation, "_call_has_training_arg", False):
            kwargs["training"] = bool(training)
        values = list(zip(variables, map(tf.convert_to_tensor, own)))
        with keras.StatelessScope(state_mapping=values) as scope:
            outputs = self.operation(*args, **kwargs)
        if training:
            for variable, weight in zip(variables, own):
                if not variable.trainable:
                    weight.assign(scope.get_current_value(variable))
        return outputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """No mask goes on: as with operations in Keras 3."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        import keras

        config = super().get_config()
        config.pop("autocast", None)
        return {
            **config,
            "operation": json.dumps(keras.saving.serialize_keras_object(self.operation)),
            "arguments": self._arguments,
            "weights_spec": self._weights_spec,
            "build_config": self._build_config,
        }


def _variables(operation: Any) -> list[Any]:
    """The variables of a Keras 3 layer; an operation has none."""
    return list(getattr(operation, "weights", []))


def _deserialized(operation: str, build_config: str) -> Any:
    import keras

    built = keras.saving.deserialize_keras_object(json.loads(operation))
    config = json.loads(build_config)
    if config:
        built.build_from_config(config)
    return built


@dataclasses.dataclass(frozen=True)
class Box:
    """A layer that calls a Keras 3 operation.

    Args:
        layer: The tf_keras layer.
        variables: The Keras 3 variables its weights stand for, in their order.
    """

    layer: Keras3Operation
    variables: list[Any]


def boxed(operation: Any, args: Any, kwargs: dict[str, Any], name: str) -> tuple[Box, Any]:
    """Returns a layer for one call of an operation, and the tensors to call it on.

    Args:
        operation: A Keras 3 operation or built layer.
        args: The positional arguments of the call, tf_keras tensors in them.
        kwargs: The keyword arguments of the call.
        name: The new layer's name.

    Raises:
        Exception: The operation or an argument cannot be stored.
    """
    import keras

    tensors: list[Any] = []
    free: list[Any] = []

    def placeholder(leaf: Any) -> Any:
        if isinstance(leaf, keras.Variable):
            free.append(leaf)
            return f"{_WEIGHT}{len(free) - 1}"
        if is_symbol(leaf):
            tensors.append(leaf)
            return f"{_INPUT}{len(tensors) - 1}"
        return leaf

    template = keras.tree.map_structure(placeholder, [list(args), kwargs])
    variables = [*free, *_variables(operation)]
    layer = Keras3Operation(
        operation,
        json.dumps(keras.saving.serialize_keras_object(template)),
        weights_spec=[
            [f"{i}_{v.name}", list(v.shape), _float32(v.dtype), bool(v.trainable)]
            for i, v in enumerate(variables)
        ],
        build_config=json.dumps(getattr(operation, "get_build_config", lambda: None)()),
        name=name,
    )
    # What cannot be read back is found out here rather than when the saved model is loaded.
    config = layer.get_config()
    _deserialized(config["operation"], config["build_config"])
    return Box(layer, variables), tensors[0] if len(tensors) == 1 else tensors


def _float32(dtype: str) -> str:
    return "float32" if "float" in dtype else dtype
