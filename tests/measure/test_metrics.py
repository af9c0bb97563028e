import numpy as np
import pytest

from tfopt.errors import DataError, SettingError
from tfopt.measure.metrics import class_numbers, find

RNG = np.random.default_rng(0)


def value(name, labels, outputs, threshold=0.5):
    metric = find(name)
    return metric.reduce(metric.rows(np.asarray(labels), np.asarray(outputs), threshold))


def softmax(*shape):
    raw = np.exp(RNG.normal(size=shape))
    return (raw / raw.sum(axis=-1, keepdims=True)).astype(np.float32)


def keras_value(metric, labels, outputs):
    """What Keras computes; a metric that reads its shapes, such as "accuracy", through compile."""
    from tfopt.keras_gate import tf_keras

    if not isinstance(metric, str):
        metric.update_state(labels, outputs)
        return float(metric.result())
    layer = tf_keras.layers.Input(outputs.shape[1:])
    model = tf_keras.Model(layer, tf_keras.layers.Activation("linear")(layer))
    model.compile(loss=lambda y, p: 0.0 * p, metrics=[metric])
    return model.evaluate(outputs, labels, verbose=0, return_dict=True)[metric]


CLASSES = RNG.integers(0, 7, 60)
MAPS = RNG.integers(0, 3, (20, 4, 5))
CASES = {
    "class numbers": (CLASSES, softmax(60, 7)),
    "class numbers with an axis of one": (CLASSES[:, None], softmax(60, 7)),
    "one-hot": (np.eye(7, dtype=np.float32)[CLASSES], softmax(60, 7)),
    "one probability": (CLASSES % 2, RNG.random((60, 1), np.float32)),
    "one probability, labels with an axis of one": (
        (CLASSES % 2)[:, None].astype(np.float32),
        RNG.random((60, 1), np.float32),
    ),
    "a map of classes": (MAPS, softmax(20, 4, 5, 3)),
    "a map of one-hot classes": (np.eye(3)[MAPS], softmax(20, 4, 5, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_accuracy_means_what_keras_means(case):
    labels, outputs = CASES[case]
    assert value("accuracy", labels, outputs) == pytest.approx(
        keras_value("accuracy", labels, outputs), abs=1e-6
    )


def test_other_metrics_are_those_of_keras():
    from tfopt.keras_gate import tf_keras

    metrics = tf_keras.metrics
    labels, outputs = CASES["class numbers"]
    one_hot, one_hot_outputs = CASES["one-hot"]
    binary, probability = CASES["one probability"]
    maps, map_outputs = CASES["a map of classes"]
    many, many_outputs = RNG.integers(0, 2, (60, 4)), RNG.random((60, 4), np.float32)
    numbers, guesses = RNG.normal(size=(60, 3)), RNG.normal(size=(60, 3))
    sides = [
        ("top_5_accuracy", metrics.SparseTopKCategoricalAccuracy(5), labels, outputs),
        (
            "top_k_categorical_accuracy",
            metrics.TopKCategoricalAccuracy(5),
            one_hot,
            one_hot_outputs,
        ),
        ("categorical_accuracy", metrics.CategoricalAccuracy(), one_hot, one_hot_outputs),
        ("sparse_categorical_accuracy", metrics.SparseCategoricalAccuracy(), labels, outputs),
        ("binary_accuracy", metrics.BinaryAccuracy(), many, many_outputs),
        ("binary_accuracy", metrics.BinaryAccuracy(), binary, probability[:, 0]),
        ("mae", metrics.MeanAbsoluteError(), numbers, guesses),
        ("mean_squared_error", metrics.MeanSquaredError(), numbers, guesses),
        ("rmse", metrics.RootMeanSquaredError(), numbers, guesses),
        ("mean_iou", metrics.MeanIoU(3, sparse_y_pred=False), maps, map_outputs),
        ("auc", metrics.AUC(num_thresholds=20_000), binary[:, None], probability),
        ("AUC", metrics.AUC(num_thresholds=20_000), one_hot, one_hot_outputs),
    ]
    for name, metric, y_true, y_pred in sides:
        expected = keras_value(metric, y_true, y_pred)
        tolerance = 1e-3 if name in ("auc", "AUC") else 1e-5  # Keras interpolates
        assert value(name, y_true, y_pred) == pytest.approx(expected, abs=tolerance), name


def test_a_logit_means_yes_above_zero():
    labels, logits = [0, 1, 1, 0], [[-1.0], [0.2], [-0.2], [0.4]]
    assert value("accuracy", labels, logits, threshold=0.0) == 0.5
    assert value("accuracy", labels, logits) == 0.5  # 0.4 is no yes for a probability
    assert value("binary_accuracy", [[0], [1]], [[0.1], [0.4]], threshold=0.0) == 0.5


def test_rows_of_right_and_wrong_are_booleans_and_shares_are_not():
    accuracy = find("accuracy")
    assert accuracy.rows(*CASES["class numbers"], 0.5).dtype == bool
    assert accuracy.rows(*CASES["one probability"], 0.5).dtype == bool
    assert accuracy.rows(*CASES["a map of classes"], 0.5).shape == (20,)
    assert accuracy.rows(*CASES["a map of classes"], 0.5).dtype == float


def test_equal_outputs_are_no_free_hits():
    """A net that says nothing is right as often as chance has it: 5 of the 20 classes."""
    assert value("top_5_accuracy", np.arange(20), np.zeros((20, 20))) == 5 / 20
    assert value("auc", np.arange(20) % 2, np.zeros((20, 1))) == 0.5


def test_iou_counts_classes_that_occur():
    labels, outputs = np.array([[0, 0, 1, 1]]), np.eye(3)[[[0, 1, 1, 1]]]
    assert value("mean_iou", labels, outputs) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert value("mean_iou", [[0, 1]], np.array([[[0.2], [0.9]]])) == 1.0


def test_auc_without_one_of_the_classes_has_no_value():
    assert np.isnan(value("auc", np.ones(4), RNG.random((4, 1))))


def test_only_errors_are_better_when_lower():
    lower = {name for name in ("accuracy", "auc", "mae", "mse", "rmse", "mean_iou")
             if not find(name).higher_is_better}  # fmt: skip
    assert lower == {"mae", "mse", "rmse"}


def test_an_unknown_name_is_refused():
    with pytest.raises(SettingError) as caught:
        find("acuracy")
    assert "metric='acuracy'; expected 'accuracy' is nearest; one of AUC, " in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        (
            [0, 10],
            np.zeros((2, 10)),
            "labels from 0 to 10 for a model of 10 classes; expected class",
        ),
        ([-1, 3], np.zeros((2, 10)), "labels from -1 to 3 for a model of 10 classes"),
        ([0.5, 3], np.zeros((2, 10)), "labels from 0.5 to 3.0 for a model of 10 classes"),
        ([0, 2], np.zeros((2, 1)), "labels from 0 to 2 for a model of 2 classes"),
        (
            np.zeros((2, 12)),
            np.zeros((2, 10)),
            "labels of shape (2, 12) for outputs of shape (2, 10); expected labels of shape (2,) "
            "class numbers or (2, 10) one-hot",
        ),
        (np.zeros((2, 2)), np.zeros((2, 1)), "labels of shape (2, 2) for outputs of shape (2, 1)"),
    ],
)
def test_labels_of_other_classes_are_refused(labels, outputs, message):
    with pytest.raises(DataError) as caught:
        value("accuracy", labels, outputs)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["mae", "binary_accuracy", "auc"])
def test_labels_of_another_shape_are_refused(name):
    with pytest.raises(DataError, match=r"labels of shape \(4, 3\) for outputs of shape \(4, 2\)"):
        value(name, np.zeros((4, 3)), np.zeros((4, 2)))


def test_class_numbers_of_a_map():
    assert class_numbers(np.ones((2, 3, 1)), np.zeros((2, 3, 4))).tolist() == [[1] * 3] * 2
