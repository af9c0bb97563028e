import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

import tfopt
from tfopt import keras_gate
from tfopt.errors import DataError, InterpreterError, ModelError, SettingError
from tfopt.measure import predictions, quality
from tfopt.measure.intervals import bootstrap, wilson
from tfopt.measure.quality import agreement, evaluate
from tfopt.tflite.interpreter import TFLiteModel


@pytest.fixture(scope="module")
def labels(float_file, images):
    """The float model's own answers, a fifth of them changed."""
    right = TFLiteModel(float_file).predict(images)[0].argmax(axis=1)
    return np.where(np.arange(len(right)) % 5, right, (right + 1) % 10)


@pytest.fixture(scope="module")
def task(make_task, images, labels):
    return make_task(images, labels)


def test_a_file_is_measured_over_every_sample(float_file, task):
    found = evaluate(float_file, task=task)
    assert (found.metric, found.split, found.samples) == ("accuracy", "validation", 150)
    assert found.value == 0.8 and found.higher_is_better and found.kind == "classes"
    assert (found.low, found.high) == wilson(120, 150)
    assert (
        str(found) == "accuracy 0.8000 (95 % interval 0.7289 to 0.8562) on 150 validation samples"
    )


def test_bytes_a_path_a_loaded_file_and_keras_agree(float_file, cnn, task, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(float_file)
    expected = evaluate(float_file, task=task)
    sources = (
        path,
        str(path),
        TFLiteModel(float_file, kernels="builtin"),
        bytearray(float_file),
        cnn,
    )
    for source in sources:
        found = evaluate(source, task=task)
        assert found == expected  # outputs are left out of the comparison
        np.testing.assert_allclose(found.outputs[0], expected.outputs[0], atol=1e-5)


def test_outputs_do_not_depend_on_how_many_cores_there_are(int8_file, task, monkeypatch):
    expected = evaluate(int8_file, task=task)
    for cores in (1, 3, 64):
        monkeypatch.setattr(predictions, "available_cores", lambda cores=cores: cores)
        found = evaluate(int8_file, task=task)
        assert found == expected
        np.testing.assert_array_equal(found.outputs[0], expected.outputs[0])


@pytest.mark.parametrize(
    ("samples", "workers", "tiny", "large"),
    [
        (10_000, 4, 1250, 625),
        (10**6, 4, 2048, 2048),
        (360, 4, 45, 32),
        (40, 4, 10, 10),
        (2, 4, 1, 1),
        (1000, 1, 500, 250),
    ],
)
def test_tasks_are_worth_handing_over_and_shared_evenly(
    float_file, make_file, samples, workers, tiny, large
):
    assert predictions._task_size(samples, TFLiteModel(float_file), workers) == tiny
    wide = TFLiteModel(make_file(lambda x: x[:, :4] @ np.ones((4, 5000), np.float32), None, 5))
    assert 1 < wide.largest_batch < 128
    assert predictions._task_size(samples, wide, workers) == large


def test_batches_are_gathered_until_they_are_worth_scoring(monkeypatch):
    batches = [([np.arange(3) + 3 * i], [np.full((3, 2), i, float)]) for i in range(5)]
    monkeypatch.setattr(predictions, "_SCORED_BYTES", 60)  # a batch has 48
    found = list(predictions.gathered(iter(batches)))
    assert [len(labels) for (labels,), _ in found] == [6, 6, 3]
    np.testing.assert_array_equal(np.concatenate([y[0] for y, _ in found]), np.arange(15))
    outputs = np.concatenate([outputs[0][:, 0] for _, outputs in found])
    np.testing.assert_array_equal(outputs, np.arange(15) // 3)


def test_large_samples_come_a_few_at_a_time(make_file):
    model = TFLiteModel(make_file(lambda x: x + 1.0, None, 1024, 1024))
    assert predictions._task_size(10_000, model, 4) == 4


def test_a_files_integers_are_numbers_not_quantized_values(int8_file, make_task, images):
    """A uint8 or int8 task means what it says, even where the file's input has the same type."""
    whole = (images * 4 - 2).round()
    same = make_task(whole.astype(np.int8), np.zeros(150, int))
    floats = make_task(whole, np.zeros(150, int))
    ours, theirs = (evaluate(int8_file, task=task).outputs[0] for task in (same, floats))
    np.testing.assert_array_equal(ours, theirs)


def test_the_test_split_is_the_default_where_there_is_one(float_file, make_task, images, labels):
    task = make_task(images, labels, test=(images[:20] / 2, labels[:20]))
    assert evaluate(float_file, task=task).samples == 20
    assert evaluate(float_file, task=task, split="validation").samples == 150
    assert evaluate(float_file, task=task, split="train").split == "train"


@pytest.mark.parametrize("name", ["test", "tset"])
def test_a_split_that_is_not_there_is_refused(float_file, task, name):
    with pytest.raises(SettingError, match=f"split='{name}'; expected .*one of train, validation"):
        evaluate(float_file, task=task, split=name)


def test_a_mean_has_a_bootstrap_interval(float_file, make_task, images):
    targets = np.eye(10, dtype=np.float32)[np.arange(150) % 10]
    task = make_task(images, targets, metric="mse")
    found = evaluate(float_file, task=task)
    losses = ((found.outputs[0].astype(float) - targets) ** 2).mean(axis=1)
    assert found.value == pytest.approx(losses.mean())
    interval = bootstrap(lambda index: losses[index].mean(), 150, seed=0)
    assert (found.low, found.high) == pytest.approx(interval)
    assert not found.higher_is_better and found.kind == "values"
    assert found == evaluate(float_file, task=task)


def test_a_function_gets_all_labels_and_outputs(float_file, make_task, images, labels):
    seen = []

    def share_of_nines(y_true, y_pred):
        seen.append((len(y_true), y_pred.shape))
        return np.mean(y_true == 9)

    found = evaluate(float_file, task=make_task(images, labels, metric=share_of_nines))
    assert found.metric == "share_of_nines" and found.value == np.mean(labels == 9)
    assert seen[0] == (150, (150, 10)) and len(seen) == 201
    assert found.low <= found.value <= found.high and found.kind is None


def test_a_function_that_fails_is_named(float_file, make_task, images, labels):
    def broken(y_true, y_pred):
        raise ZeroDivisionError("no samples")

    with pytest.raises(SettingError) as caught:
        evaluate(float_file, task=make_task(images, labels, metric=broken))
    assert "metric broken, which raised ZeroDivisionError: no samples" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.zeros(3), r"gave an array of shape \(3,\) of 150 samples"),
        (float("nan"), "gave nan of 150 samples"),
        (np.full(150, np.inf), "gave inf of 150 samples"),
    ],
)
def test_a_function_that_gives_no_number_is_refused(
    given, told, float_file, make_task, images, labels
):
    task = make_task(images, labels, metric=lambda y_true, y_pred: given)
    with pytest.raises(SettingError, match=f"which {told}; expected a function .* to a number"):
        evaluate(float_file, task=task)


