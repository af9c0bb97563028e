"""Parts of unequal size, each cut out by itself."""

from __future__ import annotations

import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, constant


def split(call: Call) -> list[tf.Tensor] | None:
    """Returns slices, since only the split into equal parts has an 8-bit kernel."""
    x, sizes_tensor, axis_tensor = call.inputs
    sizes, axis = constant(sizes_tensor), constant(axis_tensor)
    if not call.is_float or sizes is None or axis is None or x.shape.rank is None:
        return None
    along = int(axis) % x.shape.rank
    known = [int(size) for size in sizes]
    if -1 in known:
        if x.shape[along] is None:
            return None
        known[known.index(-1)] = x.shape[along] - sum(known) - 1
    before = [slice(None)] * along
    starts = [sum(known[:index]) for index in range(len(known))]
    return [
        x[tuple([*before, slice(start, start + size)])]
        for start, size in zip(starts, known, strict=True)
    ]
