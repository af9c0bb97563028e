import json

import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.recipe import parse_technique, technique_from_dict

CHAIN = (
    tfopt.MagnitudePruning(sparsity=0.75, m_by_n=None, block=(1, 1)),
    tfopt.WeightClustering(clusters=8),
    tfopt.QuantizationAware(epochs=0.5, skip=("stem_conv",)),
)


def test_a_recipe_survives_json(tmp_path):
    recipe = tfopt.Recipe(
        techniques=CHAIN, target=tfopt.Target.int8(max_bytes=9, input_type="uint8"), seed=3
    )
    file = tmp_path / "recipe.json"
    file.write_text(recipe.to_json())
    assert tfopt.Recipe.load(file) == recipe
    assert tfopt.Recipe.load(tmp_path) == recipe
    assert json.loads(recipe.to_json())["target"] == {
        "numerics": "int8",
        "input_type": "uint8",
        "output_type": "int8",
        "max_bytes": 9,
    }


def test_tuples_survive_json():
    technique = tfopt.MagnitudePruning(sparsity=0.5, m_by_n=(2, 4))
    recipe = tfopt.Recipe(techniques=(technique,), target=tfopt.Target.float32())
    assert tfopt.Recipe.from_dict(json.loads(recipe.to_json())).techniques == (technique,)


def test_a_step_is_parsed_and_never_executed():
    assert parse_technique("MagnitudePruning(sparsity=0.5)") == tfopt.MagnitudePruning(sparsity=0.5)
    assert parse_technique("QuantizationAware") == tfopt.QuantizationAware()
    for text in (
        "MagnitudePruning(0.5)",
        "__import__('os').getcwd()",
        "MagnitudePruning(",
        "f(x=g())",
    ):
        with pytest.raises(SettingError, match=r"expected a technique with its settings"):
            parse_technique(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MagnitudePrunning(sparsity=0.5)", "'MagnitudePruning' is nearest"),
        (
            "MagnitudePruning(sparcity=0.5)",
            "key 'sparcity' in MagnitudePruning; expected 'sparsity'",
        ),
        ("MagnitudePruning(sparsity=1.5)", r"sparsity=1\.5"),
        ("MagnitudePruning(sparsity='much')", "sparsity='much'"),
        ("WeightClustering(clusters=1)", "clusters=1"),
        ("MagnitudePruning(**{'sparsity': 0.5})", r"key '\*\*'"),
    ],
)
def test_bad_steps_name_what_is_wrong(text, message):
    with pytest.raises(SettingError, match=message):
        parse_technique(text)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"target": {"numerics": "int8"}, "tecniques": []}, "'techniques' is nearest"),
        ({"target": {"numerics": "int4"}}, "numerics='int4'"),
        ({"target": {"numerics": "int8", "max_byte": 1}}, "'max_bytes' is nearest"),
        ({"target": {}}, "names no numerics"),
        (5, "the recipe as int"),
        ({"target": {"numerics": "int8"}, "techniques": 5}, "techniques as int: 5; .*a JSON list"),
        ({"target": {"numerics": "int8"}, "techniques": {}}, "techniques as dict"),
        ({"target": {"numerics": "int8"}, "seed": "x"}, "seed='x'; expected a whole number"),
        ({"target": {"numerics": "int8"}, "made_from": 5}, "made_from as int"),
        ({"target": {"numerics": "int8", "allow_float_ops": "false"}}, "expected True or False"),
        ({}, "target as NoneType"),
        (
            {"target": {"numerics": "int8"}, "techniques": ["QuantizationAware"]},
            "a technique as str",
        ),
    ],
)
def test_bad_recipes_name_what_is_wrong(record, message):
    with pytest.raises(SettingError, match=message):
        tfopt.Recipe.from_dict(record)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content):
    file = tmp_path / "recipe.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingError, match=r"recipe"):
        tfopt.Recipe.load(file)


def test_an_unknown_technique_in_json_is_refused():
    with pytest.raises(SettingError, match=r"the technique 'Prune'; expected .*MagnitudePruning"):
        technique_from_dict({"technique": "Prune"})
