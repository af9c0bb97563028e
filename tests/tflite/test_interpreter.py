import numpy as np
import pytest

import tfopt
from tfopt.errors import DataError, InterpreterError, MissingPackageError, SettingError
from tfopt.tflite import runtime
from tfopt.tflite.interpreter import TFLiteModel


def by_hand(content, x):
    """The plain loop, with the interpreter's own QUANTIZE where the file has one."""
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(model_content=content)
    model.allocate_tensors()
    outputs = []
    for sample in x:
        model.set_tensor(model.get_input_details()[0]["index"], sample[None])
        model.invoke()
        outputs.append(model.get_tensor(model.get_output_details()[0]["index"]))
    return np.concatenate(outputs)


def test_tensors_are_described(int8_file, float_file):
    model = TFLiteModel(int8_file)
    (image,), (output,) = model.inputs, model.outputs
    assert (image.name, image.shape, image.dtype) == ("image", (None, 8, 8, 1), "int8")
    assert image.scale == pytest.approx(1 / 255, rel=0.01) and image.zero_point == -128
    assert (output.name, output.shape, output.scale) == ("probabilities", (None, 10), 1 / 256)
    assert TFLiteModel(float_file).inputs[0].scale is None


def test_a_float_file_gives_what_keras_gives(float_file, cnn, images):
    (output,) = TFLiteModel(float_file).predict(images)
    np.testing.assert_allclose(output, cnn.predict(images, verbose=0), atol=1e-5)


@pytest.mark.parametrize("count", [1, 7, 8, 127, 129, 150])
def test_a_batch_gives_what_its_samples_give_one_by_one(float_file, images, count):
    (output,) = TFLiteModel(float_file).predict(images[:count])
    np.testing.assert_allclose(output, by_hand(float_file, images[:count]), rtol=1e-5, atol=1e-7)


