"""What all techniques refuse alike."""

import pytest

import tfopt
from tfopt.errors import SettingError


@pytest.mark.parametrize(
    "technique",
    [tfopt.MagnitudePruning, tfopt.EqualizeChannels, tfopt.CorrectBias, tfopt.RoundWeights],
)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"only": "conv"}, r"only='conv'; expected a tuple of layer names.*write only=\('conv',\)"),
        ({"skip": (5,)}, r"skip=\(5,\); expected a tuple of layer names or class names"),
        ({"only": ["conv", None]}, r"only=\('conv', None\); expected a tuple"),
        ({"skip": None}, "skip=None; expected a tuple"),
    ],
)
def test_what_is_no_tuple_of_names_is_refused(technique, settings, message):
    with pytest.raises(SettingError, match=message):
        technique(**settings)


def test_lists_of_names_become_tuples_and_only_may_be_none():
    assert tfopt.CorrectBias(only=["a"], skip=[]) == tfopt.CorrectBias(only=("a",))
    assert tfopt.RoundWeights(keep_int8=["a"], only=None).keep_int8 == ("a",)
