"""Adam in one op computes what tf_keras' does."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.keras_gate import tf_keras
from tfopt.training.adam import FusedAdam

layers = tf_keras.layers


def trained(optimizer, *, jit_compile=None):
    """The weights after some steps of a net with an embedding, whose gradients are rows."""
    tf_keras.utils.set_random_seed(0)
    words = layers.Input((6,), dtype="int32")
    x = layers.Dense(8, activation="tanh")(layers.Embedding(20, 5)(words))
    model = tf_keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    model.compile(optimizer, "mse", jit_compile=jit_compile)
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 20, (64, 6))
    model.fit(inputs, generator.normal(size=(64, 3)), batch_size=8, verbose=0, epochs=3)
    return model.get_weights()


def schedule():
    return tf_keras.optimizers.schedules.CosineDecay(0.0, 24, warmup_target=0.1, warmup_steps=4)


@pytest.mark.parametrize("rate", [lambda: 0.01, schedule])
@pytest.mark.parametrize("jit_compile", [None, True])
def test_it_makes_the_same_steps(rate, jit_compile):
    expected = trained(tf_keras.optimizers.Adam(rate(), jit_compile=False))
    found = trained(FusedAdam(rate(), jit_compile=False), jit_compile=jit_compile)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_step_is_one_op_for_each_dense_variable():
    variables = [tf.Variable(tf.ones(3)), tf.Variable(tf.ones((2, 2)))]
    optimizer = FusedAdam(0.1, jit_compile=False)
    optimizer.build(variables)

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.ones_like(one), one) for one in variables])

    graph = step.get_concrete_function().graph
    assert [op.type for op in graph.get_operations()].count("ResourceApplyAdam") == 2
    assert "AssignSubVariableOp" not in {op.type for op in graph.get_operations()}
    step()
    np.testing.assert_allclose(variables[0], 0.9, atol=1e-6)


def test_half_precision_variables_and_doubles_are_trained():
    for dtype in ("float64", "float16"):
        variable = tf.Variable(tf.ones(3, dtype))
        optimizer = FusedAdam(0.1, jit_compile=False)
        optimizer.build([variable])
        optimizer.apply_gradients([(tf.ones(3, dtype), variable)])
        np.testing.assert_allclose(variable, 0.9, atol=1e-3)


def test_it_is_never_compiled_by_xla_in_which_its_numbers_are_out_of_scope():
    assert not FusedAdam(0.1).jit_compile
    assert not FusedAdam(0.1, jit_compile=True).jit_compile
