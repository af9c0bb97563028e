"""Metrics of every form a task can name: by name, objects of Keras, functions, one an output."""

import dataclasses
import json

import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.measure.checks import check_drops, check_metric
from tfopt.measure.keras_metrics import higher_is_better
from tfopt.measure.metrics import find
from tfopt.measure.quality import evaluate
from tfopt.measure.scores import score_of
from tfopt.sensitivity.bench import bench_of
from tfopt.training.callbacks import Validation

RNG = np.random.default_rng(0)
LABELS, OUTPUTS = RNG.integers(0, 2, 80), RNG.random((80, 1), np.float32)


def scored(metric, labels=LABELS, outputs=OUTPUTS):
    score = score_of(metric, "binary_crossentropy")
    for part in (slice(None, 30), slice(30, None)):
        score.add([labels[part]], [outputs[part]])
    return score, score.result(len(labels), 0)


def test_each_output_is_held_against_the_threshold_of_its_own_loss():
    from tfopt.keras_gate import tf_keras

    of_logits = tf_keras.losses.BinaryCrossentropy(from_logits=True)
    labels = np.array([0, 0, 1, 1])
    outputs = {"logits": labels[:, None] * 4.0 - 2, "shares": labels[:, None] * 0.8 + 0.1}
    losses = {"shares": "binary_crossentropy", "logits": of_logits}
    score = score_of("accuracy", losses, list(outputs))
    score.add([labels, labels], list(outputs.values()))
    assert score.value() == 1


def test_any_metric_of_keras_is_taken_by_name_and_as_an_object():
    from tfopt.keras_gate import tf_keras

    metric = tf_keras.metrics.Precision(thresholds=0.7)
    score, found = scored(metric)
    yes = OUTPUTS[:, 0] > 0.7
    assert score.name == "precision" and score.higher_is_better
    assert found.value == pytest.approx((LABELS[yes] == 1).mean())
    assert found.low < found.value < found.high
    for name in ("Precision", "precision"):
        yes = OUTPUTS[:, 0] > 0.5
        assert scored(name)[1].value == pytest.approx((LABELS[yes] == 1).mean())
    worse, error = scored("LogCoshError", LABELS.astype(np.float32)[:, None])
    assert not worse.higher_is_better and error.value > 0
    assert find("AUC").name == find("auc").name == "auc"


@pytest.mark.parametrize("metric", ["accuracy", "auc", "Precision", lambda y, p: np.mean(y == p)])
def test_a_value_alone_is_that_of_the_result(metric):
    score, found = scored(metric)
    assert score.value() == found.value


def test_a_value_alone_is_one_call_of_the_metric(cnn):
    calls = []

    def counted(labels, outputs):
        calls.append(len(labels))
        return 1.0

    task = dataclasses.replace(tfopt.Task.digits(), metric=counted)
    bench_of(cnn, task, 64).measured([])
    assert calls == [64, 64]  # before any change, and the one without
    Validation(cnn, task).measure()
    assert calls[2:] == [task.validation.size]


def test_a_metric_of_keras_3_is_taken():
    import keras

    _, found = scored(keras.metrics.Recall())
    assert found.value == pytest.approx((OUTPUTS[LABELS == 1] > 0.5).mean())


def test_a_function_may_give_one_number_a_sample_and_say_what_is_better():
    def absolute_error(labels, outputs):
        return np.abs(outputs[:, 0] - labels)

    score, found = scored(absolute_error)
    assert not score.higher_is_better  # its name says so
    assert found.value == pytest.approx(np.abs(OUTPUTS[:, 0] - LABELS).mean(), rel=1e-5)
    absolute_error.higher_is_better = True
    assert higher_is_better(absolute_error)


@pytest.mark.parametrize(
    ("name", "better"),
    [("mae", False), ("mape", False), ("custom_loss", False), ("FalsePositives", False),
     ("f1", True), ("r2_score", True), ("dice", True), ("mean_iou", True), ("male_recall", True)],
)  # fmt: skip
def test_names_tell_whether_more_is_better(name, better):
    def metric(labels, outputs):
        return 0.0

    metric.__name__ = name
    assert higher_is_better(metric) is better


