import functools
import time

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.data import ArraySplit, DatasetSplit
from tfopt.errors import DataError, SettingError, TechniqueError
from tfopt.keras_gate import clone, tf_keras
from tfopt.testing import dense_net, small_cnn
from tfopt.training import fine_tune, steps_per_epoch, total_steps


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


def test_steps_are_counted():
    task = tfopt.Task.digits(batch_size=100)
    assert steps_per_epoch(task) == 11
    assert total_steps(0.5, 11) == 6
    assert total_steps(1e-6, 11) == 1


def test_the_same_seed_gives_the_same_weights_and_another_one_others(task):
    start = dense_net()
    first, second, third = clone(start), clone(start), clone(start)
    fine_tune(first, task, epochs=0.5, learning_rate=1e-3)
    np.random.seed(99)
    fine_tune(second, task, epochs=0.5, learning_rate=1e-3)
    fine_tune(third, tfopt.Task.digits(seed=1), epochs=0.5, learning_rate=1e-3)
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first.get_weights()[0], third.get_weights()[0])


@pytest.fixture
def pause():
    """Lets the data be read ahead, between epochs."""
    return tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: time.sleep(0.1))


def test_the_same_seed_gives_the_same_weights_however_far_the_data_is_read_ahead(task, pause):
    data = next(task.train.batches(160))
    some = tfopt.Task.from_arrays(data, data, loss="sparse_categorical_crossentropy")
    start, weights = dense_net(), []
    for callbacks in ([], [pause], [], [pause]):
        model = clone(start)
        fine_tune(model, some, epochs=5.1, learning_rate=1e-2, callbacks=callbacks)
        weights.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
    for other in weights[1:]:
        np.testing.assert_array_equal(other, weights[0])


@pytest.mark.filterwarnings("ignore:the training dataset gives other samples")
def test_no_more_is_read_than_is_trained_on(pause):
    read = tf.Variable(0)

    def noisy(x):
        read.assign_add(1)
        return x + tf.random.uniform([4]), x[:1]

    stream = tf.data.Dataset.from_tensor_slices(np.ones((20, 4), np.float32)).map(noisy)
    data = (np.ones((2, 4)), np.ones((2, 1)))
    task = tfopt.Task(
        train=DatasetSplit(stream, size=20), validation=ArraySplit(*data), loss="mse", batch_size=4
    )
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(4,))])
    looked_at = tf_keras.callbacks.LambdaCallback(on_train_begin=lambda _: read.assign(0))
    fine_tune(model, task, epochs=2, learning_rate=1e-3, callbacks=[looked_at, pause])
    assert read.numpy() == 2 * 20


def test_training_learns(task):
    model = dense_net()
    before = tfopt.evaluate(model, task=task, split="validation").value
    history = fine_tune(model, task, epochs=2.5, learning_rate=5e-3)
    assert len(history.history["loss"]) == 3
    assert tfopt.evaluate(model, task=task, split="validation").value > before + 0.3


def test_a_stream_trains_as_arrays_do(task):
    stream = tf.data.Dataset.from_tensor_slices(next(task.train.batches(320))).batch(32)
    streamed = tfopt.Task.from_dataset(stream, stream, loss="sparse_categorical_crossentropy")
    model = dense_net()
    losses = fine_tune(model, streamed, epochs=3, learning_rate=5e-3).history["loss"]
    assert losses[-1] < losses[0]


def test_a_loss_that_is_nan_says_what_to_change(task):
    with pytest.raises(TechniqueError, match=r"loss of (nan|inf).*lower learning_rate \(it was 1e"):
        fine_tune(dense_net(), task, epochs=1, learning_rate=1e30)


def test_weights_that_become_nan_while_the_loss_does_not_are_told():
    layers = [tf_keras.layers.Dense(3, input_shape=(4,), name="first")]
    layers += [tf_keras.layers.Lambda(lambda x: tf.sqrt(x * 0.0)), tf_keras.layers.Dense(1)]
    data = (np.ones((8, 4)), np.ones((8, 1)))
    task = tfopt.Task.from_arrays(data, data, loss="mse", metric="mse")
    with pytest.raises(TechniqueError, match=r"NaN in the weights of layer 'first' .*epsilon"):
        fine_tune(tf_keras.Sequential(layers), task, steps=1, learning_rate=1e-3)


@pytest.mark.parametrize("budget", [{}, {"epochs": 3, "steps": 5}], ids=["none", "both"])
def test_exactly_one_of_epochs_and_steps_says_how_long(budget, task):
    with pytest.raises(SettingError, match=r"epochs=.* and steps=.*; expected exactly one"):
        fine_tune(dense_net(), task, learning_rate=1e-3, **budget)


