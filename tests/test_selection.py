import keras
import numpy as np
import pytest

import tfopt
from tfopt.errors import ModelError, SettingError, TechniqueError
from tfopt.keras_gate import tf_keras
from tfopt.selection import check_touched, select
from tfopt.technique import Skipped
from tfopt.testing import small_cnn


@pytest.fixture(scope="module")
def model():
    return small_cnn()


def only_convolutions(layer):
    return None if type(layer).__name__ == "Conv2D" else "no convolution"


def test_every_layer_but_the_inputs_is_touched_or_skipped_with_a_reason(model):
    selection = select(model, only_convolutions)
    assert selection.touched == ("stem_conv", "block_conv")
    skipped = {skip.layer for skip in selection.skipped}
    assert skipped | set(selection.touched) == {layer.name for layer in model.layers} - {"image"}
    assert Skipped("stem_bn", "BatchNormalization", "no convolution") in selection.skipped


def test_the_users_choice_is_by_name_or_by_class(model):
    selection = select(model, only_convolutions, only=("Conv2D",), skip=("stem_conv",))
    assert selection.touched == ("block_conv",)
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert reasons["stem_conv"] == "named in skip=('stem_conv',)"
    assert reasons["probabilities"] == "not named in only=('Conv2D',)"


def test_what_only_names_may_still_be_impossible(model):
    selection = select(model, only_convolutions, only=("probabilities",))
    assert selection.touched == ()
    assert {skip.reason for skip in selection.skipped if skip.layer == "probabilities"} == {
        "no convolution"
    }


@pytest.mark.parametrize("setting", ["only", "skip"])
def test_an_unknown_name_is_refused_with_the_nearest(model, setting):
    message = rf"{setting}=\('Conv3D',\), and the model has no layer 'Conv3D'.*'Conv2D' is nearest"
    with pytest.raises(SettingError, match=message):
        select(model, only_convolutions, **{setting: ("Conv3D",)})


def test_a_selection_of_nothing_is_refused_with_the_reasons(model):
    told = {"can": "X can touch no layer", "expected": "a convolution", "fix": "leave it out"}
    some = select(model, only_convolutions)
    assert check_touched(some, model, **told) is some
    none = select(model, lambda layer: f"not {layer.name}")
    with pytest.raises(TechniqueError, match=r"X can touch no layer \(stem_conv: not stem_conv; "):
        check_touched(none, model, **told)
    empty = tf_keras.Sequential([tf_keras.Input((2,))])
    with pytest.raises(TechniqueError, match="X can touch no layer, as it has none; expected a c"):
        check_touched(select(empty, only_convolutions), empty, **told)


EVERY_TECHNIQUE = pytest.mark.parametrize(
    "technique",
    [
        *(tfopt.MagnitudePruning(), tfopt.WeightClustering(), tfopt.QuantizationAware()),
        *(tfopt.ChannelPruning(channels=0.5), tfopt.LowRank(macs=0.5), tfopt.Distillation()),
        *(tfopt.EqualizeChannels(), tfopt.CorrectBias(), tfopt.RoundWeights()),
    ],
    ids=lambda technique: technique.name,
)


@EVERY_TECHNIQUE
@pytest.mark.parametrize(("bad", "called"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_weights_that_are_no_numbers_are_refused_by_the_name_of_the_layer(
    technique, bad, called, digits
):
    model = small_cnn()
    kernel = model.get_layer("block_conv").kernel
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 3, bad, kernel))
    with pytest.raises(ModelError, match=rf"{called} in the weights of layer 'block_conv' \(k"):
        technique.apply(model, digits)


@EVERY_TECHNIQUE
def test_a_model_of_keras_3_must_be_loaded_first(technique):
    dense = [keras.layers.Dense(units, activation="relu") for units in (24, 24, 4)]
    model = keras.Sequential([keras.Input((8,)), *dense])
    with pytest.raises(ModelError, match=r"a model of class keras\..* Fix: pass tfopt.load_model"):
        technique.select(model)
    assert technique.select(tfopt.load_model(model)) is not None
