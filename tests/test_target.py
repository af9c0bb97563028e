import pytest

from tfopt.errors import SettingError
from tfopt.target import Target, check_target


@pytest.mark.parametrize(
    ("target", "io", "integer_only"),
    [
        (Target.float32(), ("float32", "float32"), False),
        (Target.float16(), ("float32", "float32"), False),
        (Target.dynamic_range(), ("float32", "float32"), False),
        (Target.int8(), ("int8", "int8"), True),
        (Target.int8(input_type="uint8", output_type="float32"), ("uint8", "float32"), True),
        (Target.int16x8(), ("int16", "int16"), True),
        (Target.int4_weights(keep_int8=("a",), keep_int16=["b"]), ("int8", "int8"), True),
    ],
)
def test_defaults(target, io, integer_only):
    assert (target.input_type, target.output_type) == io
    assert target.integer_only is target.needs_calibration is integer_only


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"numerics": "int4"}, "numerics='int4'; expected 'int8' is nearest"),
        (
            {"numerics": "float16", "input_type": "int8"},
            "input_type='int8' with numerics='float16'",
        ),
        ({"numerics": "int8", "output_type": "int16"}, "expected one of int8, uint8, float32"),
        ({"numerics": "int8", "max_bytes": -1}, "max_bytes=-1; expected a number, at least 0"),
        ({"numerics": "int8", "max_bytes": True}, "max_bytes=True; expected a number, at least 0"),
        ({"numerics": "int8", "max_accuracy_drop": "1 %"}, "max_accuracy_drop='1 %'"),
        *(
            ({"numerics": "int8", name: "False"}, f"{name}='False'; expected True or False")
            for name in ("allow_float_ops", "sparse_encoding", "compact", "refine")
        ),
        ({"numerics": "int8", "representative_samples": 0}, "representative_samples=0"),
        (
            {"numerics": "int8", "keep_int8": ("a",)},
            r"keep_int8=\('a',\) with numerics='int8'; expected layers to except from int4_weights",
        ),
        (
            {"numerics": "int16x8", "keep_int16": ("a",)},
            "expected layers to except from int8 or int4_weights.*Target.int8",
        ),
        ({"numerics": "float32", "keep_float": ("a",)}, "except from int8 or int16x8 or int4_weig"),
        ({"numerics": "int8", "keep_int16": "a"}, r"expected a tuple.*keep_int16=\('a',\)"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        Target(**settings)


@pytest.mark.parametrize(
    "make",
    [Target.float32, Target.float16, Target.dynamic_range, Target.int8, Target.int16x8],
)
def test_a_misspelt_name_gets_the_nearest(make):
    expected = r"max_byte=3 for Target\..*; expected 'max_bytes' is nearest"
    with pytest.raises(SettingError, match=expected):
        make(max_byte=3)


def test_the_numerics_are_said_once():
    with pytest.raises(SettingError, match=r"numerics='int8' for Target\.int8\(\)"):
        Target.int8(numerics="int8")


@pytest.mark.parametrize(("target", "call"), [("float16", "float16"), (None, "int8")])
def test_what_is_no_target_is_refused(target, call):
    with pytest.raises(
        SettingError, match=rf"target={target!r}; .*pass target=tfopt\.Target\.{call}"
    ):
        check_target(target)