def test_int8_outputs_are_equal_however_they_are_run(int8_file, images):
    whole = TFLiteModel(int8_file).predict(images)[0]
    model = TFLiteModel(int8_file, threads=2)
    for cuts in ([1, 2, 3], [40, 41], []):
        parts = [model.predict(part)[0] for part in np.split(images, cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_integer_inputs_are_quantized_as_the_interpreter_does_it(
    int8_file, int8_float_io_file, images
):
    ours = TFLiteModel(int8_file).predict(images)[0]
    np.testing.assert_array_equal(ours, by_hand(int8_float_io_file, images))


def test_quantized_inputs_are_passed_through(int8_file, images):
    model = TFLiteModel(int8_file)
    quantized = model.inputs[0].encode(images)
    np.testing.assert_array_equal(model.predict(quantized)[0], model.predict(images)[0])


def test_kernels_can_be_chosen(int8_file, images):
    names = ("default", "builtin", "reference")
    default, builtin, reference = (
        TFLiteModel(int8_file, kernels=kernels).twin().predict(images)[0] for kernels in names
    )
    assert np.abs(builtin - reference).max() <= 2 / 256
    assert (default.argmax(axis=1) == builtin.argmax(axis=1)).mean() > 0.95


def test_a_twin_keeps_tensors_as_its_model_does(int8_file, images):
    model = TFLiteModel(int8_file, keep_tensors=True)
    model.learn_batch(images)
    inside = [op.outputs[0].index for op in tfopt.inspect(int8_file).ops]
    ours, twins = (
        [values for _, held in each.activations(images, inside) for values in held]
        for each in (model, model.twin())
    )
    assert len(ours) == len(twins) > len(inside)
    for our, twin in zip(ours, twins, strict=True):
        np.testing.assert_array_equal(our, twin)


def test_a_batch_is_small_enough_for_the_cache(float_file, make_file):
    assert TFLiteModel(float_file).largest_batch == 128
    large = make_file(lambda x: x + 1.0, None, 1024, 1024)
    assert TFLiteModel(large).largest_batch == 1


def test_recurrent_states_do_not_leak_from_sample_to_sample(lstm_file):
    content, keras_model = lstm_file
    x = np.random.default_rng(0).random((9, 7, 3), np.float32)
    model = TFLiteModel(content)
    (output,) = model.predict(x)
    assert set(model._batches.values()) == {1}  # its batch is fixed inside
    np.testing.assert_allclose(output, keras_model.predict(x, verbose=0), atol=1e-5)
    np.testing.assert_array_equal(model.predict(x)[0], output)


def test_a_file_that_would_mix_the_samples_of_a_batch_runs_one_by_one(make_file):
    import tensorflow as tf

    content = make_file(lambda x: tf.reshape(tf.reverse(tf.reshape(x, [-1]), [0]), [-1, 4]), 1, 4)
    x = np.arange(40, dtype=np.float32).reshape(10, 4)
    model = TFLiteModel(content)
    np.testing.assert_array_equal(model.predict(x)[0], x[:, ::-1])
    assert set(model._batches.values()) == {1}


def test_an_output_without_an_axis_of_samples_gets_one(make_file):
    import tensorflow as tf

    content = make_file(lambda x: tf.reduce_sum(x), 1, 4)
    (output,) = TFLiteModel(content).predict(np.ones((9, 4), np.float32))
    assert output.tolist() == [4.0] * 9


def test_open_sizes_follow_the_samples(make_file):
    import tensorflow as tf

    model = TFLiteModel(make_file(lambda x: tf.reduce_sum(x, axis=1), None, None))
    assert model.inputs[0].shape == (None, None)
    for size in (3, 5):
        assert model.predict(np.ones((10, size), np.float32))[0].tolist() == [size] * 10


def test_integers_in_and_out_stay_integers(make_file):
    import tensorflow as tf

    model = TFLiteModel(make_file(lambda x: tf.argmax(x, axis=1), None, 3, dtype="int32"))
    (output,) = model.predict(np.eye(3, dtype=np.int64))
    assert output.dtype == np.int64 and output.tolist() == [0, 1, 2]


def test_several_inputs_and_outputs_go_by_name_or_order(multi_file):
    model = TFLiteModel(multi_file)
    left, right = np.full((20, 3), 5.0, np.float32), np.full((20, 3), 3.0, np.float32)
    arrays = {"left": left, "right": right}
    by_name = dict(zip([spec.name for spec in model.outputs], model.predict(arrays), strict=True))
    assert by_name["difference"][0].tolist() == [2, 2, 2]
    assert by_name["double"][0].tolist() == [10, 10, 10]
    ordered = tuple(arrays[spec.name] for spec in model.inputs)
    for ours, theirs in zip(model.predict(ordered), by_name.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_numbered_outputs_come_in_order(make_file):
    outputs = TFLiteModel(make_file(lambda x: [x + float(i) for i in range(12)], None, 2)).predict(
        np.zeros((1, 2), np.float32)
    )
    assert [output[0, 0] for output in outputs] == list(range(12))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"left": np.zeros((2, 3))}, "arrays named ['left']; expected the model's names"),
        ((np.zeros((2, 3)),), "1 array(s); expected 2, one for each of"),
        (
            (np.zeros((2, 3)), np.zeros((3, 3))),
            "expected the same number of samples in each",
        ),
        ((np.zeros((2, 3)), np.zeros((2, 4))), "an array of shape (2, 4) for input"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(multi_file, arrays, message):
    with pytest.raises(DataError) as caught:
        TFLiteModel(multi_file).predict(arrays)
    assert message in str(caught.value)


def test_nan_is_refused_before_anything_runs(float_file, images, monkeypatch):
    model = TFLiteModel(float_file)
    monkeypatch.setattr(model, "_run", lambda arrays: pytest.fail("it ran"))
    bad = images.copy()
    bad[140, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"NaN in 1 of 150 samples .*first: sample 140"):
        model.predict(bad)


@pytest.mark.parametrize("size", [300, 3000])
def test_a_cut_off_file_is_refused(float_file, size):
    with pytest.raises(InterpreterError, match=r"a file of .* bytes that fails to load") as caught:
        TFLiteModel(float_file[:size])
    assert "tfopt.inspect" in caught.value.fix
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(InterpreterError, match="5 bytes that are no TensorFlow Lite file"):
        TFLiteModel(b"hello")
    path = tmp_path / "model.tflite"
    with pytest.raises(InterpreterError, match=r"model.tflite, which cannot be read \(No such"):
        TFLiteModel(path)
    path.write_bytes(b"PK\x03\x04 a zip archive")
    with pytest.raises(InterpreterError, match=r"18 bytes in .*model.tflite that are no"):
        TFLiteModel(path)


def test_a_file_that_fails_at_run_time_says_so(make_file):
    import tensorflow as tf

    content = make_file(lambda x: tf.gather(tf.constant([1.0, 2.0]), x), None, dtype="int32")
    with pytest.raises(InterpreterError, match=r"a file of .* bytes that fails to run"):
        TFLiteModel(content).predict(np.array([99]))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"threads": 0}, "threads=0; expected at least 1"),
        ({"kernels": "refrence"}, "kernels='refrence'; expected 'reference' is nearest"),
    ],
)
def test_bad_settings_are_refused(float_file, setting, message):
    with pytest.raises(SettingError) as caught:
        TFLiteModel(float_file, **setting)
    assert message in str(caught.value)


def test_tensorflow_lite_stands_in_where_litert_is_missing(monkeypatch):
    asked = []

    def import_module(name):
        asked.append(name)
        raise ImportError(name)

    monkeypatch.setattr(runtime.importlib, "import_module", import_module)
    with pytest.raises(MissingPackageError, match="pip install ai-edge-litert"):
        runtime.interpreter_module()
    assert asked == ["ai_edge_litert.interpreter", "tensorflow.lite.python.interpreter"]
