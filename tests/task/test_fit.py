import dataclasses
import warnings

import numpy as np
import pytest

import tfopt
from tfopt.data import DataWarning
from tfopt.errors import DataError
from tfopt.keras_gate import tf_keras
from tfopt.task import Task
from tfopt.task.losses import loss_name
from tfopt.testing import small_cnn

SPARSE = "sparse_categorical_crossentropy"
layers = tf_keras.layers


def task(x, y, **settings):
    return Task.from_arrays((x, y), (x, y), **{"loss": SPARSE} | settings)


def dense(inputs=4, outputs=3, activation="softmax", dtype="float32"):
    x = layers.Input((inputs,), name="table", dtype=dtype)
    y = layers.Dense(outputs, activation=activation, name="scores")(x)
    return tf_keras.Model(x, y)


X, Y = np.zeros((6, 4), np.float32), np.arange(6) % 3


def test_data_that_fits_is_accepted():
    Task.digits().check(small_cnn())
    task(X, Y).check(dense())
    task(X, Y[:, None]).check(dense())
    task(X, np.eye(3)[Y], loss="categorical_crossentropy").check(dense())
    task(X, Y % 2, loss="binary_crossentropy").check(dense(outputs=1))
    task(X, np.zeros(6), loss="mse").check(dense(outputs=1))
    task(X.astype(int), Y, loss=lambda y, p: p).check(dense(outputs=7))
    task(X, Y % 2, loss="binary_crossentropy", class_names=("n", "y")).check(dense(outputs=1))


@pytest.mark.parametrize(
    ("x", "y", "settings", "message"),
    [
        (X[:, :3], Y, {}, r"of train of shape \(3,\); expected \(4,\), as input 'table'"),
        (X, Y + 1, {}, r"labels of train from 1 to 3; expected whole numbers from 0 to 2"),
        (X, Y - 1, {}, r"from -1 to 1"),
        (X, Y + 0.5, {}, r"from 0\.5 to 2\.5"),
        (X, np.eye(3)[Y], {}, r'shape \(6, 3\); .*loss="categorical_crossentropy" for one-hot'),
        (X, np.zeros((6, 2), int), {}, "expected one class number for each sample"),
        (
            X,
            Y,
            {"loss": "categorical_crossentropy"},
            r"labels of train of shape \(6,\); .*\(None, 3\).*sparse_categorical_crossentropy",
        ),
        (
            X,
            np.zeros((6, 5)),
            {"loss": "mse"},
            r"shape \(6, 5\); expected the shape of output 'sco",
        ),
        (X, Y, {"class_names": tuple("abcd")}, "data of 4 classes; expected 3 classes, as many as"),
        (
            (X, X),
            Y,
            {},
            r"the inputs of train: 2 array\(s\); expected 1, one for each of \['table'",
        ),
        (X, (Y, Y), {}, r"the labels of train: 2 array\(s\)"),
    ],
)
def test_data_that_does_not_fit_is_named(x, y, settings, message):
    with pytest.raises(DataError, match=message):
        task(x, y, **settings).check(dense())


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((8, 8), r"add the axis of channels: x\[\.\.\., np\.newaxis\]"),
        ((9, 9, 1), "resize the images"),
        ((8, 8, 3), "as many channels as the model takes"),
        ((64,), "reshape the inputs"),
    ],
)
def test_the_way_out_depends_on_the_shape(shape, fix):
    with pytest.raises(DataError, match=rf"expected \(8, 8, 1\), as input 'image'.*{fix}"):
        task(np.zeros((6, *shape), np.float32), Y).check(small_cnn())


def test_open_axes_take_any_size():
    model = tf_keras.Sequential([layers.Input((None, 2)), layers.LSTM(3)])
    task(np.zeros((6, 5, 2)), np.zeros((6, 3)), loss="mse").check(model)
    pixels = tf_keras.Sequential([layers.Input((None, None, 1)), layers.Conv2D(3, 1)])
    task(np.zeros((6, 4, 4, 1)), np.zeros((6, 4, 4), int)).check(pixels)
    with pytest.raises(DataError, match=r"expected \(None, None, 1\)"):
        task(np.zeros((6, 4, 4, 2)), Y).check(pixels)


