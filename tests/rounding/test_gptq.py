"""Error-compensated rounding: smaller errors of the outputs, nothing lost that was fixed."""

import numpy as np
import pytest

from tfopt.rounding.clipping import scales
from tfopt.rounding.gptq import compensate, recover
from tfopt.rounding.grid import Grid


def correlated(random, rows, width):
    return random.normal(size=(2, rows, width // 4)) @ random.normal(size=(2, width // 4, width))


def gram(inputs):
    return inputs.swapaxes(1, 2) @ inputs


@pytest.fixture(scope="module")
def layer():
    random = np.random.default_rng(0)
    weights = random.normal(size=(2, 24, 5))
    weights[:, ::5] = 0
    grid = Grid.of(weights, scales(weights, largest=7, ranges="mse"), 7)
    return correlated(random, 400, 24), weights, grid


def error(inputs, ours, theirs):
    return np.square(inputs @ (ours - theirs)).mean()


def test_the_outputs_are_nearer_than_with_nearest_rounding(layer):
    inputs, weights, grid = layer
    integers = compensate(grid, gram(inputs))
    usual = error(inputs, grid.weights(grid.nearest()), weights)
    assert error(inputs, grid.weights(integers), weights) < 0.5 * usual
    assert np.all(integers == np.rint(integers)) and np.abs(integers).max() == 7
    np.testing.assert_array_equal(integers[grid.fixed], grid.nearest()[grid.fixed])


def test_independent_inputs_are_rounded_to_nearest(layer):
    _, _, grid = layer
    integers = compensate(grid, np.stack([np.eye(24)] * 2))
    np.testing.assert_array_equal(integers, grid.nearest())


def test_dead_inputs_are_rounded_to_nearest(layer):
    inputs, _, grid = layer
    np.testing.assert_array_equal(compensate(grid, np.zeros((2, 24, 24))), grid.nearest())
    dead = inputs.copy()
    dead[:, :, 3] = 0
    integers = compensate(grid, gram(dead))
    np.testing.assert_array_equal(integers[:, 3], grid.nearest()[:, 3])


def test_a_single_row_is_enough_to_go_on(layer):
    inputs, _, grid = layer
    assert np.isfinite(compensate(grid, gram(inputs[:, :1]))).all()


def test_what_earlier_layers_lost_is_recovered(layer):
    inputs, weights, grid = layer
    changed = inputs * 0.8 + 0.1 * np.roll(inputs, 1, axis=2)
    missing = changed.swapaxes(1, 2) @ (inputs @ weights - changed @ (grid.steps * grid.scale))
    recovered = recover(grid, gram(changed), missing)
    target = inputs @ weights

    def off(which):
        return np.square(changed @ (which.steps * which.scale) - target).mean()

    assert off(recovered) < 0.3 * off(grid)
    np.testing.assert_array_equal(recovered.steps[grid.fixed], grid.steps[grid.fixed])
    np.testing.assert_array_equal(recovered.scale, grid.scale)
