"""The byte type of inputs and outputs changes, and nothing else."""

import numpy as np
import pytest

import tfopt
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.io_types import with_io_type


def run(tflite, x, kernels="builtin"):
    return TFLiteModel(tflite, kernels=kernels).predict(x)[0]


def types(tflite):
    found = tfopt.inspect(tflite)
    return found.inputs[0].dtype, found.outputs[0].dtype


@pytest.mark.parametrize("kernels", ["default", "builtin", "reference"])
def test_outputs_stay_the_same_bit_for_bit(int8_file, images, kernels):
    shifted = with_io_type(int8_file, "uint8")
    back = with_io_type(shifted, "int8")
    assert types(shifted) == ("uint8", "uint8")
    assert types(back) == ("int8", "int8")
    expected = run(int8_file, images, kernels)
    np.testing.assert_array_equal(run(shifted, images, kernels), expected)
    np.testing.assert_array_equal(run(back, images, kernels), expected)


def test_two_ops_are_added_and_taken_away_again(int8_file):
    ops = [op.name for op in tfopt.inspect(int8_file).ops]
    shifted = with_io_type(int8_file, "uint8")
    assert [op.name for op in tfopt.inspect(shifted).ops] == ["QUANTIZE", *ops, "QUANTIZE"]
    assert tfopt.inspect(shifted).integer_only
    assert [op.name for op in tfopt.inspect(with_io_type(shifted, "int8")).ops] == ops


def test_every_byte_means_the_pixel_it_is(int8_file):
    """The zero point moves by 128, and with it the bytes."""
    before, after = (
        TFLiteModel(f).inputs[0] for f in (int8_file, with_io_type(int8_file, "uint8"))
    )
    assert (after.scale, after.zero_point) == (before.scale, before.zero_point + 128)
    assert (after.name, after.shape) == (before.name, before.shape)


def test_floats_are_left_alone_unless_asked(int8_float_io_file, float_file, images):
    assert types(with_io_type(int8_float_io_file, "uint8")) == ("float32", "float32")
    inside = with_io_type(int8_float_io_file, "int8", from_float=True)
    assert types(inside) == ("int8", "int8")
    np.testing.assert_array_equal(run(inside, images), run(int8_float_io_file, images))
    assert types(with_io_type(float_file, "int8", from_float=True)) == ("float32", "float32")


def test_a_grid_of_ones_own_is_rounded_to_that_of_the_file(int8_file, images):
    pixels = np.rint(images * 255).astype(np.uint8)
    grid = with_io_type(int8_file, "uint8", input_grid=(1 / 255, 0))
    spec = TFLiteModel(grid).inputs[0]
    assert (spec.scale, spec.zero_point) == (pytest.approx(1 / 255), 0)
    off = np.abs(run(grid, pixels) - run(int8_file, pixels / np.float32(255)))
    assert off.max() <= 2 / 256  # of a step of the input, here and there


def test_several_inputs_and_the_signature_keep_their_names(multi_file):
    same = TFLiteModel(with_io_type(multi_file, "uint8"))
    assert {spec.name for spec in same.inputs} == {"left", "right"}
