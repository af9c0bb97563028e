"""Repeats the calls of a Keras 3 model on tf_keras tensors, one layer or op at a time."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import keras
import tf_keras

from tfopt.errors import ModelError
from tfopt.keras2.copying import first_line
from tfopt.keras2.flatten import Copies, inline, keep_output_names, name_outputs, single
from tfopt.keras2.graph import is_symbol, nodes_between
from tfopt.keras2.names import Names, legal
from tfopt.keras2.rules import Rules
from tfopt.keras3.call import Call
from tfopt.keras3.channels import call_with_channels_last, channels_first
from tfopt.keras3.config import NoCounterpartError
from tfopt.keras3.functions import tensorflow_layers
from tfopt.keras3.graph import Graph, graph_of, recorded, signature, traced
from tfopt.keras3.layers import Translated, known_activation, paired, translate
from tfopt.keras3.operation import Box, boxed
from tfopt.keras3.ops import plain_layer
from tfopt.keras3.tensorflow_ops import in_tensorflow


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of the Keras 3 model and what stands for it.

    Args:
        name: The user's name of the layer, those of the nested models in front.
        call: What Keras 3 calls.
        args: With which positional arguments, tf_keras tensors in them.
        kwargs: With which keyword arguments.
        outputs: The tf_keras tensors that come out, flat.
    """

    name: str
    call: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]


@dataclasses.dataclass(frozen=True)
class Translation:
    """A tf_keras model and how it came about.

    Args:
        model: The tf_keras model, holding the weights.
        steps: Each call that was repeated, in order.
        pairs: Each Keras 3 variable with the tf_keras weight that stands for it.
        args: The positional arguments the Keras 3 model is called with, symbolic tensors in them.
        masked: Whether layers hand on masks beside their outputs.
    """

    model: Any
    steps: list[Step]
    pairs: list[tuple[Any, Any]]
    args: list[Any]
    masked: bool


def translate_model(model: Any, rules: Rules | None = None) -> Translation:
    """Rebuilds a Keras 3 model in tf_keras, nested models dissolved.

    Args:
        model: The Keras 3 model. It is left as it was.
        rules: What stands for some of its layers.

    Raises:
        ModelError: A subclassed model cannot be traced, or a layer cannot be translated.
    """
    graph, args = graph_of(model)
    _check_inputs(graph)
    translator = _Translator(model, graph, rules or Rules())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        result = translator.translate()
    return Translation(result, translator.steps, translator.pairs, args, translator.masked)


