"""Plans keep what matters, in steps, and reach an aim with the least pruning."""

import numpy as np
import pytest

from tfopt.channels.aim import Aim
from tfopt.channels.plan import Plan, weakest
from tfopt.errors import TechniqueError
from tfopt.graph.dependencies import analyse
from tfopt.graph.slice_cost import Costs
from tfopt.graph.slicing import slice_channels
from tfopt.keras_gate import tf_keras
from tfopt.measure.cost import Latency
from tfopt.testing import residual_net
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers


def two_layers(size):
    image = layers.Input((size, size, 1))
    x = layers.Conv2D(64, 3, name="wide")(image)
    x = layers.Conv2D(8, 3, name="narrow")(x)
    return analyse(tf_keras.Model(image, layers.Conv2D(2, 1)(x)))


@pytest.fixture(scope="module")
def found():
    return two_layers(8)


def sizes(found, kept):
    return [int(kept[group.units].sum()) for group in found.groups]


def test_uniform_plans_take_the_same_share_in_steps(found):
    plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=8)
    assert sizes(found, plan.kept(0.0)) == [64, 8]
    assert sizes(found, plan.kept(0.4)) == [40, 4]
    assert sizes(found, plan.kept(1.0)) == [8, 2]


@pytest.mark.parametrize(
    ("channels", "multiple", "step"),
    [(64, 8, 8), (32, 8, 8), (24, 8, 4), (16, 8, 4), (31, 8, 4), (40, 16, 8), (48, 12, 12),
     (3, 8, 1)],
)  # fmt: skip
def test_multiples_are_halved_until_a_group_has_four(channels, multiple, step):
    image = layers.Input((8, 8, 1))
    x = layers.Conv2D(channels, 3)(image)
    found = analyse(tf_keras.Model(image, layers.Conv2D(2, 1)(x)))
    plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=multiple)
    kept = {sizes(found, plan.kept(strength))[0] for strength in np.linspace(0, 1, 200)}
    assert kept == {*range(step, channels + 1, step), channels}


def test_the_most_important_units_are_kept(found):
    scores = np.random.default_rng(0).random(found.units)
    plan = Plan(found, scores, allocation="uniform", multiple_of=1)
    units = found.groups[0].units
    kept = plan.kept(0.5)[units]
    assert scores[units][kept].min() > scores[units][~kept].max()


def test_global_plans_take_from_where_little_is_lost(found):
    scores = np.ones(found.units)
    scores[found.groups[0].units] = np.linspace(0, 0.5, 64)
    plan = Plan(found, scores, allocation="global", multiple_of=8)
    assert sizes(found, plan.kept(0.5)) == [32, 8]


def test_a_branch_goes_whole_where_all_compete():
    found = analyse(residual_net())
    scores = np.ones(found.units)
    scores[found.groups[1].units] = 0
    plan = Plan(found, scores, allocation="global", multiple_of=1)
    assert sizes(found, plan.kept(0.5)) == [8, 0]
    assert sizes(found, plan.kept(1.0)) == [1, 0]


@pytest.mark.parametrize("name", ["channels", "macs", "parameters"])
def test_an_aim_is_reached_by_the_least_pruning(found, name):
    plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=1)
    aim = Aim(name, 0.6)
    (limit,) = aim.limits(found, plan, 1)
    costs = Costs(found)
    left = getattr(costs.of(aim.reach(found, plan, limit)), name)
    whole = getattr(costs.of(found.everything()), name)
    assert 0.3 * whole < left <= 0.4 * whole


def test_iterations_come_nearer_step_by_step(found):
    plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=1)
    assert Aim("channels", 0.5).limits(found, plan, 3) == [60, 48, 36]


def test_an_aim_out_of_reach_names_the_groups(found):
    plan = Plan(found, np.arange(found.units), allocation="global", multiple_of=8)
    with pytest.raises(TechniqueError, match=r"every channel of wide, narrow.*channels=0\.861"):
        Aim("channels", 0.95).limits(found, plan, 1)
    with pytest.raises(TechniqueError, match=r"which the emptiest network takes.*allow more time"):
        Aim("latency_ms", 1e-6, "float32").limits(found, plan, 1)


@pytest.mark.parametrize("numbers", ["float32", "int8"])
@pytest.mark.parametrize("size", [(32, 40), None])
def test_a_latency_is_of_the_samples_size(monkeypatch, numbers, size):
    image = layers.Input((None, None, 3))
    x = layers.Conv2D(8, 9, name="wide")(layers.Conv2D(8, 9)(image))  # nothing is left of 16x16
    found = analyse(tf_keras.Model(image, layers.Conv2D(2, 1)(x)))
    timed = []

    def benchmark(tflite, seconds):
        file = TFLiteModel(tflite)
        timed.append(file.shapes[file.inputs[0].index])
        return Latency(1.0, 1.0, 1.0, 1, 1)

    monkeypatch.setattr("tfopt.channels.aim.benchmark", benchmark)
    like = None if size is None else np.zeros((3, *size, 3), np.float32)
    Aim("latency_ms", 1.0, numbers).cost(found, like=like)(found.everything())
    assert timed == [(1, *(size or (64, 64)), 3)]


def test_the_weakest_plan_may_be_none(found):
    plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=1)
    assert weakest(plan, lambda kept: kept.sum(), 0) is None
    assert weakest(plan, lambda kept: kept.sum(), found.units).all()


@pytest.mark.parametrize("size", [8, None])
def test_operations_are_those_of_the_file(size):
    import tfopt

    found = two_layers(size)
    kept = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=1).kept(0.3)
    sliced = slice_channels(found, kept)
    tflite = tfopt.convert(sliced, target=tfopt.Target.float32())
    assert Costs(found).of(kept).macs == tfopt.inspect(tflite).macs


def test_a_group_keeps_the_step_that_need_not_go(found):
    plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=16)
    cost = Aim("macs", 0.24).cost(found)
    limit = 0.76 * cost(found.everything())
    together = weakest(plan, cost, limit, by_group=False)
    assert sizes(found, together) == [48, 6]
    assert sizes(found, weakest(plan, cost, limit)) == [48, 8]