def test_labels_that_do_not_fit_are_explained():
    x, y = next(tfopt.Task.digits().train.batches(64))
    task = tfopt.Task.from_arrays((x, y + 5), (x, y), loss="sparse_categorical_crossentropy")
    with pytest.raises(DataError, match=r"14|class"):
        fine_tune(dense_net(), task, epochs=1, learning_rate=1e-3)


def test_a_keras_3_model_is_no_business_of_training(task):
    model = tf_keras.Sequential([tf_keras.layers.Input((3,)), tf_keras.layers.Dense(10)])
    with pytest.raises(DataError, match=r"\(8, 8, 1\)"):
        fine_tune(model, task, epochs=1, learning_rate=1e-3)


def test_statistics_of_batch_norm_settle_in_a_short_run_and_momentum_is_given_back(task):
    model = small_cnn()
    norm = model.get_layer("stem_bn")
    norm.momentum = 0.99
    norm.moving_mean.assign(np.full(8, 100.0))
    fine_tune(model, task, epochs=1, learning_rate=1e-5)
    assert np.abs(norm.moving_mean.numpy()).max() < 5
    assert norm.momentum == 0.99


def test_several_inputs_by_name_are_trained_on():
    left, right = (tf_keras.layers.Input((3,), name=name) for name in ("left", "right"))
    joined = tf_keras.layers.Concatenate()([left, right])
    model = tf_keras.Model([left, right], tf_keras.layers.Dense(1)(joined))
    random = np.random.default_rng(0)
    inputs = {"right": random.random((70, 3)), "left": random.random((70, 3))}
    data = (inputs, inputs["left"][:, :1] - inputs["right"][:, :1])
    task = tfopt.Task.from_arrays(data, data, loss="mse", metric="mse")
    losses = fine_tune(model, task, epochs=40, learning_rate=3e-2).history["loss"]
    assert losses[-1] < 0.3 * losses[0]
    assert model.optimizer.iterations.numpy() == 40 * steps_per_epoch(task)


@pytest.mark.parametrize(
    "technique",
    [
        tfopt.Distillation(),
        tfopt.MagnitudePruning(teacher="baseline"),
        tfopt.WeightClustering(),
        tfopt.QuantizationAware(),
    ],
    ids=lambda technique: technique.name,
)
def test_a_step_is_traced_once(technique, task):
    model = technique.wrap_for(small_cnn(), task).model
    own, traces = model.train_step, []

    @functools.wraps(own)
    def train_step(data):
        traces.append(data)
        return own(data)

    model.train_step = train_step
    fine_tune(model, task, epochs=1.5, learning_rate=1e-3)
    assert len(traces) == 1
    assert model.train_step is train_step


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model"])
def test_a_model_that_was_trained_is_saved_as_any_of_tf_keras(name, task, tmp_path):
    model = dense_net()
    during = tf_keras.callbacks.ModelCheckpoint(f"{tmp_path}/checkpoint_{name}")
    fine_tune(model, task, steps=3, learning_rate=1e-3, callbacks=[during])
    model.save(tmp_path / name)
    for file in (name, f"checkpoint_{name}"):
        loaded = tf_keras.models.load_model(tmp_path / file)
        assert type(loaded.optimizer) is tf_keras.optimizers.Adam
        loaded.fit(*next(task.train.batches(32)), verbose=0)


class Rates(tf_keras.callbacks.Callback):
    """Keeps the learning rate of each step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        self.rates.append(float(optimizer._learning_rate(optimizer.iterations)))


def test_the_learning_rate_rises_and_falls_to_zero(digits):
    seen = Rates()
    fine_tune(small_cnn(), digits, steps=40, learning_rate=0.1, callbacks=[seen])
    assert len(seen.rates) == 40
    assert np.argmax(seen.rates) == 4  # a tenth
    assert seen.rates[4] == pytest.approx(0.1)
    assert (np.diff(seen.rates[:5]) > 0).all()
    assert (np.diff(seen.rates[4:]) < 0).all()
    assert seen.rates[-1] < 0.001


def test_only_who_looks_at_batches_makes_each_step_a_call(digits):
    ends = []
    for callback in (
        tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(epoch)),
        Rates(),
        tf_keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None),
    ):
        model = small_cnn()
        fine_tune(model, digits, steps=8, learning_rate=0.01, callbacks=[callback])
        ends.append(model._steps_per_execution.numpy())
    assert ends == [0, 8, 1, 1]
