"""Models that leave image sizes or lengths open: files of any size, allocated for the data."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.errors import InterpreterError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.tflite.convert import FixedSizeWarning, convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers


def fully_convolutional():
    """Has nothing left to compute of an image of 1x1."""
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential(
        [
            layers.Input((None, None, 3), name="image"),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 3, name="map"),
        ]
    )


def of_a_signal():
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential(
        [
            layers.Input((None, 3), name="signal"),
            layers.Conv1D(8, 5, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4),
        ]
    )


def sample(*shape, count=16):
    return np.random.default_rng(0).random((count, *shape), np.float32)


def plainly_converted(model):
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


TARGETS = [Target.float32(), Target.int8(), Target.int16x8(), Target.int4_weights()]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.numerics)
@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (fully_convolutional, [(32, 40, 3), (48, 32, 3), (20, 20, 3)]),
        (of_a_signal, [(50, 3), (20, 3), (64, 3)]),
    ],
)
def test_the_file_takes_any_size_and_computes_what_the_model_does(model, shapes, target):
    model = model()
    tflite = convert(model, target=target, representative=sample(*shapes[0]))
    assert set(inspect(tflite).inputs[0].shape[:-1]) == {-1}
    file = TFLiteModel(tflite)
    for shape in shapes:
        x = sample(*shape, count=9)
        (found,) = file.predict(x)
        expected = model(x).numpy()
        assert found.shape == expected.shape
        error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
        assert error < (1e-5 if target.numerics == "float32" else 0.2)


def test_sixteen_bit_sums_hold_a_larger_image_than_it_was_calibrated_with():
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            layers.Input((None, None, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    tflite = convert(model, target=Target.int16x8(), representative=sample(32, 32, 3))
    large = sample(300, 300, 3, count=2)
    np.testing.assert_allclose(TFLiteModel(tflite).predict(large)[0], model(large), atol=0.01)


def test_it_is_counted_and_timed_at_the_samples_size():
    model = fully_convolutional()
    fixed = tf_keras.Sequential([layers.Input((32, 40, 3)), *model.layers])
    files = [
        convert(each, target=Target.int8(), representative=sample(32, 40, 3))
        for each in (model, fixed)
    ]
    open_sized, known = map(inspect, files)
    assert (open_sized.macs, open_sized.arena_bytes) == (known.macs, known.arena_bytes)
    found = tfopt.profile(files[0], runs=20)
    assert sum(op.macs for op in found.ops) == known.macs
    assert tfopt.benchmark(files[0], runs=20).runs == 20


def test_it_is_allocated_at_the_samples_size_before_anybody_says_another():
    from ai_edge_litert.interpreter import Interpreter

    target = Target.int8()
    tflite = convert(fully_convolutional(), target=target, representative=sample(32, 40, 3))
    plain = Interpreter(model_content=tflite)
    plain.allocate_tensors()
    assert plain.get_input_details()[0]["shape"].tolist() == [1, 32, 40, 3]


@pytest.mark.parametrize(
    ("model", "shape"), [(fully_convolutional, (32, 32, 3)), (of_a_signal, (50, 3))]
)
def test_a_file_of_tensorflows_own_is_run_and_timed_too(model, shape):
    model = model()
    tflite = plainly_converted(model)  # the interpreter refuses to allocate it as it is
    x = sample(*shape)
    np.testing.assert_allclose(TFLiteModel(tflite).predict(x)[0], model(x), atol=1e-5)
    assert tfopt.benchmark(tflite, runs=20).runs == 20
    assert tfopt.profile(tflite, runs=20).whole_us > 0


@pytest.mark.parametrize("size", [200, None])
def test_without_data_the_first_size_counts_that_the_model_takes(size):
    image = layers.Input((None, None, 1))
    tall = layers.Conv2D(2, (size or 3, 3))(image)  # 64 rows are too few for 200
    tflite = convert(tf_keras.Model(image, tall), target=Target.float32())
    rows = 256 - 199 if size else 64 - 2
    outputs = TFLiteModel(tflite).shapes[inspect(tflite).outputs[0].index]
    assert outputs[1] == rows


def test_what_cannot_be_left_open_takes_the_samples_size():
    target = Target.int8(exporter="litert")
    with pytest.warns(FixedSizeWarning, match=r"input 'image' of shape \(32, 32, 3\) only"):
        tflite = convert(fully_convolutional(), target=target, representative=sample(32, 32, 3))
    assert inspect(tflite).inputs[0].shape == (-1, 32, 32, 3)


def test_a_size_that_is_too_small_is_refused_in_words():
    target = Target.float32()
    tflite = convert(fully_convolutional(), target=target, representative=sample(32, 32, 3))
    with pytest.raises(InterpreterError, match="inputs of shape"):
        TFLiteModel(tflite).predict(sample(5, 5, 3))


def test_a_long_kernel_without_data_gets_a_size_that_is_long_enough():
    signal = layers.Input((None, 1))
    x = layers.Conv1D(8, 3, padding="same")(layers.Conv1D(8, 400, strides=4)(signal))
    model = tf_keras.Model(signal, layers.GlobalAveragePooling1D()(x))
    assert inspect(convert(model, target=Target.float32())).macs > 0


def test_each_size_has_a_batch_of_its_own():
    tflite = convert(fully_convolutional(), target=Target.float32())
    file = TFLiteModel(tflite)
    file.predict(sample(32, 32, 3))
    file.predict(sample(400, 400, 3))
    small, large = file._batches.values()
    assert large == 1 < small