@pytest.mark.parametrize("count", [1, 3, 10])
def test_the_right_class_among_the_first_k(count):
    outputs, labels = RNG.random((50, 12)), RNG.integers(0, 12, 50)
    rows = find(f"top_{count}_accuracy").rows(labels, outputs, 0.5)
    ranks = (outputs > outputs[np.arange(50), labels][:, None]).sum(axis=1)
    assert rows.tolist() == (ranks < count).tolist()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("precison", "'Precision' is nearest"),
        ("top_0_accuracy", "top_5_accuracy"),
        ({"a": "acuracy"}, "'accuracy' is nearest"),
        (("accuracy", "acuracy"), "'accuracy' is nearest"),
        (3, "metric=3"),
    ],
)
def test_what_is_no_metric_is_refused(metric, message):
    with pytest.raises(SettingError) as caught:
        check_metric(metric)
    assert message in str(caught.value)


def test_a_class_is_no_metric():
    from tfopt.keras_gate import tf_keras

    with pytest.raises(SettingError, match=r"metric=AUC, a class.*call it: AUC\(\)"):
        check_metric(tf_keras.metrics.AUC)


@pytest.fixture(scope="module")
def two_heads(make_file):
    """A file that gives an age and one of three classes."""
    from tfopt.keras_gate import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    x = layers.Input((4,), name="x")
    age = layers.Dense(1, name="age")(x)
    kind = layers.Dense(3, activation="softmax", name="kind")(x)
    model = tf_keras.Model(x, [age, kind])
    return tfopt.convert(model, target=tfopt.Target.float32())


def task_of(metric):
    x = np.random.default_rng(0).random((60, 4), np.float32)
    y = {"age": x[:, :1], "kind": np.arange(60) % 3}
    loss = {"age": "mse", "kind": "sparse_categorical_crossentropy"}
    return tfopt.Task.from_arrays((x, y), (x, y), loss=loss, metric=metric)


@pytest.mark.parametrize("loss", ["mse", ("mse", "mse"), {"age": "mse", "kind": "mse"}])
def test_a_metric_of_classes_is_refused_for_numbers_however_losses_are_given(two_heads, loss):
    x = np.random.default_rng(0).random((6, 4), np.float32)
    pair = (x, {"age": x[:, :1], "kind": x[:, :3]})
    task = tfopt.Task.from_arrays(pair, pair, loss=loss)
    with pytest.raises(SettingError, match="since these labels are no classes"):
        evaluate(two_heads, task=task)


def test_each_output_has_its_own_metric_and_the_first_named_is_judged(two_heads):
    found = evaluate(two_heads, task=task_of({"kind": "accuracy", "age": "mae"}))
    assert found.metric == "kind accuracy" and found.kind == "classes" and found.higher_is_better
    assert [(part.output, part.metric) for part in found.parts] == [
        ("kind", "accuracy"), ("age", "mae")
    ]  # fmt: skip
    assert found.parts[0].score.value == found.value and found.right.shape == (60,)
    assert found.classes.tolist() == [i % 3 for i in range(60)]
    assert json.loads(json.dumps(found.to_dict()))["parts"][1]["output"] == "age"
    assert str(found).splitlines()[1].startswith("age mae ")
    turned = evaluate(two_heads, task=task_of({"age": "mae", "kind": "accuracy"}))
    assert turned.metric == "age mae" and not turned.higher_is_better
    assert turned.value == found.parts[1].score.value


def test_metrics_in_the_order_of_the_outputs(two_heads):
    found = evaluate(two_heads, task=task_of(("mae", "accuracy")))
    assert [part.output for part in found.parts] == ["age", "kind"]
    only = evaluate(two_heads, task=task_of({"kind": "top_2_accuracy"}))
    assert [part.metric for part in only.parts] == ["top_2_accuracy"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"kinds": "accuracy"}, "'kind' is nearest"),
        (("accuracy",), "1 metric(s) for a model of 2 output(s)"),
        ({"age": "accuracy", "kind": "accuracy"}, "since these labels are no classes"),
    ],
)
def test_metrics_that_do_not_fit_the_outputs_are_refused(two_heads, metric, message):
    with pytest.raises(SettingError) as caught:
        evaluate(two_heads, task=task_of(metric))
    assert message in str(caught.value)


@pytest.mark.parametrize("metric", ["accuracy", "acc", "auc", "mean_iou", "top_3_accuracy"])
def test_a_share_cannot_drop_by_more_than_all_of_it(metric):
    with pytest.raises(SettingError, match=r"max_group_drop=5 .* Fix: use max_group_drop=0\.05"):
        check_drops(metric, max_accuracy_drop=0.5, max_group_drop=5.0)
    check_drops(metric, max_accuracy_drop=1.0, max_group_drop=None)


@pytest.mark.parametrize("metric", ["mae", "rmse", max, "MeanSquaredError"])
def test_what_is_no_share_can_drop_by_any_amount(metric):
    check_drops(metric, max_accuracy_drop=5.0)
