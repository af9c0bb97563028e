"""What fails while a model is trained is named: the loss, the augmentation, the batch size."""

import pytest
import tensorflow as tf

import tfopt
from tfopt.errors import DataError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.testing import dense_net
from tfopt.training import fine_tune


def unknown(labels, outputs):
    return tf.no_such_function(labels, outputs)


def unbound(labels, outputs):
    return labels * no_such_name  # noqa: F821


def own_words(labels, outputs):
    raise ValueError("labels of another kind")


class Unknown(tf_keras.losses.Loss):
    def call(self, labels, outputs):
        return tf.no_such_function(labels, outputs)


def huge(labels, outputs):
    many = tf.constant([2**22, 2**30], tf.int64)
    return tf.reduce_mean(outputs) * tf.reduce_max(tf.random.uniform(many))


@pytest.fixture(scope="module")
def samples():
    return next(tfopt.Task.digits().train.batches(64))


def trained_with(loss, samples):
    task = tfopt.Task.from_arrays(samples, samples, loss=loss, metric="accuracy", batch_size=32)
    fine_tune(dense_net(), task, steps=2, learning_rate=1e-3)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (unknown, r"loss=unknown, which fails.*\(AttributeError: .*no_such_function"),
        (unbound, r"loss=unbound, which fails.*\(NameError: name 'no_such_name'"),
        (own_words, r"loss=own_words, which fails.*\(ValueError: labels of another kind\)"),
        (Unknown(), r"loss=Unknown, which fails.*\(AttributeError: .*no_such_function"),
        (lambda labels, outputs: tf.no_such_function(), r"loss=<lambda>, which fails"),
    ],
    ids=["unknown", "unbound", "own_words", "object", "lambda"],
)
def test_a_loss_of_ones_own_that_fails_is_named(loss, message, samples):
    with pytest.raises(SettingError, match=message) as caught:
        trained_with(loss, samples)
    assert caught.value.__cause__ is not None


def test_batches_that_need_too_much_memory_should_be_smaller(samples):
    with pytest.raises(SettingError, match=r"batch_size=32, for which.*lower batch_size, to 16"):
        trained_with(huge, samples)


def of_another_kind(images):
    raise ValueError("images of another kind")


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        (lambda images: tf.no_such_function(images), SettingError, "augment=<lambda>, which fails"),
        (of_another_kind, SettingError, r"augment=of_another_kind.*\(ValueError: images of"),
        (lambda images: images[:, :4], DataError, "data, changed by augment=<lambda>, that model"),
        (
            lambda images: tf.py_function(lambda given: 1 / 0, [images], tf.float32),
            DataError,
            r"changed by augment=<lambda>, of which a batch cannot be read \(ZeroDivisionError",
        ),
    ],
    ids=["unknown", "own_words", "shape", "while_it_runs"],
)
def test_an_augmentation_that_fails_is_named(augment, error, message):
    with pytest.raises(error, match=message):
        fine_tune(dense_net(), tfopt.Task.digits().augmented(augment), steps=2, learning_rate=1e-3)


def test_what_a_callback_raises_is_left_as_it_is(digits):
    def stop(batch, logs):
        raise KeyError("mine")

    callback = tf_keras.callbacks.LambdaCallback(on_batch_end=stop)
    with pytest.raises(KeyError, match="mine"):
        fine_tune(dense_net(), digits, steps=2, learning_rate=1e-3, callbacks=[callback])