def test_several_outputs_are_matched_by_name_and_averaged(multi_file, make_task):
    generator = np.random.default_rng(0)
    x = {"left": generator.random((40, 3)), "right": generator.random((40, 3))}
    y = {"double": 2 * x["left"], "difference": x["left"] - x["right"] + 1}
    found = evaluate(multi_file, task=make_task(x, y, metric="mae", loss="mse"))
    assert found.value == pytest.approx(0.5, abs=1e-6)

    def shapes(y_true, y_pred):
        assert [array.shape for array in y_true] == [array.shape for array in y_pred]
        return len(y_pred)

    assert evaluate(multi_file, task=make_task(x, y, metric=shapes)).value == 2


def test_a_logit_is_judged_by_its_sign(make_file, make_task):
    from tfopt.keras_gate import tf_keras

    content = make_file(lambda x: x * 1.0, None, 1)
    x = np.array([[-0.3], [0.2], [0.4], [2.0]], np.float32)
    loss = tf_keras.losses.BinaryCrossentropy(from_logits=True)
    for given, expected in ((loss, 1.0), ({"out": loss}, 1.0), ("binary_crossentropy", 0.5)):
        task = make_task(x, np.array([0, 1, 1, 1]), loss=given)
        assert evaluate(content, task=task).value == expected


def test_labels_of_other_classes_are_refused(float_file, make_task, images):
    task = make_task(images, np.full(150, 12))
    with pytest.raises(DataError, match="labels from 12 to 12 for a model of 10 classes"):
        evaluate(float_file, task=task)


def test_inputs_of_another_shape_are_refused(float_file, make_task):
    task = make_task(np.zeros((5, 28, 28, 1)), np.zeros(5))
    with pytest.raises(DataError, match=r"shape \(.*, 28, 28, 1\) for input 'image'"):
        evaluate(float_file, task=task)


def test_outputs_of_nan_are_refused(make_file, make_task):
    import tensorflow as tf

    content = make_file(lambda x: tf.math.log(x), None, 2)
    task = make_task(-np.ones((5, 2), np.float32), np.zeros(5))
    with pytest.raises(ModelError, match=r"a model whose outputs hold NaN \(samples 0 to"):
        evaluate(content, task=task)


def test_a_metric_without_a_value_is_refused(float_file, make_task, images):
    task = make_task(images, np.ones((150, 10)), metric="auc")
    with pytest.raises(DataError, match="labels on which auc has no value"):
        evaluate(float_file, task=task)


def test_a_missing_or_broken_file_is_refused(task, tmp_path):
    with pytest.raises(InterpreterError, match=r"gone.tflite, which cannot be read"):
        evaluate(tmp_path / "gone.tflite", task=task)
    with pytest.raises(InterpreterError, match="no TensorFlow Lite file"):
        evaluate(b"hello", task=task)


