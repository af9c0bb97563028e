"""Adam in one op computes what tf_keras' does."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.keras_gate import tf_keras
from tfopt.training.adam import in_one_op

layers = tf_keras.layers
Adam = tf_keras.optimizers.Adam


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


def assert_same_steps(rate, settings, *, jit_compile=None):
    expected = trained(Adam(rate(), jit_compile=False, **settings))
    optimizer = Adam(rate(), jit_compile=False, **settings)
    with in_one_op(optimizer):
        found = trained(optimizer, jit_compile=jit_compile)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("rate", [lambda: 0.01, schedule])
@pytest.mark.parametrize("jit_compile", [None, True])
def test_it_makes_the_same_steps(rate, jit_compile):
    assert_same_steps(rate, {}, jit_compile=jit_compile)


@pytest.mark.parametrize(
    "settings",
    [
        *({"amsgrad": True}, {"adaptive_epsilon": True, "epsilon": 0.1}, {"weight_decay": 0.1}),
        *({"clipnorm": 0.01}, {"clipvalue": 0.001}, {"global_clipnorm": 0.01}),
        {"use_ema": True, "ema_overwrite_frequency": 3},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_it_honours_every_setting(settings):
    assert_same_steps(lambda: 0.01, settings)


def ops_of_a_step(optimizer):
    """The types of ops in the graph of a step on two variables, after which it is made."""
    variables = [tf.Variable(tf.ones(3)), tf.Variable(tf.ones((2, 2)))]
    optimizer.build(variables)

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.ones_like(one), one) for one in variables])

    graph = step.get_concrete_function().graph
    step()
    np.testing.assert_allclose(variables[0], 0.9, atol=1e-6)
    return [op.type for op in graph.get_operations()]


def test_a_step_is_one_op_for_each_dense_variable_and_tf_keras_own_afterwards():
    optimizer = Adam(0.1, jit_compile=False)
    with in_one_op(optimizer):
        ops = ops_of_a_step(optimizer)
    assert ops.count("ResourceApplyAdam") == 2
    assert "AssignSubVariableOp" not in ops
    again = ops_of_a_step(Adam.from_config(optimizer.get_config()))
    assert again.count("ResourceApplyAdam") == 0
    assert again.count("AssignSubVariableOp") == 2


def test_half_precision_variables_and_doubles_are_trained():
    for dtype in ("float64", "float16"):
        variable = tf.Variable(tf.ones(3, dtype))
        optimizer = Adam(0.1, jit_compile=False)
        optimizer.build([variable])
        with in_one_op(optimizer):
            optimizer.apply_gradients([(tf.ones(3, dtype), variable)])
        np.testing.assert_allclose(variable, 0.9, atol=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    [tf_keras.optimizers.AdamW(0.1, jit_compile=False), Adam(0.1, amsgrad=True, jit_compile=False)],
    ids=["AdamW", "amsgrad"],
)
def test_what_the_op_does_not_compute_is_left_alone(optimizer):
    before = dict(vars(optimizer))
    with in_one_op(optimizer):
        assert vars(optimizer) == before


def test_an_optimizer_that_xla_compiles_is_left_alone():
    optimizer = Adam(0.1, jit_compile=False)
    optimizer.jit_compile = True  # on a machine with a GPU it is so by default
    with in_one_op(optimizer):
        assert "update_step" not in vars(optimizer)