def test_word_numbers_must_be_integers():
    with pytest.raises(DataError, match=r"of type float32; expected int32.*x\.astype\('int32'\)"):
        task(X, Y).check(dense(dtype="int32"))
    task(X.astype(np.int64), Y).check(dense(dtype="int32"))


def test_several_inputs_and_outputs_are_matched_by_name():
    left, right = layers.Input((2,), name="left"), layers.Input((3,), name="right")
    joined = layers.Concatenate()([left, right])
    outputs = [layers.Dense(4, name="kind")(joined), layers.Dense(1, name="size")(joined)]
    model = tf_keras.Model([left, right], outputs)
    x = {"right": np.zeros((6, 3)), "left": np.zeros((6, 2))}
    y = {"size": np.zeros(6), "kind": np.arange(6) % 4}
    losses = {"kind": SPARSE, "size": "mse"}
    task(x, y, loss=losses).check(model)
    task((x["left"], x["right"]), (y["kind"], y["size"]), loss=[SPARSE, "mse"]).check(model)
    with pytest.raises(DataError, match=r"labels of train from 0 to 5; .*'kind'"):
        task(x, y | {"kind": np.arange(6)}, loss=losses).check(model)
    with pytest.raises(DataError, match=r"the inputs of train: arrays named \['left', 'wrong'\]"):
        task({"left": x["left"], "wrong": x["right"]}, y, loss=losses).check(model)


def test_streams_are_checked_by_their_first_samples():
    import tensorflow as tf

    pairs = tf.data.Dataset.from_tensor_slices((X, Y + 5))
    with pytest.raises(DataError, match=r"labels of train from 5 to 7"):
        Task.from_dataset(pairs, pairs, loss=SPARSE).check(dense())


def test_a_keras_3_model_is_checked_too():
    import keras

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    task(X, Y).check(model)
    with pytest.raises(DataError, match=r"expected \(4,\)"):
        task(X[:, :2], Y).check(model)


def test_logits_need_a_loss_of_logits():
    logits = dense(activation=None)
    message = r"output 'scores' has no softmax or sigmoid.*from_logits=True"
    with pytest.warns(DataWarning, match=message):
        task(X, Y).check_training(logits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task(X, Y).check(logits)
        task(X, Y).check_training(dense())
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        task(X, Y, loss=loss).check_training(logits)


@pytest.mark.parametrize("loss", ["bce", "BCE", "binary_focal_crossentropy"])
def test_each_name_of_a_loss_of_probabilities_warns_of_logits(loss):
    binary = task(X, Y % 2, loss=loss)
    with pytest.warns(DataWarning, match="no softmax or sigmoid"):
        binary.check_training(dense(outputs=1, activation=None))


@pytest.mark.parametrize("loss", ["bce", "kld", "MAPE", "msle", "logcosh", "Huber"])
def test_each_name_of_a_loss_has_its_labels_checked(loss):
    with pytest.raises(DataError, match=r"the shape of output 'scores'"):
        task(X, np.zeros((6, 5)), loss=loss).check(dense())


def test_logits_are_told_once_of_a_task():
    binary = task(X, Y % 2, loss="binary_crossentropy")
    model = dense(outputs=1, activation=None)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            tfopt.evaluate(model, task=binary)
        binary.check_training(model)
        dataclasses.replace(binary, teacher=model).check_training(model)
    texts = [str(one.message) for one in told if one.category is DataWarning]
    assert ["held against the threshold 0.5" in text for text in texts] == [True]


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        ("SparseCategoricalCrossentropy", SPARSE),
        (tf_keras.losses.SparseCategoricalCrossentropy(), SPARSE),
        (tf_keras.losses.mean_squared_error, "mean_squared_error"),
        ("MSE", "mean_squared_error"),
        ({"a": 1}, None),
    ],
)
def test_losses_have_names(loss, name):
    assert loss_name(loss) == name