class _Translator:
    """Calls, for each call of the Keras 3 model, the tf_keras layer that stands for it.

    Args:
        model: The Keras 3 model.
        graph: Its calls.
        rules: What stands for some of its layers.
    """

    def __init__(self, model: Any, graph: Graph, rules: Rules) -> None:
        self._model = model
        self._graph = graph
        self._rules = rules
        self._names = Names([*graph.input_names, *(node.operation.name for node in graph.nodes)])
        # What was made of a Keras 3 layer or op, by its id, so that a shared one stays shared.
        self._named: dict[int, str] = {}
        self._layers: dict[int, tuple[Any, Translated]] = {}
        self._ops: dict[int, Any] = {}
        self._boxes: dict[int, Box] = {}
        self._graphs: dict[tuple[int, str], Graph] = {}
        self._ruled: Copies = {}
        self.masked = any(map(_makes_mask, model._flatten_layers()))
        self.steps: list[Step] = []
        self.pairs: list[tuple[Any, Any]] = []

    def translate(self) -> Any:
        """Returns the tf_keras model, holding the weights."""
        graph = self._graph
        tensors = keras.tree.flatten(graph.inputs)
        names = map(self._names.take, graph.input_names)
        inputs = [_input(tensor, name) for tensor, name in zip(tensors, names, strict=True)]
        outputs = name_outputs(self._run(graph, inputs, []), graph.outputs, self._names)
        model = tf_keras.Model(single(inputs), single(outputs), name=legal(self._model.name))
        if not isinstance(graph.outputs, dict):
            keep_output_names(self._model, model)
        self._copy_weights()
        return model

    def _copy_weights(self) -> None:
        for layer, translated in self._layers.values():
            for old, new in translated.weights:
                self.pairs += paired(old, new)
            # Only now: frozen weights come last among a layer's weights.
            translated.layer.trainable = layer.trainable
            for old, new in translated.weights:
                new.trainable = old.trainable
        for box in self._boxes.values():
            self.pairs += zip(box.variables, box.layer.own_weights, strict=True)
            box.layer.trainable = getattr(box.layer.operation, "trainable", True)
        arrays = [keras.ops.convert_to_numpy(variable) for variable, _ in self.pairs]
        tf_keras.backend.batch_set_value(
            [(weight, array) for (_, weight), array in zip(self.pairs, arrays, strict=True)]
        )

    def _run(self, graph: Graph, inputs: list[Any], path: list[str], **fixed: bool) -> list[Any]:
        """Returns the outputs, flat, for tf_keras tensors.

        Args:
            graph: The calls to repeat.
            inputs: Tensors in place of the graph's inputs.
            path: Names of the models it is nested in.
            **fixed: `training=False` where the user called the nested model so: it holds inside.
        """
        values = dict(zip(map(id, keras.tree.flatten(graph.inputs)), inputs, strict=True))
        for node in graph.nodes:
            args, kwargs = node.arguments.fill_in(values)
            kwargs = {key: value for key, value in {**kwargs, **fixed}.items() if value is not None}
            if kwargs.get("training"):  # Keras 3 overrules it too, when the model is called
                del kwargs["training"]
            outputs = keras.tree.flatten(self._translated_call(node, args, kwargs, path))
            values.update(zip(map(id, node.outputs), outputs, strict=True))
        return [values[id(tensor)] for tensor in keras.tree.flatten(graph.outputs)]

    def _translated_call(self, node: Any, args: Any, kwargs: dict[str, Any], path: Any) -> Any:
        try:
            return self._call(node, args, kwargs, path)
        except ModelError:
            raise
        except Exception as error:  # the layer may be the user's: it may fail in any way
            kind = type(node.operation).__name__
            raise ModelError(
                received=f"the layer {'/'.join([*path, node.operation.name])!r} of class {kind}, "
                f"whose translation to tf_keras fails: {first_line(error)}",
                expected="a layer that tf_keras has too, or can call",
                fix=f"give load_model a rule for it, rules={{{kind!r}: function}}, or build the "
                "model of other layers",
            ) from error

    def _call(self, node: Any, args: Any, kwargs: dict[str, Any], path: list[str]) -> Any:
        operation = node.operation
        ruled = self._rules.applied(operation, args, kwargs)
        if ruled is not None:
            way = [*path, *ruled.path]
            outputs = inline(ruled.model, ruled.tensors, self._names, way, self._ruled)
            return self._done(node, args, kwargs, path, outputs)
        graph = recorded(operation) if isinstance(operation, keras.Model) else None
        if graph is not None:
            frozen = {"training": False} if "training" in kwargs else {}
            return self._run(graph, graph.ordered(args[0]), [*path, operation.name], **frozen)
        try:
            if isinstance(operation, keras.layers.Layer):
                outputs = self._layer(node, args, kwargs, path)
            else:
                outputs = self._op(node, args, kwargs, path)
        except NoCounterpartError:
            return self._opaque(node, args, kwargs, path)
        return self._done(node, args, kwargs, path, outputs)

    def _done(self, node: Any, args: Any, kwargs: Any, path: list[str], outputs: Any) -> Any:
        """Records a step."""
        name = "/".join([*path, node.operation.name])
        step = Step(name, node.operation, tuple(args), kwargs, keras.tree.flatten(outputs))
        self.steps.append(step)
        return outputs

    def _name(self, operation: Any, path: list[str]) -> str:
        if id(operation) not in self._named:
            self._named[id(operation)] = self._names.take(operation.name, path)
        return self._named[id(operation)]

    def _layer(self, node: Any, args: Any, kwargs: dict[str, Any], path: list[str]) -> Any:
        """A layer that tf_keras has too."""
        layer = node.operation
        if id(layer) not in self._layers:
            new = self._translated(layer, self._name(layer, path), kwargs)
            self._layers[id(layer)] = layer, new
        translated = self._layers[id(layer)][1]
        if not translated.layer._call_spec.expects_training_arg:
            kwargs = {key: value for key, value in kwargs.items() if key != "training"}
        if channels_first(layer):
            take = functools.partial(self._names.take, path=[*path, layer.name])
            outputs = call_with_channels_last(translated.layer, args[0], kwargs, take)
        else:
            outputs = translated.layer(*args, **kwargs)
        if translated.after is None:
            return outputs
        path = [*path, f"{layer.name}_activation"]
        return self._function(translated.after, node.outputs, [outputs], path)

    def _translated(self, layer: Any, name: str, kwargs: dict[str, Any]) -> Translated:
        inner = getattr(layer, "layer", None)
        if isinstance(layer, keras.layers.TimeDistributed) and isinstance(inner, keras.Model):
            nested = translate_model(inner)
            self.pairs += nested.pairs
            return Translated(tf_keras.layers.TimeDistributed(nested.model, name=name), ())
        translated = translate(layer, name)
        unknown = set(kwargs) - set(translated.layer._call_spec.arg_names) - {"training", "mask"}
        if unknown and not isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
            raise NoCounterpartError(f"tf_keras' {type(layer).__name__} takes no {sorted(unknown)}")
        return translated

    def _op(self, node: Any, args: Any, kwargs: dict[str, Any], path: list[str]) -> Any:
        """An op that a plain layer, or TensorFlow's own functions, stand for."""
        operation = node.operation
        take = functools.partial(self._name, operation, path)
        call = Call(operation, tuple(args), kwargs, keras.tree.flatten(node.outputs), take)
        # Keras 3's ops drop masks, where tf_keras' layers hand them on.
        plain = None if self.masked else plain_layer(call)
        if plain is not None:
            layer, inputs = plain
            if id(operation) not in self._ops:
                self._ops[id(operation)] = layer
            return self._ops[id(operation)](inputs)
        outputs = in_tensorflow(call)
        if outputs is None:
            raise NoCounterpartError(f"no tf_keras layer stands for {type(operation).__name__}")
        for made in nodes_between(call.tensors, outputs):
            made.layer._name = self._names.take(operation.name, path)
        return outputs

    def _opaque(self, node: Any, args: Any, kwargs: Any, path: list[str]) -> Any:
        """What has no counterpart: taken apart if it can be, else called as it is."""
        operation = node.operation
        if isinstance(operation, keras.layers.Layer):
            graph = self._graph_inside(operation, node.arguments)
            if graph is not None:
                inputs = [leaf for leaf in keras.tree.flatten((args, kwargs)) if is_symbol(leaf)]
                return self._run(graph, inputs, [*path, operation.name])
        kwargs = {key: value for key, value in kwargs.items() if key != "training"}
        if isinstance(operation, keras.layers.Lambda):
            settings = {**operation.arguments, **kwargs}
            names = self._names, [*path, operation.name]
            outputs = tensorflow_layers(operation.function, args, settings, *names)
        else:
            box, inputs = boxed(operation, args, kwargs, self._name(operation, path))
            outputs = self._boxes.setdefault(id(operation), box).layer(inputs)
        return self._done(node, args, kwargs, path, outputs)

    def _graph_inside(self, layer: Any, arguments: Any) -> Graph | None:
        """The graph of a layer's own `call`; None if it cannot be traced."""
        kwargs = {key: value for key, value in arguments.kwargs.items() if value is not None}
        key = id(layer), signature((arguments.args, kwargs))
        if key not in self._graphs:
            if layer._call_has_training_arg:
                kwargs["training"] = False
            try:
                self._graphs[key] = traced(layer.call, arguments.args, kwargs, owner=layer)
            except Exception:  # the code is the user's: it may fail on symbols in any way
                return None
        return self._graphs[key]

    def _function(self, function: Any, symbols: Any, tensors: list[Any], path: list[str]) -> Any:
        """A function, or a layer, given as the activation of a layer."""
        if isinstance(function, keras.layers.Layer):
            if id(function) not in self._layers:
                name = self._names.take(path[-1], path[:-1])
                self._layers[id(function)] = function, translate(function, name)
            return self._layers[id(function)][1].layer(*tensors)
        known = known_activation(function)
        if known is not None:
            name = self._names.take(path[-1], path[:-1])
            return tf_keras.layers.Activation(known, name=name)(*tensors)
        key = id(function), signature(symbols)
        try:
            graph = self._graphs.setdefault(key, traced(function, symbols, {}))
        except Exception:  # the code is the user's: it may fail on symbols in any way
            return tensorflow_layers(function, tensors, {}, self._names, path)
        steps = len(self.steps)
        outputs = self._run(graph, tensors, path)
        del self.steps[steps:]  # what goes into the activation is no tensor of Keras 3
        return single(outputs)


def _check_inputs(graph: Graph) -> None:
    for name, tensor in zip(graph.input_names, keras.tree.flatten(graph.inputs), strict=True):
        if tensor.dtype == "string":
            raise ModelError(
                received=f"the input {name!r} of strings",
                expected="numbers: a device has no strings to look up",
                fix="cut the model behind its string layers, and give it (and the device) the "
                "indices that they make",
            )


def _input(tensor: Any, name: str) -> Any:
    """A tf_keras input like a Keras 3 one; floats of any size become 32 bits wide."""
    dtype = "float32" if "float" in tensor.dtype else tensor.dtype
    shape, sparse = tensor.shape, bool(tensor.sparse)
    return tf_keras.Input(shape[1:], batch_size=shape[0], dtype=dtype, sparse=sparse, name=name)


def _makes_mask(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Masking) or bool(getattr(layer, "mask_zero", False))
