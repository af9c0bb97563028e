"""Memory of activations: hand-made graphs whose figures are known, and TensorFlow Lite Micro's."""

import os
import re
import tempfile

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as fb
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.tflite import arena, schema
from tfopt.tflite.inspect import inspect


def graph(sizes, ops, inputs, outputs, *, constants=(), states=()):
    """A model of ops (reads, writes) on int8 tensors of so many elements."""
    tensors = [
        fb.TensorT(
            shape=np.int32([1, size]),
            type=fb.TensorType.INT8,
            buffer=1 if index in constants else 0,
            isVariable=index in states,
        )
        for index, size in enumerate(sizes)
    ]
    operators = [fb.OperatorT(inputs=reads, outputs=writes) for reads, writes in ops]
    main = fb.SubGraphT(tensors=tensors, inputs=inputs, outputs=outputs, operators=operators)
    return fb.ModelT(
        subgraphs=[main], buffers=[fb.BufferT(), fb.BufferT(data=np.zeros(4, np.uint8))]
    )


def test_a_chain_needs_the_largest_pair_of_neighbours():
    model = graph([16, 160, 320, 32], [([0], [1]), ([1], [2]), ([2], [3])], [0], [3])
    assert arena.live_bytes(model) == [176, 480, 352]
    assert arena.arena_bytes(model) == 480


def test_a_shortcut_stays_alive_and_constants_and_missing_inputs_take_nothing():
    ops = [([0, 4, -1], [1]), ([1], [2]), ([2, 0], [3])]
    model = graph([64, 160, 160, 16, 10**6], ops, [0], [3], constants=[4])
    assert arena.live_bytes(model) == [224, 384, 240]


def test_inputs_live_from_the_start_outputs_to_the_end_and_states_all_the_time():
    ops = [([0], [1]), ([1], [2]), ([2, 3], [4])]
    model = graph([16, 32, 64, 128, 256], ops, [0, 3], [1, 4])
    assert arena.live_bytes(model) == [16 + 32 + 128, 32 + 64 + 128, 32 + 64 + 128 + 256]
    model = graph([16, 32, 64, 1024], [([0], [1]), ([1, 3], [2])], [0], [2], states=[3])
    assert arena.live_bytes(model) == [48 + 1024, 96 + 1024]


def test_tensors_take_multiples_of_16_bytes_and_four_bits_half_a_byte():
    kinds = fb.TensorType
    shape = np.int32([1, 33])
    types = (kinds.INT8, kinds.FLOAT32, kinds.INT4, kinds.INT16, kinds.STRING)
    sizes = [arena.tensor_bytes(fb.TensorT(shape=shape, type=kind)) for kind in types]
    assert sizes == [48, 144, 32, 80, 0]


def test_a_file_without_ops_needs_nothing():
    assert arena.arena_bytes(graph([8], [], [0], [0])) == 0


def test_a_loop_needs_what_its_body_needs(make_file):
    import tensorflow as tf

    def looped(x):
        return tf.while_loop(
            lambda count, _: count < 3,
            lambda count, y: (count + 1, tf.nn.relu(tf.tile(y, [1, 64])[:, :4] + y)),
            [0, x],
        )[1]

    file = make_file(looped, 1, 4)
    model = schema.unpack(file)
    assert len(model.subgraphs) > 1
    assert arena.arena_bytes(model) >= 64 * 4 * 4
    model.subgraphs[0].operators[0].builtinOptions.bodySubgraphIndex = 99  # a corrupt file
    arena.arena_bytes(model)


@st.composite
def graphs(draw):
    """Ops on earlier tensors."""
    count = draw(st.integers(1, 8))
    sizes = draw(st.lists(st.integers(1, 200), min_size=count + 1, max_size=count + 1))
    ops = [
        (draw(st.lists(st.integers(0, place), min_size=1, max_size=3)), [place + 1])
        for place in range(count)
    ]
    return sizes, ops


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_the_arena_holds_the_largest_op_and_is_no_larger_than_all_tensors(made):
    sizes, ops = made
    model = graph(sizes, ops, [0], [len(sizes) - 1])
    taken = [-(-size // 16) * 16 for size in sizes]
    largest = max(sum(taken[i] for i in {*reads, *writes}) for reads, writes in ops)
    assert largest <= arena.arena_bytes(model) <= sum(taken)


def test_inspect_tells_it(int8_file, float_file):
    small, large = inspect(int8_file), inspect(float_file)
    assert 0 < small.arena_bytes < large.arena_bytes
    assert small.to_dict()["arena_bytes"] == small.arena_bytes
    assert f"arena       {small.arena_bytes:,} bytes of activations at once" in str(small)


@pytest.mark.parametrize("name", ["int8_file", "float_file"])
def test_it_is_what_tensorflow_lite_micro_plans(name, request):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    content = request.getfixturevalue(name)
    with tempfile.TemporaryFile() as told:
        saved = os.dup(2)
        os.dup2(told.fileno(), 2)
        try:
            runtime.Interpreter.from_bytes(content).print_allocations()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        told.seek(0)
        head = re.search(rb"Arena allocation head (\d+) bytes", told.read())
    assert tfopt.inspect(content).arena_bytes == int(head[1])
