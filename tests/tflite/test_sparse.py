"""Sparse encoding: a smaller file that computes the same, or a reason why not."""

import warnings

import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.sparse import SparseEncodingWarning, encode

layers = tf_keras.layers


def net(sparsity):
    """A convolution, a transposed and a depthwise one, a dense layer, with so many zeros."""
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", name="stem"),
            layers.Conv2D(32, 3, name="conv"),
            layers.Conv2DTranspose(32, 2, name="transposed"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Flatten(name="flatten"),
            layers.Dense(32, activation="relu", name="dense"),
            layers.Dense(10, activation="softmax", name="top"),
        ]
    )
    generator = np.random.default_rng(0)
    for weight in model.weights:
        value = generator.normal(0, 0.2, weight.shape)
        if value.ndim > 1:
            value[np.abs(value) < np.quantile(np.abs(value), sparsity)] = 0
        weight.assign(value)
    return model


@pytest.fixture(scope="module")
def files(digits):
    """By numerics: the dense and the sparse file of a net that is 80 % zeros."""
    model = net(0.8)
    return {
        name: [
            tfopt.convert(
                model,
                task=digits,
                target=getattr(tfopt.Target, name)(refine=False, sparse_encoding=sparse),
            )
            for sparse in (False, True)
        ]
        for name in ("float32", "int8")
    }


@pytest.mark.parametrize("numerics", ["float32", "int8"])
@pytest.mark.parametrize("kernels", ["default", "builtin", "reference"])
def test_it_computes_the_same_in_all_kernels(numerics, kernels, files, digits):
    x = digits.validation.first()[0][:20]
    dense, sparse = (TFLiteModel(file, kernels=kernels).predict(x) for file in files[numerics])
    np.testing.assert_array_equal(dense, sparse)


@pytest.mark.parametrize(("numerics", "share"), [("float32", 0.45), ("int8", 0.92)])
def test_it_is_smaller_and_is_inspected_as_before(numerics, share, files):
    dense, sparse = files[numerics]
    assert len(sparse) < share * len(dense)
    before, after = tfopt.inspect(dense), tfopt.inspect(sparse)
    assert after.sparsity == before.sparsity > 0.75
    assert (after.parameters, after.macs) == (before.parameters, before.macs)
    assert after.unique_weights == before.unique_weights
    assert after.integer_only is before.integer_only is (numerics == "int8")
    assert "DENSIFY" in {op.name for op in after.ops}
    told = [op.layer for op in after.ops if op.name == "DENSIFY"]
    assert {"conv", "transposed"} <= set(told)


def test_what_stays_dense_is_listed(files):
    encoded, selection = encode(files["int8"][0])
    assert encoded == files["int8"][1]
    assert selection.touched == ("conv", "transposed")
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert reasons["stem"] == "has too few zeros to get smaller"
    assert reasons["dense"] == "its op cannot read a kernel that another op unpacks"
    assert encode(encoded)[0] == encoded  # twice is once


def test_a_dense_net_stays_as_it_is_and_says_so(digits):
    target = tfopt.Target.float32(sparse_encoding=True)
    with pytest.warns(SparseEncodingWarning, match="conv: has too few zeros.*about 60 %"):
        sparse = tfopt.convert(net(0.1), task=digits, target=target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sparse == tfopt.convert(net(0.1), task=digits, target=tfopt.Target.float32())


@pytest.mark.parametrize("numerics", ["float16", "dynamic_range", "int16x8", "int4_weights"])
def test_numerics_that_do_not_work_are_refused(numerics):
    with pytest.raises(SettingError, match=r"float32 or int8: the interpreter refuses"):
        getattr(tfopt.Target, numerics)(sparse_encoding=True)


def test_the_report_says_what_it_bought(digits):
    target = tfopt.Target.int8(refine=False, sparse_encoding=True)
    report = tfopt.optimize(net(0.8), [], task=digits, target=target).report
    assert [step.name for step in report.steps][1:] == ["conversion only", "sparse encoding"]
    dense, sparse = report.steps[1:]
    assert sparse.bytes < dense.bytes
    assert sparse.validation == dense.validation
    assert sparse.touched == ("conv", "transposed")
    assert {skip.layer for skip in sparse.skipped} >= {"stem", "dense"}


def test_it_goes_with_layers_of_16_bit_activations(digits):
    target = tfopt.Target.int8(
        refine=False, sparse_encoding=True, compact=True, keep_int16=("dense",)
    )
    ops = tfopt.inspect(tfopt.convert(net(0.8), task=digits, target=target)).ops
    assert "DENSIFY" in {op.name for op in ops}
    assert next(op for op in ops if op.layer == "dense").inputs[0].dtype == "int16"
