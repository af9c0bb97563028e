import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.factorization.factors import ChannelSVD, Extent, SpatialSVD, Tucker2
from tfopt.factorization.plan import Planner
from tfopt.factorization.rebuild import factorized
from tfopt.graph.cost import model_cost
from tfopt.keras_gate import tf_keras

EXTENT = Extent((8, 8), (4, 4))


def product(factorization, ranks):
    """The kernel that the factors multiply to."""
    factors = factorization.factors(ranks)
    if isinstance(factorization, ChannelSVD):
        return np.einsum("hwir,hwro->hwio", *factors)
    if isinstance(factorization, SpatialSVD):
        return np.einsum("hxir,ywro->hwio", *factors)
    return np.einsum("abir,hwrs,cdso->hwio", *factors)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([ChannelSVD, SpatialSVD, Tucker2]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)),
    energy=st.floats(0, 0.999),
    seed=st.integers(0, 5),
)
def test_a_product_keeps_the_energy_it_promises(kind, size, energy, seed):
    size = (1, 1, *size[2:]) if kind is ChannelSVD else size
    kernel = np.random.default_rng(seed).normal(size=size)
    factorization = kind(kernel, EXTENT)
    missed = np.square(kernel - product(factorization, factorization.ranks(energy))).sum()
    assert missed <= (1 - energy) * np.square(kernel).sum() * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(ChannelSVD, (1, 1, 6, 8)), (SpatialSVD, (3, 3, 6, 8)), (Tucker2, (3, 3, 6, 8))],
)
def test_all_energy_gives_the_kernel_back(kind, shape):
    kernel = np.random.default_rng(0).normal(size=shape)
    factorization = kind(kernel, EXTENT)
    np.testing.assert_allclose(product(factorization, factorization.ranks(1.0)), kernel, atol=1e-10)


def test_less_energy_never_costs_more():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 16))
    for kind in (SpatialSVD, Tucker2):
        factorization = kind(kernel, EXTENT)
        costs = [factorization.cost(factorization.ranks(e)).macs for e in np.linspace(0, 1, 21)]
        assert costs == sorted(costs)


def test_a_kernel_of_zeros_has_rank_one():
    assert SpatialSVD(np.zeros((3, 3, 4, 4)), EXTENT).ranks(0.9) == (1,)


@pytest.mark.parametrize("axes", [2, 1])
def test_sizes_left_open_count_as_64(axes):
    layers = tf_keras.layers
    convolution = layers.Conv2D if axes == 2 else layers.Conv1D

    def saved(size):
        tf_keras.utils.set_random_seed(0)
        image = layers.Input((*[size] * axes, 3))
        x = convolution(8, 20, strides=2, name="wide")(image)
        x = layers.Dense(6, name="row")(convolution(8, 3, padding="same", name="same")(x))
        model = tf_keras.Model(image, x)
        choices = Planner(model, "auto", ["wide", "same", "row"]).at(0.5)
        return {name: (choice.ranks, choice.saved) for name, choice in choices.items()}

    assert saved(None) == saved(64)


@pytest.mark.parametrize("method", ["spatial", "tucker"])
@pytest.mark.parametrize("size", [(3, 3), (1, 3), (3, 1), (2, 5)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2), (3, 1)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_product_costs_what_its_layers_do(method, size, strides, padding):
    layers = tf_keras.layers
    image = layers.Input((13, 10, 6))
    x = layers.Conv2D(8, size, strides=strides, padding=padding, name="conv")(image)
    model = tf_keras.Model(image, x)
    choice = Planner(model, method, ["conv"]).at(0.5)["conv"]
    cost = choice.factorization.cost(choice.ranks)
    assert cost == model_cost(factorized(model, {"conv": choice}))
