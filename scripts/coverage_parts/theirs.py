"""What TF-MOT and TensorFlow's converter alone do to a model, as their documentation says.

As careful as a user of it can be: the model is cloned first, masks are updated at each step; where
the whole model is refused, only the layers that TF-MOT supports are wrapped ("prune some layers").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import tfopt
from coverage_parts import Cell
from coverage_parts.judging import CLOSE, WrongResult, outputs_of, require_close, typical_error
from coverage_parts.rows import row_named
from coverage_parts.subject import Subject
from tfopt.errors import TfoptError
from tfopt.keras_gate import tf_keras, tfmot
from tfopt.tflite.interpreter import TFLiteModel

_CLUSTERS = 16
_BATCH = 16


def prune(subject: Subject) -> Cell:
    """`prune_low_magnitude`, training, `strip_pruning`."""
    sparsity = tfmot.sparsity.keras
    schedule = sparsity.ConstantSparsity(0.5, begin_step=0, frequency=1)

    def wrap(model_or_layer: Any) -> Any:
        return sparsity.prune_low_magnitude(model_or_layer, pruning_schedule=schedule)

    def supported(layer: Any) -> bool:
        from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry

        return bool(layer.weights) and prune_registry.PruneRegistry.supports(layer)

    model, left = _wrapped(subject, wrap, wrap, supported)
    _train(subject, model, [sparsity.UpdatePruningStep()])
    zeros = [np.mean(kernel == 0) for kernel in _kernels(sparsity.strip_pruning(model), left)]
    if not zeros or max(zeros) < 0.4:
        raise WrongResult(f"zeros in the kernels: {max(zeros, default=0):.0%} instead of 50%")
    return _cell(left)


def cluster(subject: Subject) -> Cell:
    """`cluster_weights`, training, `strip_clustering`."""
    clustering = tfmot.clustering.keras
    init = clustering.CentroidInitialization.KMEANS_PLUS_PLUS

    def wrap(model_or_layer: Any) -> Any:
        return clustering.cluster_weights(
            model_or_layer, number_of_clusters=_CLUSTERS, cluster_centroids_init=init
        )

    def supported(layer: Any) -> bool:
        from tensorflow_model_optimization.python.core.clustering.keras import clustering_registry

        known = clustering_registry.ClusteringRegistry.supports(layer)
        return bool(layer.trainable_weights) and known

    model, left = _wrapped(subject, wrap, wrap, supported)
    _train(subject, model, [])
    values = [
        len(np.unique(kernel)) for kernel in _kernels(clustering.strip_clustering(model), left)
    ]
    if not values or min(values) > _CLUSTERS:
        raise WrongResult(f"values in a kernel: {min(values, default=0)} instead of {_CLUSTERS}")
    return _cell(left)


def qat(subject: Subject) -> Cell:
    """`quantize_model`, training, the converter with representative data."""
    quantization = tfmot.quantization.keras

    def supported(layer: Any) -> bool:
        from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
            default_8bit_quantize_registry as registry,
        )

        return registry.Default8BitQuantizeRegistry().supports(layer)

    model, left = _wrapped(
        subject, quantization.quantize_model, quantization.quantize_annotate_layer, supported
    )
    with quantization.quantize_scope():
        if left is not None:
            model = quantization.quantize_apply(model)
        _train(subject, model, [])
        _check_int8(subject, model)
    return _cell(left)


def int8(subject: Subject) -> Cell:
    """The converter's full integer quantization after training."""
    _check_int8(subject, subject.model)
    return Cell("ok")


COLUMNS: dict[str, Callable[[Subject], Cell]] = {
    "TF-MOT prune": prune,
    "TF-MOT cluster": cluster,
    "TF-MOT QAT": qat,
    "converter int8": int8,
}


