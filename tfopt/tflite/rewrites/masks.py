"""Masked attention without the huge number that leaves 8 bits nothing for the others."""

from __future__ import annotations

import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, single, source

_HUGE = 1e4
_BELOW = 12.0  # under the smallest logit: exp(-12) is less than a softmax of 8 bits can show


def softmax(call: Call) -> tf.Tensor | None:
    """Softmax of x - 1e9 · mask, with the masked ones just under the smallest x instead.

    One range of 8 bits for all of x reaching to -1e9 would make all other logits equal.
    """
    found = _masked(source(call.inputs[0]))
    if found is None:
        return None
    x, mask = found
    floor = tf.reduce_min(x, -1, keepdims=True) - _BELOW
    return tf.nn.softmax(tf.where(mask > 0.5, floor, x))


def _masked(made: tf.Operation) -> tuple[tf.Tensor, tf.Tensor] | None:
    """The logits, and a mask of 0 and 1 whose huge multiple is added to them."""
    if made.type not in ("AddV2", "Add", "Sub"):
        return None
    for x, other in (made.inputs, tuple(made.inputs)[::-1]):
        product = source(other)
        if product.type != "Mul":
            continue
        for mask, factor in (product.inputs, tuple(product.inputs)[::-1]):
            size = single(factor)
            if size is not None and abs(size) >= _HUGE and (size < 0) == (made.type != "Sub"):
                return x, mask
    return None
