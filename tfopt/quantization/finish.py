"""Making of a trained fake-quantized model what the converter understands."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfopt.graph.calls import Layer, built_copy, rebuild
from tfopt.keras2 import copying
from tfopt.keras2.stack import every_scope
from tfopt.keras_gate import tf_keras, tfmot
from tfopt.quantization.grid import CHANNEL_AXES, round_kernel
from tfopt.quantization.kernels import MaskedWrapper
from tfopt.quantization.ranges import (
    is_masked,
    is_quantize_layer,
    is_wrapper,
    quantize_layer,
    tfmot_class,
)


def finish(model: tf_keras.Model, *, left_out: frozenset[str] = frozenset()) -> tf_keras.Model:
    """Returns a trained model whose file will hold the numbers it was trained with.

    Activations keep their ranges, in layers that TensorFlow Lite's converter understands. Kernels
    are rounded to their numbers of 8 or 4 bits, which the converter finds again by itself, and
    their layers are as they were before training. Only an 8-bit kernel whose output channels share
    their clusters states its one scale in the graph: left to the converter, each channel would get
    another, and each cluster would become many integers. (Of a 4-bit kernel the file finds it.)

    Args:
        model: A model that `insert` made, trained. It is left as it was.
        left_out: Names of layers that round inputs whose range is to be left to the converter.

    Returns:
        A model of its own, without anything that only training needs.
    """
    pairs: list[tuple[Layer, Layer]] = []

    def replace(layer: Layer) -> Any:
        if layer.name in left_out:
            return _pass_on
        if is_wrapper(layer):
            finished = _finished(layer)
        elif is_quantize_layer(layer):
            finished = quantize_layer(_moving_average(), layer.name, masked=is_masked(layer))
        else:
            finished = copying.copy_layer(layer, layer.name)
        pairs.append((layer, finished))
        return finished

    with every_scope(model):
        finished_model, _ = rebuild(model, replace=replace)
    for layer, finished in pairs:  # whose weights are there since they were called
        if is_quantize_layer(layer):
            finished.quantizer_vars["min_var"].assign(layer.quantizer_vars["min"])
            finished.quantizer_vars["max_var"].assign(layer.quantizer_vars["max"])
        elif is_wrapper(finished):
            _state_scale(finished)
        elif not is_wrapper(layer):
            copying.copy_state(layer, finished)
    return finished_model


def _finished(wrapper: Layer) -> Layer:
    """The layer in a wrapper with its trained weights, wrapped again if it has one scale."""
    inner = wrapper.layer
    layer = built_copy(inner, wrapper.get_input_shape_at(0))
    if inner.use_bias:
        layer.bias.assign(inner.bias)
    one_scale = False
    for name, (kernel, quantizer, state) in zip(
        wrapper.quantize_config.quantizers, wrapper._weight_vars, strict=True
    ):
        value = quantizer.shared(kernel, state)
        getattr(layer, name).assign(_rounded(value, quantizer) if inner.trainable else value)
        one_scale |= quantizer.bits == 8 and not quantizer.channel_axes
    return _with_one_scale(layer, masked=is_masked(wrapper)) if one_scale else layer


def _rounded(kernel: Any, quantizer: Any) -> Any:
    """A kernel's numbers in the file; shared ones as they are where the file would part them."""
    rounded = round_kernel(kernel, quantizer.channel_axes, bits=quantizer.bits)
    if not quantizer.clustered:
        return rounded
    parts = len(np.unique(rounded)) > len(np.unique(kernel))
    return kernel if quantizer.bits == 8 or parts else rounded


def _with_one_scale(layer: Layer, *, masked: bool) -> Layer:
    """A layer in a wrapper (TF-MOT's, if it can) that states its kernel's range in the graph."""
    (kernel,) = CHANNEL_AXES[type(layer)]
    rule = "Default8BitConvQuantizeConfig"
    if isinstance(layer, tf_keras.layers.Dense):
        rule = "Default8BitQuantizeConfig"
    config = tfmot_class(rule)([kernel], [], False)
    kind = MaskedWrapper if masked else tfmot.quantization.keras.QuantizeWrapperV2
    return kind(layer, config)


def _state_scale(wrapper: Layer) -> None:
    """Sets the range of a wrapped kernel, in all its channels, to that of the whole kernel."""
    kernel, _, limits = wrapper._weight_vars[0]
    largest = np.abs(kernel.numpy()).max()
    limits["min_var"].assign(np.full(limits["min_var"].shape, -largest))
    limits["max_var"].assign(np.full(limits["max_var"].shape, largest))


def _moving_average() -> Any:
    """TF-MOT's usual quantizer of activations."""
    return tfmot.quantization.keras.quantizers.MovingAverageQuantizer(
        num_bits=8, per_axis=False, symmetric=False, narrow_range=False
    )


def _pass_on(tensor: Any) -> Any:
    """Stands for a layer that is left out."""
    return tensor
