import threading

import numpy as np
import pytest

from tfopt.errors import DataError, InterpreterError, SettingError
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.parallel import available_cores, predict_batches


def cut(images, sizes):
    return np.split(images, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize("workers", [None, 1, 2, 7])
def test_outputs_come_in_the_order_of_the_inputs(int8_file, images, workers):
    batches = cut(images, [1, 60, 3, 50, 2, 30, 4])
    parts = list(predict_batches(int8_file, batches, workers=workers))
    assert [len(part[0]) for part in parts] == [1, 60, 3, 50, 2, 30, 4]
    whole = TFLiteModel(int8_file).predict(images)[0]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole)


def test_only_a_few_batches_are_read_ahead(float_file, images):
    read = []

    def batches():
        for number in range(100):
            read.append(number)
            yield images[:2]

    outputs = predict_batches(float_file, batches(), workers=2)
    for done in range(1, 20):
        next(outputs)
        assert len(read) <= done + 2 * 2 + 1
    outputs.close()
    assert len(read) < 30


def test_no_thread_is_left_behind(float_file, images):
    before = threading.active_count()
    list(predict_batches(float_file, [images[:5]] * 10, workers=3))
    assert threading.active_count() == before


def test_a_model_keeps_its_settings(int8_file, images):
    model = TFLiteModel(int8_file, kernels="reference")
    parts = list(predict_batches(model, cut(images, [50, 50, 50]), workers=2))
    whole = TFLiteModel(int8_file, kernels="reference").predict(images)[0]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole)


def test_the_batch_is_found_out_once_for_all(float_file, images, monkeypatch):
    asked = []
    well = TFLiteModel._batches_well
    monkeypatch.setattr(TFLiteModel, "_batches_well", lambda *args: asked.append(1) or well(*args))
    list(predict_batches(float_file, cut(images, [50, 50, 50]), workers=3))
    assert len(asked) == 1


def test_a_bad_file_is_refused_at_once():
    with pytest.raises(InterpreterError, match="no TensorFlow Lite file"):
        predict_batches(b"hello", [])


def test_a_bad_batch_is_refused_when_it_comes(float_file, images):
    outputs = predict_batches(float_file, [images[:4], images[:4, :7]], workers=2)
    assert len(next(outputs)[0]) == 4
    with pytest.raises(DataError, match=r"shape \(4, 7, 8, 1\) for input 'image'"):
        next(outputs)


def test_workers_must_be_positive(float_file):
    with pytest.raises(SettingError, match="workers=0; expected at least 1"):
        predict_batches(float_file, [], workers=0)


def test_only_the_cores_of_this_process_are_counted(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert available_cores() == 2
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert available_cores() == 1