def test_an_unknown_metric_is_refused_before_anything_runs(make_task, images, labels):
    with pytest.raises(SettingError, match="metric='f0'"):
        evaluate(b"", task=make_task(images, labels, metric="f0"))


def test_what_is_written_is_json_without_the_outputs(float_file, task):
    record = json.loads(json.dumps(evaluate(float_file, task=task).to_dict()))
    assert record["value"] == 0.8 and "outputs" not in record
    assert "outputs" not in repr(evaluate(float_file, task=task))


def test_outputs_are_thinned_out_where_there_are_too_many(float_file, int8_file, task, monkeypatch):
    whole = evaluate(float_file, task=task).outputs[0]
    monkeypatch.setattr(quality, "_KEPT_BYTES", whole.nbytes // 4)
    for file, rows in ((float_file, whole), (int8_file, evaluate(int8_file, task=task).outputs[0])):
        kept = evaluate(file, task=task).outputs[0]
        assert len(kept) == 38  # every fourth of 150
        if file is float_file:
            np.testing.assert_array_equal(kept, rows[::4])


def test_agreement_of_classes():
    reference = [np.array([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]])]
    other = [np.array([[0.2, 0.8], [0.1, 0.9], [0.6, 0.4], [0.3, 0.7]])]
    assert agreement(reference, reference) == 1.0
    assert agreement(other, reference) == 0.75
    assert agreement([np.array([1, 2, 3])], [np.array([1, 2, 4])]) == pytest.approx(2 / 3)


def test_agreement_of_a_single_output():
    probability = [np.array([[0.1], [0.6], [0.9]])]
    assert agreement([np.array([[0.4], [0.4], [0.7]])], probability) == pytest.approx(2 / 3)
    logit = [np.array([[-2.0], [0.3], [1.5]])]
    assert agreement([np.array([[-1.0], [0.1], [-0.1]])], logit, kind="classes") == pytest.approx(
        2 / 3
    )


def test_agreement_of_values_is_the_share_of_variance():
    reference = [np.arange(10.0)[:, None] - 5]
    assert agreement(reference, reference) == 1.0
    assert agreement([reference[0] + 0.5], reference) == pytest.approx(1 - 0.25 / 8.25)
    assert agreement([reference[0] * -1], reference) == 0.0
    columns = [np.stack([np.arange(4.0), 9 - np.arange(4.0)], axis=1)]
    assert agreement([columns[0] + 1], columns, kind="values") == pytest.approx(1 - 1 / 1.25)
    assert agreement([np.ones(3)], [np.ones(3)], kind="values") == 1.0
    assert agreement([np.zeros(3)], [np.ones(3)], kind="values") == 0.0


def test_agreement_of_several_outputs_is_their_mean():
    classes, values = np.eye(4), np.arange(8.0).reshape(-1, 1)
    assert agreement([classes[::-1], values], [classes, values]) == 0.5


@pytest.mark.parametrize("reference", [[np.zeros((3, 2))], [np.zeros((4, 2))] * 2, []])
def test_agreement_of_different_shapes_is_refused(reference):
    with pytest.raises(
        DataError, match=r"outputs of shapes \[\(4, 2\)\] and a reference of shapes"
    ):
        agreement([np.zeros((4, 2))], reference)


def test_a_file_is_measured_without_tensorflow(float_file, images, labels, tmp_path):
    """And at once: in a fresh process, with TensorFlow hidden."""
    (tmp_path / "model.tflite").write_bytes(float_file)
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    script = """
import sys
for hidden in ("tensorflow", "tf_keras", "keras"):
    sys.modules[hidden] = None  # an import of it raises ImportError
import numpy as np
import tfopt
data = np.load("data.npz")
pair = (data["x"], data["y"])
task = tfopt.Task.from_arrays(pair, pair, loss="binary_crossentropy")
print(tfopt.evaluate("model.tflite", task=task).value, tfopt.benchmark("model.tflite").runs)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.8", "500"]


def test_a_metric_of_classes_is_refused_for_a_regression():
    x, y = np.zeros((6, 4), np.float32), np.linspace(-1, 2, 6)[:, None]
    model = keras_gate.tf_keras.Sequential([keras_gate.tf_keras.layers.Dense(1, input_shape=(4,))])
    task = tfopt.Task.from_arrays((x, y), (x, y), loss="mse")
    message = r"with the loss mean_squared_error and labels from -1 to 2; .*pass metric=\"mae\""
    with pytest.raises(SettingError, match=message):
        evaluate(model, task=task)
    numbers = (x, (y > 0).astype(int))
    binary = tfopt.Task.from_arrays(numbers, numbers, loss="mse")
    assert evaluate(model, task=binary).metric == "accuracy"


@pytest.mark.parametrize("task", [None, (1, 2), types.SimpleNamespace(metric="accuracy")])
def test_what_is_no_task_is_refused(task):
    with pytest.raises(SettingError, match=r"expected a tfopt\.Task"):
        evaluate(b"", task=task)
