import numpy as np
import pytest

from tfopt.target import Target
from tfopt.tflite.convert import convert
from tfopt.tflite.cutting import Cutter, without_ops
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel


def run_in_pieces(content, x):
    """What a file gives if each of its ops runs as a file of its own."""
    whole = inspect(content)
    cutter = Cutter(content)
    held = {whole.inputs[0].index: x}
    for op in whole.ops:
        if cutter.is_constant(op.index):
            continue
        reads = {index: held[index] for index in cutter.reads(op.index)}
        cut, places = cutter.cut(op.index, {i: value.shape for i, value in reads.items()})
        model = TFLiteModel(cut, kernels="builtin")
        model.put(dict(zip(places, reads.values(), strict=True)))
        model.invoke()
        made = inspect(cut).outputs
        held |= {
            tensor.index: model.held(output.index)
            for tensor, output in zip(op.outputs, made, strict=True)
        }
    return [held[tensor.index] for tensor in whole.outputs]


@pytest.mark.parametrize("name", ["int8_file", "float_file"])
def test_the_pieces_together_give_what_the_whole_gives(name, request, images):
    content = request.getfixturevalue(name)
    model = TFLiteModel(content, kernels="builtin")
    x = model.inputs[0].encode(images[:1])
    model.set_inputs(x)
    model.invoke()
    whole = model.held(model.outputs[0].index)
    np.testing.assert_array_equal(run_in_pieces(content, x)[0], whole)


def test_what_unpacks_constants_comes_along(cnn, images):
    content = convert(cnn, target=Target.float16())
    ops, cutter = inspect(content).ops, Cutter(content)
    constant = [op.name for op in ops if cutter.is_constant(op.index)]
    assert set(constant) == {"DEQUANTIZE"}
    whole = TFLiteModel(content, kernels="builtin").predict(images[:1])[0]
    np.testing.assert_allclose(run_in_pieces(content, images[:1])[0], whole, rtol=1e-4, atol=1e-6)


def test_a_file_without_ops_gives_back_what_it_gets(int8_file, images):
    empty = without_ops(int8_file)
    assert inspect(empty).ops == ()
    model = TFLiteModel(empty)
    model.set_inputs(images[:1])
    model.invoke()
    assert len(empty) < 2000
