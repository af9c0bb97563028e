"""Nobody left behind: classes and groups, held against what was put into the answers."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.errors import SettingError
from tfopt.measure.groups import LEAST_SAMPLES, by_group, check_groups
from tfopt.measure.mistakes import mistakes
from tfopt.measure.paired import difference, holm, p_value
from tfopt.measure.png import as_png
from tfopt.measure.quality import Quality, evaluate
from tfopt.report import Difference
from tfopt.testing import dense_net

CLASSES = np.repeat(np.arange(4), [100, 60, 30, 10])


def quality(right, classes=CLASSES, confidence=0.9):
    """A model of four classes that is right where it is said."""
    answers = np.where(right, classes, (classes + 1) % 4)
    outputs = np.full((len(classes), 4), (1 - confidence) / 3, np.float32)
    outputs[np.arange(len(classes)), answers] = confidence
    return Quality(
        metric="accuracy",
        value=float(right.mean()),
        low=0.0,
        high=1.0,
        samples=len(classes),
        split="test",
        higher_is_better=True,
        kind="classes",
        outputs=(outputs,),
        statistic=lambda index: float(right[index].mean()),
        right=right,
        classes=classes,
        output_names=("probabilities",),
    )


@pytest.fixture(scope="module")
def task():
    generator = np.random.default_rng(0)
    x = generator.random((len(CLASSES), 6, 6, 1), np.float32)
    return tfopt.Task.from_arrays(
        (x[:50], CLASSES[:50]),
        (x[50:90], CLASSES[50:90]),
        (x, CLASSES),
        loss="sparse_categorical_crossentropy",
        class_names=("ant", "bee", "cat", "dog"),
    )


def test_the_class_that_lost_is_found_and_a_small_one_named(task):
    before, after = np.ones(200, bool), np.ones(200, bool)
    after[100:115] = False  # a quarter of the bees
    rows = by_group(quality(after), quality(before), task=task)
    assert [(row.name, row.samples) for row in rows] == [
        ("ant", 100), ("bee", 60), ("cat", 30), ("dog", 10)
    ]  # fmt: skip
    bee, dog = rows[1], rows[3]
    assert bee.baseline.value == 1 and bee.optimized.value == 0.75
    assert bee.difference.value == -0.25 and bee.significant
    assert bee.drop(higher_is_better=True) == 0.25
    assert bee.p_value == pytest.approx(3 * bee.difference.p_value)
    assert not rows[0].significant and rows[0].p_value == 1
    assert dog.difference is None and dog.reason == "10 samples, fewer than 25"


def test_a_tested_task_has_groups_by_functions_and_by_names(task):
    grouped = task.grouped(
        {
            "dark": lambda x, y: np.where(x.mean(axis=(1, 2, 3)) < 0.5, "dark", "light"),
            "camera": {"test": ["left", "right"] * 100},
            "elsewhere": {"validation": ["a"] * 40},
        }
    )
    right = np.ones(200, bool)
    worse = right.copy()
    worse[::2] = np.arange(100) % 5 > 0
    rows = by_group(quality(worse), quality(right), task=grouped)
    for by in ("class", "dark", "camera"):
        assert sum(row.samples for row in rows if row.by == by) == 200  # a partition
    assert {row.by for row in rows} == {"class", "dark", "camera"}
    left, other = (row for row in rows if row.by == "camera")
    assert (left.name, left.difference.value, left.significant) == ("left", -0.2, True)
    assert other.difference.value == 0


def test_other_metrics_have_groups_too():
    generator = np.random.default_rng(0)
    x, y = generator.random((80, 8, 8, 1), np.float32), generator.random((80, 10))
    task = tfopt.Task.from_arrays((x, y), (x, y), loss="mse", metric="mae")
    task = task.grouped({"half": {"validation": [0] * 40 + [1] * 40}})
    one, other = (evaluate(dense_net(), task=task) for _ in range(2))
    rows = by_group(one, other, task=task)
    assert [(row.by, row.name, row.samples) for row in rows] == [
        ("half", "0", 40),
        ("half", "1", 40),
    ]
    assert rows[0].baseline.low < rows[0].baseline.value < rows[0].baseline.high
    assert 0 <= rows[0].p_value <= 1
    assert rows[0].difference.value == pytest.approx(
        rows[0].optimized.value - rows[0].baseline.value
    )


def test_a_metric_without_a_value_on_a_group_is_named(task):
    def nothing(index):
        return float("nan")

    broken = dataclasses.replace(quality(np.ones(200, bool)), right=None, statistic=nothing)
    row = by_group(broken, broken, task=task)[0]
    assert row.difference is None and row.reason == "accuracy has no value on these samples"

    def failing(index):
        raise ZeroDivisionError

    broken = dataclasses.replace(broken, statistic=failing)
    row = by_group(broken, broken, task=task)[0]
    assert row.reason == "accuracy fails on these samples alone (ZeroDivisionError)"


def test_what_is_no_group_is_refused(task):
    with pytest.raises(SettingError, match="groups of type list"):
        task.grouped(["left", "right"] * 100)


def test_a_budget_needs_a_group_to_judge(task):
    check_groups(task, quality(np.ones(200, bool)))
    few = quality(np.ones(9, bool), classes=np.zeros(9, int))
    with pytest.raises(SettingError, match="largest group has 9 samples"):
        check_groups(task, few)
    with pytest.raises(SettingError, match=r"without groups.*task\.grouped"):
        check_groups(task, dataclasses.replace(few, classes=None))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_the_value_and_bonferroni_and_keeps_the_order(values):
    corrected = holm(values)
    for value, after in zip(values, corrected, strict=True):
        assert value <= after <= min(1, value * len(values)) + 1e-12
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.asarray(corrected)[order]) >= 0).all()


def test_holm_is_the_published_procedure():
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([]) == []


def test_a_bootstraps_p_value_agrees_with_its_interval():
    assert p_value(Difference(1.96, 0.0, 3.92)) == pytest.approx(0.05, abs=1e-3)
    assert p_value(Difference(0.5, 0.1, 0.9, 0.3)) == 0.3
    assert p_value(Difference(0.0, 0.0, 0.0)) == 1 and p_value(Difference(1.0, 1.0, 1.0)) == 0


def test_only_lost_samples_are_shown_the_surest_first(task):
    before, after = np.ones(200, bool), np.ones(200, bool)
    after[[3, 70, 150]] = False
    before[9] = False
    ours, theirs = quality(after), quality(before)
    ours.outputs[0][70] = [0.02, 0.02, 0.95, 0.01]
    grouped = task.grouped({"camera": {"test": ["left", "right"] * 100}})
    found = mistakes(ours, theirs, task=grouped, most=2)
    assert (found.lost, found.won, found.samples) == (3, 1, 200)
    first = found.shown[0]
    assert (first.index, first.label, first.baseline, first.optimized) == (70, "ant", "ant", "cat")
    assert first.optimized_confidence == pytest.approx(0.95, abs=1e-3)
    assert first.baseline_confidence == pytest.approx(0.9, abs=1e-3)
    assert first.group == "left" and len(found.shown) == 2
    assert base64.b64decode(first.png).startswith(b"\x89PNG")
    assert mistakes(ours, dataclasses.replace(theirs, right=None), task=task) is None


def test_samples_that_are_no_images_are_shown_without_one():
    x, y = np.random.default_rng(0).random((200, 5)), CLASSES
    task = tfopt.Task.from_arrays((x, y), (x, y), (x, y), loss="sparse_categorical_crossentropy")
    after = np.arange(200) > 0
    shown = mistakes(quality(after), quality(np.ones(200, bool)), task=task).shown
    assert (shown[0].png, shown[0].label) == ("", "0")


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_a_png_holds_the_pixels(shape, low, high):
    image_module = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(0).uniform(low, high, shape)
    image.flat[:2] = low, high
    read = np.asarray(image_module.open(io.BytesIO(base64.b64decode(as_png(image)))))
    expected = np.rint((image - low) / (high - low) * 255)
    np.testing.assert_allclose(read.reshape(shape), expected, atol=1)


def test_a_png_is_small_and_what_is_no_image_is_none():
    image_module = pytest.importorskip("PIL.Image")
    large = as_png(np.zeros((500, 300, 3), np.uint8))
    width, height = image_module.open(io.BytesIO(base64.b64decode(large))).size
    assert max(width, height) <= 96
    for image in (np.zeros(4), np.zeros((3, 3, 7)), np.zeros((2, 2, 2, 2))):
        assert as_png(image) == ""


def test_enough_samples_are_stated():
    assert LEAST_SAMPLES == 25
    whole = difference(quality(np.ones(200, bool)), quality(np.ones(200, bool)))
    assert whole.value == 0 and whole.within_noise
