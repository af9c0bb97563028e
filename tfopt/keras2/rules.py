"""Rules of the user's: what a custom layer computes, said in layers of tf_keras."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfopt.errors import ModelError, SettingError, nearest
from tfopt.keras2.comparing import difference
from tfopt.keras2.copying import first_line
from tfopt.keras2.graph import is_symbol
from tfopt.keras2.names import snake_case

Rule = Callable[..., Any]
"""`rule(layer, *inputs, **arguments)`: returns what a call of the layer computes."""

_ROUNDING = 1e-4
_SEEDS = 3
# Tried in turn, the first that the layer takes: for an open dimension, and above all integers.
_SIZES = (16, 64)
_TOPS = (1000, 100, 10, 2)


@dataclasses.dataclass(frozen=True)
class Applied:
    """What stands for one call of a layer.

    Args:
        model: A tf_keras functional model of flat inputs.
        tensors: What to call it on.
        path: What the names of its layers are to begin with.
    """

    model: Any
    tensors: list[Any]
    path: tuple[str, ...]


class Rules:
    """What stands for the layers that the user gave rules for.

    Args:
        rules: A rule by the layer's class, its class name or the layer's own name.

    Raises:
        SettingError: It is no such dictionary.
    """

    def __init__(self, rules: Mapping[type | str, Rule] | None = None) -> None:
        self._rules = dict(rules or {})
        for key, rule in self._rules.items():
            if not isinstance(key, type | str) or not callable(rule):
                raise SettingError(
                    received=f"rules={{{key!r}: {rule!r}}}",
                    expected="a function by a layer's class, its class name or its own name",
                    fix="write rules={'MyLayer': function}, the function taking the layer and the "
                    "tensors it is called on",
                )
        self._used: set[type | str] = set()
        self._seen: set[str] = set()
        self._models: dict[int, tuple[Any, str, Any]] = {}

    @property
    def classes(self) -> dict[str, type]:
        """The classes among the keys by their names, so that files with such layers can be read."""
        return {key.__name__: key for key in self._rules if isinstance(key, type)}

    def applied(self, layer: Any, args: Any, kwargs: dict[str, Any]) -> Applied | None:
        """Returns what stands for a call of a layer, None if there is no rule for it.

        A layer that is called again gets the same model, so that its weights stay shared.

        Args:
            layer: A layer of Keras 3 or tf_keras.
            args: The positional arguments of the call, tf_keras tensors in them.
            kwargs: The keyword arguments of the call.

        Raises:
            ModelError: The rule fails, or computes something else than the layer.
        """
        rule = self._found(layer)
        if rule is None:
            return None
        kwargs = {key: value for key, value in kwargs.items() if key != "training"}
        tensors = [leaf for leaf in tf.nest.flatten((args, kwargs)) if is_symbol(leaf)]
        call = _Call(layer, args, kwargs)
        if id(layer) not in self._models:
            self._models[id(layer)] = layer, call.signature, _model(rule, call)
        _, signature, model = self._models[id(layer)]
        if signature != call.signature:
            raise _refusal(
                layer,
                "is called twice, on other shapes or with other arguments",
                "calls that are alike, since both are to share the weights that the rule makes",
                "use a layer of its own for each of them",
            )
        # A layer in the place of another takes its name, several have it in front of theirs.
        return Applied(model, tensors, () if _only_layer(model) else (layer.name,))

    def check_used(self) -> None:
        """Refuses rules for layers that the model does not have.

        Raises:
            SettingError: There is such a rule.
        """
        for key in self._rules:
            if key not in self._used:
                name = key.__name__ if isinstance(key, type) else key
                raise SettingError(
                    received=f"a rule for {name!r}, and the model has no such layer",
                    expected=f"classes or names of its layers ({nearest(name, self._seen)})",
                    fix="correct the name, or leave the rule out; layers inside of other layers, "
                    "such as TimeDistributed, cannot have one",
                )

    def _found(self, layer: Any) -> Rule | None:
        if not self._rules:
            return None
        names = (type(layer), type(layer).__name__, layer.name)
        self._seen |= set(names[1:])
        for key in names:
            if key in self._rules:
                self._used.add(key)
                return self._rules[key]
        return None


class _Call:
    """One call of a layer, which can be repeated with other tensors."""

    def __init__(self, layer: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.layer = layer
        self._arguments = (tuple(args), kwargs)
        self.tensors = [leaf for leaf in tf.nest.flatten(self._arguments) if is_symbol(leaf)]
        self.signature = str(
            tf.nest.map_structure(
                lambda leaf: (leaf.shape, leaf.dtype) if is_symbol(leaf) else leaf, self._arguments
            )
        )

    def filled(self, values: list[Any]) -> tuple[Any, dict[str, Any]]:
        """The arguments, other values in the place of the tensors."""
        new = dict(zip(map(id, self.tensors), values, strict=True))
        args, kwargs = tf.nest.map_structure(lambda leaf: new.get(id(leaf), leaf), self._arguments)
        return args, dict(kwargs)

    def repeated(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """What the user's layer computes of arrays at inference, flat."""
        if isinstance(self.layer, tf_keras.layers.Layer):
            args, kwargs = self.filled([tf.convert_to_tensor(array) for array in arrays])
            if self.layer._call_spec.expects_training_arg:
                kwargs["training"] = False
            return [np.asarray(value) for value in tf.nest.flatten(self.layer(*args, **kwargs))]
        import keras

        args, kwargs = self.filled(arrays)
        if getattr(self.layer, "_call_has_training_arg", False):  # an op of Keras 3 has none
            kwargs["training"] = False
        outputs = keras.tree.flatten(self.layer(*args, **kwargs))
        return [np.asarray(keras.ops.convert_to_numpy(value)) for value in outputs]

    def random_inputs(self, seed: int, size: int, top: int) -> list[np.ndarray]:
        """Arrays like the tensors: `size` long where that is open, integers below `top`."""
        random = np.random.default_rng(seed)
        arrays = []
        for tensor in self.tensors:
            batch, *rest = tensor.shape
            shape = [batch or 2, *(length or size for length in rest)]
            kind = tensor.dtype.as_numpy_dtype
            if tensor.dtype.is_floating:
                arrays.append(random.standard_normal(shape).astype(kind))
            else:
                arrays.append(random.integers(0, 2 if kind is bool else top, shape).astype(kind))
        return arrays


