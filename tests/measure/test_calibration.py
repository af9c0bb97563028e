import numpy as np
import pytest

from tfopt.errors import DataError, SettingError
from tfopt.measure.calibration import activation_ranges, compare_calibrations
from tfopt.target import Target
from tfopt.task import Task
from tfopt.testing.models import dense_net, small_cnn
from tfopt.tflite.convert import convert


def test_methods_and_choices_are_compared():
    task = Task.digits()
    found = compare_calibrations(
        small_cnn(),
        task=task,
        target=Target.int8(representative_samples=32),
        calibrations=["min_max", "percentile"],
        choices=["random", "spread"],
    )
    assert [(row.calibration, row.choice) for row in found.rows] == [
        ("min_max", "random"),
        ("percentile", "random"),
        ("min_max", "spread"),
        ("percentile", "spread"),
    ]
    assert all(row.quality.split == "validation" for row in found.rows)
    ranges = [row.ranges["image"] for row in found.rows]
    assert ranges[0] == pytest.approx((0, 1), abs=0.01)
    text = str(found).splitlines()
    assert text[0].split()[:3] == ["method", "samples", "accuracy"] and len(text) == 5
    assert "%" in text[1]


def test_ranges_are_the_real_numbers_of_the_integers():
    inputs = np.random.default_rng(0).uniform(-3, 5, (16, 8, 8, 1)).astype(np.float32)
    for target in (Target.int8(), Target.int16x8()):
        low, high = activation_ranges(convert(dense_net(), representative=inputs, target=target))[
            "image"
        ]
        assert high == pytest.approx(5, rel=0.03)
        assert low == pytest.approx(-3 if target.numerics == "int8" else -5, rel=0.03)


def test_samples_without_classes_cannot_be_balanced():
    images = Task.digits().representative_inputs(32)
    y = np.linspace(0, 1, 320).reshape(32, 10)
    task = Task.from_arrays((images, y), (images, y), loss="mse", metric=lambda y, p: 0.0)
    with pytest.raises(DataError, match="use representative_choice='random' or 'spread'"):
        compare_calibrations(
            small_cnn(),
            task=task,
            target=Target.int8(),
            calibrations=["min_max"],
            choices=["balanced"],
        )


@pytest.mark.parametrize(
    ("target", "settings"),
    [(Target.dynamic_range(), {}), (Target.int8(), {"calibrations": []})],
)
def test_nothing_to_compare_is_refused(target, settings):
    with pytest.raises(SettingError, match="an integer target, at least one method"):
        compare_calibrations(small_cnn(), task=Task.digits(), target=target, **settings)