def _wrapped(
    subject: Subject,
    wrap_model: Callable[[Any], Any],
    wrap_layer: Callable[[Any], Any],
    supported: Callable[[Any], bool],
) -> tuple[Any, list[str] | None]:
    """The wrapped model, and the layers left out if it was wrapped layer by layer."""
    import keras

    models = keras.models if isinstance(subject.model, keras.Model) else tf_keras.models
    try:
        clone = models.clone_model(subject.model)
        clone.set_weights(subject.model.get_weights())
        wrapped = wrap_model(clone)
        if wrapped is None:
            raise WrongResult("returned None")
    except Exception as whole:
        left: list[str] = []

        def wrap_some(layer: Any) -> Any:
            if supported(layer):
                return wrap_layer(layer)
            if layer.weights:
                left.append(layer.name)
            return layer.__class__.from_config(layer.get_config())

        try:
            wrapped = models.clone_model(subject.model, clone_function=wrap_some)
            if len(wrapped.get_weights()) == len(subject.model.get_weights()):
                wrapped.set_weights(subject.model.get_weights())
        except Exception:
            raise whole from None
        return wrapped, left
    return wrapped, None


def _train(subject: Subject, model: Any, callbacks: list[Any]) -> None:
    x, y = _own_data(subject)
    model.compile("adam", subject.task.loss)
    model.fit(x, y, batch_size=_BATCH, epochs=1, verbose=0, callbacks=callbacks)


def _own_data(subject: Subject) -> tuple[Any, Any]:
    """Inputs and labels as the user's own model takes them."""
    try:
        split: Any = subject.task.train
    except TfoptError:  # tfopt could not load the model: what it computes is known all the same
        split = row_named(subject.row.name).task(subject.model).train
    x = list(split.x) if isinstance(split.x, tuple) else split.x
    structure = getattr(subject.model, "input", None) if isinstance(x, list) else None
    if isinstance(structure, dict):
        x = dict(zip(sorted(structure), x, strict=True))
    return x, list(split.y) if isinstance(split.y, tuple) else split.y


def _kernels(model: Any, left: list[str] | None) -> list[np.ndarray]:
    """Kernels of two dimensions or more of the layers that were wrapped."""
    return [
        np.asarray(weight)
        for layer in model.layers
        if layer.name not in (left or ())
        for weight in layer.trainable_weights
        if len(weight.shape) > 1
    ]


def _check_int8(subject: Subject, model: Any) -> None:
    """Converts to int8; the file must hold integer ops only, run, and compute the same."""
    x, _ = _own_data(subject)
    arrays = [x[name] for name in sorted(x)] if isinstance(x, dict) else x
    arrays = arrays if isinstance(arrays, list) else [arrays]
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [array[i : i + 1] for array in arrays] for i in range(len(arrays[0]))
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    kinds = {str(array.dtype) for array in arrays}
    if kinds == {"float32"}:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    tflite = converter.convert()
    inspection = tfopt.inspect(tflite)
    if not inspection.integer_only:
        ops = dict.fromkeys(op.name for op in inspection.float_ops)
        raise WrongResult(f"computes in float: {', '.join(ops)}")
    file = TFLiteModel(tflite)
    some = [array[:_BATCH] for array in arrays]
    found = file.predict(_matched(file, some))
    own = dict(zip(sorted(x), some, strict=True)) if isinstance(x, dict) else some
    expected = outputs_of(model, own if isinstance(own, dict) or len(own) > 1 else own[0])
    if [array.shape for array in found] != [array.shape for array in expected]:
        found = found[::-1]  # the converter orders outputs by their names
    require_close("the int8 file", typical_error(found, expected), CLOSE["int8"])


def _matched(file: TFLiteModel, arrays: list[np.ndarray]) -> Any:
    """The arrays in the order of the file's inputs, told by their shapes."""
    left = list(arrays)
    ordered = []
    for spec in file.inputs:
        place = next((i for i, a in enumerate(left) if a.shape[1:] == tuple(spec.shape[1:])), 0)
        ordered.append(left.pop(place))
    return tuple(ordered) if len(ordered) > 1 else ordered[0]


def _cell(left: list[str] | None) -> Cell:
    if left is None:
        return Cell("ok")
    note = f"by layer, {len(left)} skipped"
    return Cell("partial", note, f"wrapped layer by layer without {', '.join(left) or 'any'}")
