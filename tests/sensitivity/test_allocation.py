"""Spreading an aim: everything that is asked for is found, where the curves are flattest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.sensitivity.allocation import Spread, harm
from tfopt.sensitivity.records import Curve, Point
from tfopt.sensitivity.zeros import competing, zeros

STRENGTHS = (0.25, 0.5, 0.75, 0.98)


@st.composite
def curves(draw):
    found = []
    for number in range(draw(st.integers(1, 5))):
        size = draw(st.integers(10, 1000))
        errors = sorted(draw(st.lists(st.floats(0, 2), min_size=4, max_size=4)))
        points = [
            Point(strength, round(strength * size), round(strength * size), error)
            for strength, error in zip(STRENGTHS, errors, strict=True)
        ]
        found.append((size, Curve(f"layer{number}", tuple(points))))
    return found


@given(curves(), st.floats(0, 0.999))
@settings(max_examples=60, deadline=None)
def test_the_zeros_make_up_the_sparsity(sized, sparsity):
    sizes = {curve.name: size for size, curve in sized}
    shares = zeros(sizes, [curve for _, curve in sized], sparsity)
    total = sum(share * sizes[name] for name, share in shares.items())
    assert total == pytest.approx(sparsity * sum(sizes.values()), abs=0.01)
    assert all(0 <= share < 1 for share in shares.values())


def test_zeros_that_a_kernel_came_with_count():
    """Of what is there already, nothing has to be found elsewhere."""
    came = Curve("came", (Point(0.95, 50, 50, 0.4), Point(0.98, 80, 80, 0.5)))
    dense = Curve("dense", tuple(Point(s, int(100 * s), 0, s) for s in STRENGTHS))
    sizes, present = {"came": 1000, "dense": 100}, {"came": 0.9, "dense": 0.0}
    enough = zeros(sizes, [came, dense], 0.5, present=present)
    assert enough == pytest.approx(present, abs=1e-6)
    more = zeros(sizes, [came, dense], 0.85, present=present)
    assert more["came"] >= 0.9
    assert sum(more[name] * sizes[name] for name in sizes) == pytest.approx(0.85 * 1100, abs=0.01)
    whole = zeros({"gone": 10, **sizes}, [Curve("gone", ()), came], 0.5, present={"gone": 1.0})
    assert whole["gone"] == 1.0


@given(curves(), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_more_never_asks_less_of_a_layer(sized, one, other):
    spread = Spread([curve for _, curve in sized], "weights")
    less, more = (spread.strengths(share) for share in sorted((one, other)))
    assert all(less[name] <= more[name] + 1e-9 for name in less)


def test_layers_alike_are_treated_alike_at_the_ends():
    curve = tuple(Point(s, int(100 * s), 0, s / 2) for s in STRENGTHS)
    spread = Spread([Curve("a", curve), Curve("b", curve)], "weights")
    assert spread.strengths(0) == {"a": 0, "b": 0}
    assert spread.strengths(1) == {"a": 0.98, "b": 0.98}
    assert spread.total == 2 * 98


def test_a_dent_in_a_curve_is_bridged():
    """A layer whose small changes hurt as much as its large ones is changed far, or not at all."""
    points = (Point(0.5, 50, 0, 0.5), Point(0.9, 90, 0, 0.5))
    spread = Spread([Curve("dent", points)], "weights")
    assert spread.strengths(0.5)["dent"] == pytest.approx(0.45)


@given(st.lists(st.integers(2, 50), min_size=1, max_size=4), st.floats(0, 0.99))
@settings(max_examples=40, deadline=None)
def test_competing_weights_make_up_the_sparsity_and_empty_no_kernel(sizes, sparsity):
    generator = np.random.default_rng(sum(sizes))
    kernels = [generator.normal(size=size) * 10.0 ** generator.integers(-3, 3) for size in sizes]
    shares = competing(kernels, sparsity)
    fallen = sum(round(share * size) for share, size in zip(shares, sizes, strict=True))
    assert fallen == round(sparsity * sum(sizes))


def test_harm_has_no_end():
    assert harm(0) == 0
    assert harm(0.5) < harm(0.99) < harm(1) < harm(3)
