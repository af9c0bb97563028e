"""The tf_keras layer that calls any Keras 3 operation: the last resort of the translation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tfopt.errors import ModelError
from tfopt.keras2.graph import is_symbol

_INPUT, _WEIGHT = "tfopt:input:", "tfopt:weight:"


@tf_keras.saving.register_keras_serializable(package="tfopt")
class Keras3Operation(tf_keras.layers.Layer):
    """Calls any operation or layer of Keras 3, on its TensorFlow backend.

    The last resort for what has no tf_keras layer: exact, trained, saved and loaded like any layer,
    but a closed box to every technique. The Keras 3 object is used as a function: the values of its
    variables are those of this layer's weights.

    Args:
        operation: The Keras 3 object, or its configuration as JSON.
        arguments: What it is called with: `[args, kwargs]`, or that as JSON, where
            `tfopt:input:0` stands for the first input, and so on, and `tfopt:weight:0` for the
            first weight that is itself an argument.
        weights_spec: Name, shape, dtype and whether it is trained, of each weight: those that are
            arguments, then the operation's own.
        **kwargs: name, trainable, dtype.
    """

    def __init__(
        self,
        operation: Any,
        arguments: Any,
        *,
        weights_spec: Sequence[Sequence[Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "autocast": False})
        live = _from_json(operation), _from_json(arguments)
        # tf_keras would take a Keras 3 layer in an attribute for a layer of its own.
        self._live = lambda: live
        self._weights_spec = [list(spec) for spec in weights_spec]

    @property
    def operation(self) -> Any:
        """The Keras 3 object."""
        return self._live()[0]

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
        args, kwargs = keras.tree.map_structure(
            lambda leaf: filled.get(leaf, leaf) if isinstance(leaf, str) else leaf, self._live()[1]
        )
        if getattr(self.operation, "_call_has_training_arg", False):
            kwargs["training"] = bool(training)
        values = list(zip(variables, map(tf.convert_to_tensor, own), strict=True))
        with keras.StatelessScope(state_mapping=values, collect_losses=True) as scope:
            outputs = self.operation(*args, **kwargs)
        for loss in scope.losses:  # what `call` gave to add_loss
            self.add_loss(loss)
        if training:
            for variable, weight in zip(variables, own, strict=True):
                if not variable.trainable:
                    weight.assign(scope.get_current_value(variable))
        return outputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """No mask goes on: as with operations in Keras 3."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`.

        What Keras 3 cannot store stands for itself: the layer can then be copied, but not saved.
        """
        operation, arguments = map(_to_json, self._live())
        config = super().get_config()
        config.pop("autocast", None)
        return {
            **config,
            "operation": operation,
            "arguments": arguments,
            "weights_spec": self._weights_spec,
        }


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
        operation: A Keras 3 operation or built layer. It is left as it was.
        args: The positional arguments of the call, tf_keras tensors in them.
        kwargs: The keyword arguments of the call.
        name: The new layer's name.

    Raises:
        ModelError: Keras 3 runs on another backend than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            received=f"the operation {name!r} of class {type(operation).__name__}, which tf_keras "
            f"lacks, with Keras 3 on the backend {keras.backend.backend()}",
            expected="Keras 3 on TensorFlow, where tf_keras can call it",
            fix="set KERAS_BACKEND=tensorflow before starting Python, and load the model from its "
            "file",
        )
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
    spec = [
        [f"{i}_{v.name}", list(v.shape), _wide(v.dtype), bool(v.trainable)]
        for i, v in enumerate(variables)
    ]
    layer = Keras3Operation(_in_32_bits(operation), template, weights_spec=spec, name=name)
    return Box(layer, variables), tensors[0] if len(tensors) == 1 else tensors


def _variables(operation: Any) -> list[Any]:
    """The variables of a Keras 3 layer; an operation has none."""
    return list(getattr(operation, "weights", []))


def _wide(dtype: str) -> str:
    return "float32" if "float" in dtype else dtype


def _in_32_bits(operation: Any) -> Any:
    """A layer in half precision gets a twin in 32 bits."""
    if "float16" not in str(getattr(operation, "compute_dtype", "")):
        return operation
    twin = type(operation).from_config({**operation.get_config(), "dtype": "float32"})
    twin.build_from_config(operation.get_build_config())
    return twin


def _to_json(value: Any) -> Any:
    """A Keras 3 object, or a structure, as JSON that is known to give it back; else the object."""
    import keras

    try:
        stored = keras.saving.serialize_keras_object(value)
        build_config = getattr(value, "get_build_config", lambda: None)()
        text = json.dumps({"object": stored, "build_config": build_config})
        _from_json(text)
    except Exception:  # a layer of the user's may fail at this in any way
        return value
    return text


def _from_json(text: Any) -> Any:
    import keras

    if not isinstance(text, str):
        return text
    content = json.loads(text)
    value = keras.saving.deserialize_keras_object(content["object"])
    if content["build_config"]:
        value.build_from_config(content["build_config"])
    return value
