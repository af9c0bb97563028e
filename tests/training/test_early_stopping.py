import numpy as np
import pytest

import tfopt
from tfopt import training
from tfopt.keras_gate import clone, tf_keras
from tfopt.testing import dense_net
from tfopt.training.callbacks import EVALUATIONS, Validation


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


def fine_tuned(model, task, **settings):
    with training.recorded() as trainings:
        training.fine_tune(model, task, **settings)
    (told,) = trainings
    return told


def test_the_best_weights_are_kept(task):
    tf_keras.utils.set_random_seed(0)
    model = dense_net()
    # Far too fast, so that the last weights are not the best ones.
    told = fine_tuned(model, task, epochs=10, learning_rate=1.0, early_stopping=EVALUATIONS)
    metrics = {evaluation.step: evaluation.metric for evaluation in told.evaluations}
    assert len(metrics) == EVALUATIONS
    assert told.steps == told.planned_steps == 10 * training.steps_per_epoch(task)
    assert metrics[told.best_step] == max(metrics.values()) > min(metrics.values())
    assert told.best_step < told.steps
    assert Validation(model, task).measure() == metrics[told.best_step]
    kept = tfopt.evaluate(model, task=task, split="validation").value
    assert kept == pytest.approx(metrics[told.best_step])


def test_it_stops_when_nothing_gets_better(task):
    model = dense_net()
    before = clone(model).get_weights()
    told = fine_tuned(model, task, steps=600, learning_rate=1e-12, early_stopping=2)
    assert told.steps < told.planned_steps == 600
    assert len(told.evaluations) == 3
    assert told.best_step == told.evaluations[0].step
    np.testing.assert_allclose(model.get_weights()[0], before[0], atol=1e-6)


def test_what_comes_before_the_schedule_has_ended_is_no_candidate(task):
    told = fine_tuned(
        dense_net(), task, steps=80, learning_rate=1e-3, early_stopping=1, settled=0.75
    )
    assert min(evaluation.step for evaluation in told.evaluations) > 60
    assert told.best_step > 60


def test_a_metric_that_is_better_when_low(task):
    x, _ = next(task.train.batches(64))
    data = (x, x.reshape(64, -1)[:, :10])
    numbers = tfopt.Task.from_arrays(data, data, loss="mse", metric="mse")
    told = fine_tuned(dense_net(), numbers, steps=40, learning_rate=1e-2, early_stopping=9)
    assert told.best_step == min(told.evaluations, key=lambda one: one.metric).step


def test_without_it_nothing_is_evaluated_and_the_last_weights_stay(task):
    told = fine_tuned(dense_net(), task, steps=5, learning_rate=1e-3)
    assert told.evaluations == ()
    assert told.best_step == told.steps == 5
    assert len(told.losses) == 1
