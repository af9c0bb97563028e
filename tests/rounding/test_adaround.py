"""Learned rounding: up or down and no further, the same for the same seed."""

import gc
import weakref

import numpy as np
import tensorflow as tf

from tfopt.rounding.adaround import Learning, learn
from tfopt.rounding.grid import Grid


def test_a_sum_is_kept():
    random = np.random.default_rng(0)
    weights = random.uniform(0.1, 0.4, size=(40, 3)).astype(np.float32)
    weights[0] = 7.0
    grid = Grid.of(weights, np.ones((1, 3), np.float32), 7)

    def error(kernels, step):
        return tf.reduce_mean((tf.reduce_sum(kernels[0] - weights, axis=0) / 10.0) ** 2)

    learning = Learning(steps=300, learning_rate=0.05)
    learned, again = (learn([grid], error, learning)[0] for _ in range(2))
    np.testing.assert_array_equal(learned, again)
    assert np.all(np.abs(learned.sum(axis=0) - weights.sum(axis=0)) <= 2.5)
    assert np.all(np.abs(grid.nearest().sum(axis=0) - weights.sum(axis=0)) > 5)
    assert set(np.unique(learned)) == {0, 1, 7}


def test_several_kernels_are_learned_together():
    grids = [Grid.of(np.array([0.4, 3.0]), np.array([1.0]), 3) for _ in range(2)]

    def error(kernels, step):
        return (kernels[0][0] + kernels[1][0] - 1.0) ** 2

    up = [kernel[0] for kernel in learn(grids, error, Learning(steps=300, learning_rate=0.05))]
    assert all(value in (0, 1) for value in up)


def test_nothing_to_learn():
    grid = Grid.of(np.array([0.0, 3.0]), np.array([1.0]), 3)
    (learned,) = learn(
        [grid], lambda kernels, step: tf.reduce_sum(kernels[0]), Learning(steps=2, learning_rate=1)
    )
    np.testing.assert_array_equal(learned, [0, 3])


def test_nothing_of_the_graph_and_its_data_stays_behind():
    grid = Grid.of(np.array([0.4, 3.0]), np.array([1.0]), 3)
    graphs = []

    def error(kernels, step):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return tf.reduce_sum(kernels[0]) ** 2

    learn([grid], error, Learning(steps=2, learning_rate=0.05))
    gc.collect()
    assert graphs and not any(graph() for graph in graphs)
