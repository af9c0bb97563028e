"""Layers' names in a file."""

import os
import sys
import warnings

import pytest

from tfopt.tflite.naming import file_names, in_file, mentioned, scopes, unique
from tfopt.tflite.quiet import captured


def layer(kind, name, **attributes):
    """Something with the class name and the name of a layer."""
    made = type(kind, (), attributes)()
    made.name = name
    return made


def named(*layers, keep=()):
    names = file_names(layers, keep=keep)
    return [names[id(layer)] for layer in layers]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([("Dense", "dense_7"), ("Dense", "dense_8")], ["dense", "dense_1"]),
        ([("Dense", "dense_10"), ("Dense", "dense_9")], ["dense_1", "dense"]),
        ([("Dense", "dense"), ("Dense", "dense_4")], ["dense", "dense_1"]),
        ([("Conv2D", "block_1"), ("Conv2D", "block_2")], ["block_1", "block_2"]),
        ([("Dense", "conv2d_3")], ["conv2d_3"]),
        ([("ReLU", "re_lu_3"), ("SeparableConv2D", "separable_conv2d_2")],
         ["re_lu", "separable_conv2d"]),
        ([("InputLayer", "input_4"), ("InputLayer", "input_6")], ["input_1", "input_2"]),
        ([("InputLayer", "input_layer_4")], ["input_layer"]),
        ([("Functional", "model_3"), ("Sequential", "sequential_2")], ["model", "sequential"]),
        ([("TFOpLambda", "tf.math.add_3"), ("TFOpLambda", "tf.math.add_5")],
         ["tf.math.add", "tf.math.add_1"]),
        ([("LSTM", "forward_lstm_3"), ("LSTM", "backward_lstm_3"), ("LSTMCell", "lstm_cell_9")],
         ["forward_lstm", "backward_lstm", "lstm_cell"]),
        ([("Add", "dense"), ("Dense", "dense_5")], ["dense", "dense_1"]),
        ([("Dense", "dense_5"), ("Dense", "dense_5")], ["dense", "dense"]),
    ],
)  # fmt: skip
def test_automatic_names_are_numbered_within_the_model(layers, expected):
    assert named(*(layer(*each) for each in layers)) == expected


def test_names_to_keep_are_kept():
    first, second = layer("InputLayer", "input_2"), layer("InputLayer", "input_5")
    assert named(first, second, keep=["input_2"]) == ["input_2", "input_1"]


def test_wrappers_go_by_the_layer_inside():
    inside = layer("Conv2D", "conv2d_4")
    wrapper = layer(
        "QuantizeWrapperV2", "quant_conv2d_4", layer=inside,
        __module__="tensorflow_model_optimization.python",
    )  # fmt: skip
    own = layer("TimeDistributed", "time_distributed_2", layer=inside)
    assert named(wrapper, inside, own) == ["conv2d", "conv2d", "time_distributed"]


def test_scopes_become_names_and_numbers_of_functions_go():
    model, conv, relu = layer("M", "net"), layer("C", "conv"), layer("R", "relu")
    of = scopes([model, conv, relu])
    names = {of[id(model)]: "", of[id(conv)]: "conv", of[id(relu)]: "relu"}
    traced = "layer.00000./layer.00002./Relu;layer.00000./layer.00001./Conv2D1"
    assert in_file(traced, names) == "relu/Relu;conv/Conv2D1"
    assert in_file("layer.00001./__inference_standard_lstm_123", names) == (
        "conv/__inference_standard_lstm"
    )
    assert in_file("arith.constant12", names) == "arith.constant12"
    said = 'loc(callsite("layer.00000./layer.00002./Relu" at "layer.00002./x"))'
    assert mentioned(said, names) == ["relu"]


def test_unique_names():
    assert unique(["a", "a", "a_1", "input"]) == ("a", "a_1", "a_1_1", "input")


def test_captured_takes_what_is_printed_at_every_level(capfd):
    with captured() as printed:
        os.write(1, b"one ")
        os.write(2, b"two ")
        print("three", end=" ", file=sys.__stderr__, flush=True)
        warnings.warn("not seen", stacklevel=1)
        assert "one two" in printed()
        os.write(2, b"four")
    assert printed().split() == ["one", "two", "three", "four"]
    os.write(1, b"after")
    assert capfd.readouterr() == ("after", "")


def test_captured_restores_after_an_error(capfd):
    with pytest.raises(ZeroDivisionError), captured() as printed:
        os.write(2, b"before it failed")
        1 / 0  # noqa: B018 - fails, which is what is tested
    assert printed() == "before it failed"
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