def _model(rule: Rule, call: _Call) -> Any:
    """The model a rule makes of a call, shown to compute the same."""
    symbols = [
        tf_keras.Input(batch_size=tensor.shape[0], shape=tensor.shape[1:], dtype=tensor.dtype)
        for tensor in call.tensors
    ]
    args, kwargs = call.filled(symbols)
    try:
        outputs = tf.nest.flatten(rule(call.layer, *args, **kwargs))
        if not outputs or not all(map(is_symbol, outputs)):
            raise TypeError(f"it returned {outputs!r}, where tensors of tf_keras are expected")
        model = tf_keras.Model(symbols, outputs)
    except Exception as error:  # the code is the user's: it may fail in any way
        raise _refusal(
            call.layer,
            f"has a rule that fails: {first_line(error)}",
            "a function that calls layers of tf_keras on the tensors it is given, and returns what "
            "comes out",
            "mend the rule",
        ) from error
    _prove(call, model)
    for layer in model.layers:
        layer._name = call.layer.name if layer is _only_layer(model) else _own_name(layer)
        if not getattr(call.layer, "trainable", True):
            layer.trainable = False
    return model


def _prove(call: _Call, model: Any) -> None:
    """Compares a layer with what stands for it on random inputs.

    Raises:
        ModelError: They differ by more than rounding, or the layer cannot be called.
    """
    for arrays, expected in _trials(call):
        received = [np.asarray(x) for x in tf.nest.flatten(model(arrays, training=False))]
        if len(expected) != len(received):
            raise _refusal(
                call.layer,
                f"has a rule that returns {len(received)} tensors",
                f"{len(expected)}, as the layer does",
                "let the rule return all of them, in the layer's order",
            )
        worst = max(map(difference, expected, received))
        if not worst <= _ROUNDING:
            raise _refusal(
                call.layer,
                f"has a rule whose result differs by {worst:.2g} of the largest value, on random "
                "inputs at inference",
                f"at most {_ROUNDING:g}, the rounding of floating point",
                "correct the rule; the weights have to be handed over, with set_weights behind the "
                "call of a new layer",
            )


def _trials(call: _Call) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Random inputs that the layer takes, each with what it makes of them."""
    for size, top in itertools.product(_SIZES, _TOPS):
        try:
            call.repeated(call.random_inputs(0, size, top))
            break
        except Exception as error:  # whatever a layer says to inputs that do not suit it
            failure = error
    else:
        raise _refusal(
            call.layer,
            f"cannot be called on random inputs: {first_line(failure)}",
            "a layer that can, so that its rule can be checked",
            "leave the rule out, or let the layer take any numbers",
        ) from failure
    for seed in range(_SEEDS):
        arrays = call.random_inputs(seed, size, top)
        yield arrays, call.repeated(arrays)


def _only_layer(model: Any) -> Any:
    """The one layer of a model besides its inputs, None if there are more."""
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    return layers[0] if len(layers) == 1 else None


def _own_name(layer: Any) -> str:
    """A layer's name without the number of a name that Keras made, which counts in the process."""
    stem = re.sub(r"_\d+$", "", layer.name)
    return stem if stem == snake_case(type(layer).__name__) or stem[:3] == "tf." else layer.name


def _refusal(layer: Any, received: str, expected: str, fix: str) -> ModelError:
    name = f"the layer {layer.name!r} of class {type(layer).__name__}"
    return ModelError(received=f"{name}, which {received}", expected=expected, fix=fix)
