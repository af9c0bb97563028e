"""Files for grey images take colour ones."""

import numpy as np
import pytest

import tfopt
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.io_types import with_io_type
from tfopt.tflite.rgb import with_rgb_input


@pytest.mark.parametrize("kernels", ["default", "builtin", "reference"])
def test_grey_colours_give_what_grey_gives(int8_file, images, kernels):
    colored = with_io_type(with_rgb_input(int8_file), "uint8")
    assert tfopt.inspect(colored).integer_only
    found = TFLiteModel(colored, kernels=kernels).predict(np.repeat(images, 3, axis=-1))[0]
    expected = TFLiteModel(int8_file, kernels=kernels).predict(images)[0]
    np.testing.assert_array_equal(found, expected)


def test_colours_are_weighed_as_the_eye_does(float_file, images):
    colors = np.random.default_rng(0).random((20, 8, 8, 3), np.float32)
    found = TFLiteModel(with_rgb_input(float_file)).predict(colors)[0]
    grey = (colors @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    expected = TFLiteModel(float_file).predict(grey)[0]
    np.testing.assert_allclose(found, expected, atol=0.02)
