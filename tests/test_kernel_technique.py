"""Wrapping leaves the user's model alone and every layer what it was; stripping leaves no trace."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import facts
from tfopt.errors import SettingError, TechniqueError
from tfopt.fine_tuning import LoopWarning
from tfopt.keras_gate import clone, tf_keras, tfmot
from tfopt.testing import dense_net, residual_net, small_cnn
from tfopt.training.updates import after_each_step

layers = tf_keras.layers
LOSS = "sparse_categorical_crossentropy"
TECHNIQUES = [
    tfopt.MagnitudePruning(sparsity=0.5, schedule="constant", epochs=1),
    tfopt.WeightClustering(clusters=4),
]
techniques = pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)


class Scale(layers.Layer):
    """A custom layer with a kernel."""

    def build(self, shape):
        self.kernel = self.add_weight("kernel", (shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.kernel


@pytest.fixture(scope="module")
def data():
    return next(tfopt.Task.digits().train.batches(128))


def state(model):
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def sequence_model():
    """An embedding with a mask, a layer that is used twice, and frozen ones."""
    words, more = layers.Input((6,), dtype="int32"), layers.Input((6,), dtype="int32")
    embed = layers.Embedding(20, 8, mask_zero=True, name="embed")
    read = layers.SimpleRNN(6, name="read")
    first, second = read(embed(words)), read(embed(more))
    frozen = layers.Dense(8, trainable=False, name="frozen")(layers.Concatenate()([first, second]))
    return tf_keras.Model([words, more], layers.Dense(4, name="top")(frozen))


@techniques
def test_the_users_model_stays_as_it_was_compiled_state_and_optimizer_included(technique, data):
    model = residual_net()
    model.get_layer("first_conv").trainable = False
    model.compile("adam", LOSS)
    model.fit(*data, verbose=0)
    optimizer = model.optimizer
    before = state(model)
    flags = [layer.trainable for layer in model.layers]

    wrapped = technique.wrap(model, steps_per_epoch=4)
    wrapped.model.compile("adam", LOSS)
    wrapped.model.fit(*data, callbacks=wrapped.callbacks, verbose=0)
    stripped = wrapped.strip()

    assert model.optimizer is optimizer
    assert all(map(np.array_equal, before, state(model)))
    assert [layer.trainable for layer in model.layers] == flags
    assert [layer.trainable for layer in stripped.layers] == flags
    assert [layer.name for layer in stripped.layers] == [layer.name for layer in model.layers]
    assert [type(layer) for layer in stripped.layers] == [type(layer) for layer in model.layers]
    assert stripped.optimizer is None
    model.fit(*data, verbose=0)


@techniques
def test_a_wrapped_layer_computes_what_the_layer_with_those_kernels_does(technique):
    model = sequence_model()
    words = [np.random.default_rng(seed).integers(0, 20, (5, 6)) for seed in (0, 1)]
    wrapped = technique.wrap(model, steps_per_epoch=4)
    assert wrapped.selection.touched == ("embed", "read", "top")
    plain = clone(model)
    plain.set_weights(wrapped.model.get_weights())
    np.testing.assert_array_equal(wrapped.model.predict(words, verbose=0), plain(words))
    wrapped.model.compile("adam", "mse")
    wrapped.model.fit(words, np.ones((5, 4)), verbose=0)
    stripped = wrapped.strip()
    np.testing.assert_array_equal(
        stripped.get_layer("frozen").kernel, model.get_layer("frozen").kernel
    )
    assert all(
        kernel.sparsity >= 0.5 or kernel.unique <= 4
        for kernel in facts.measure(stripped).kernels
        if kernel.layer != "frozen"
    )


@techniques
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_a_checkpoint_of_the_training_is_an_ordinary_model(technique, suffix, data, tmp_path):
    wrapped = technique.wrap(dense_net(), steps_per_epoch=4)
    wrapped.model.compile("adam", LOSS)
    wrapped.model.fit(*data, verbose=0)
    path = tmp_path / f"checkpoint{suffix}"
    wrapped.model.save(path)
    loaded = tf_keras.models.load_model(path)
    np.testing.assert_allclose(
        loaded.predict(data[0], verbose=0), wrapped.strip().predict(data[0], verbose=0), atol=1e-6
    )
    ours, theirs = facts.measure(loaded), facts.measure(wrapped.strip())
    assert (ours.sparsity, ours.unique_weights) == (theirs.sparsity, theirs.unique_weights)


@techniques
def test_what_cannot_be_touched_is_listed_with_the_reason(technique):
    inputs = layers.Input((8, 8, 3))
    outputs = layers.SeparableConv2D(8, 3, name="separable")(inputs)
    model = tf_keras.Model(inputs, layers.Flatten(name="flat")(Scale(name="custom")(outputs)))
    selection = technique.select(model)
    assert selection.touched == ("separable",)
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert "depthwise" in reasons["separable (depthwise_kernel)"]
    assert "custom layer" in reasons["custom"]
    assert reasons["flat"] == "has no kernel"


class Gate(
    layers.Layer, tfmot.sparsity.keras.PrunableLayer, tfmot.clustering.keras.ClusterableLayer
):
    """A custom layer that offers one of its weights, in the ways of TF-MOT."""

    def build(self, shape):
        self.gate = self.add_weight("gate", (shape[-1], 8))
        self.kernel = self.add_weight("kernel", (shape[-1], 8))

    def call(self, inputs):
        return tf.tanh(inputs @ self.gate) * (inputs @ self.kernel)

    def get_prunable_weights(self):
        return [self.gate]

    def get_clusterable_weights(self):
        return [("gate", self.gate)]


@techniques
def test_a_custom_layer_offers_its_weights(technique, data):
    image = layers.Input((8, 8, 1))
    gated = Gate(name="gated")(layers.Flatten(name="flat")(image))
    wrapped = technique.wrap(
        tf_keras.Model(image, layers.Dense(10, activation="softmax", name="top")(gated)),
        steps_per_epoch=4,
    )
    assert wrapped.selection.touched == ("gated", "top")
    reasons = {skip.layer: skip.reason for skip in wrapped.selection.skipped}
    assert reasons["gated (kernel)"] == f"not among the weights that {technique.protocol} returns"
    wrapped.model.compile("adam", LOSS)
    wrapped.model.fit(*data, verbose=0)
    kernels = {kernel.kernel: kernel for kernel in facts.measure(wrapped.strip()).kernels[:2]}
    gate, kernel = kernels["gate"], kernels["kernel"]
    assert gate.sparsity >= 0.5 or gate.unique <= 4
    assert kernel.sparsity == 0 and kernel.unique > 100


@techniques
def test_a_model_of_which_nothing_can_be_touched_is_refused(technique):
    model = dense_net()
    model.trainable = False
    with pytest.raises(TechniqueError, match=r"can touch no layer \(.*frozen.*unfreeze a layer"):
        technique.select(model)


@techniques
def test_a_loop_that_goes_around_fit_is_found_out(technique, data):
    wrapped = technique.wrap(dense_net(), steps_per_epoch=4)
    optimizer = tf_keras.optimizers.SGD(0.1)
    with tf.GradientTape() as tape:
        probabilities = wrapped.model(data[0], training=True)
        loss = tf.reduce_mean(
            tf_keras.losses.sparse_categorical_crossentropy(data[1], probabilities)
        )
    optimizer.minimize(loss, wrapped.model.trainable_variables, tape=tape)
    with pytest.raises(TechniqueError, match=r"a loop of your own over model\(x, training=True\)"):
        wrapped.strip()


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_the_update_comes_after_every_step(steps_per_call, data):
    model, count = dense_net(), tf.Variable(0)
    after_each_step(model, lambda: count.assign_add(1))
    model.compile("adam", LOSS, steps_per_execution=steps_per_call)
    model.fit(*data, batch_size=16, epochs=2, verbose=0)
    assert count.numpy() == model.optimizer.iterations.numpy() == 16


def test_fractions_of_an_epoch_train_that_share_of_the_steps():
    task = tfopt.Task.digits(batch_size=100)
    pruned = tfopt.MagnitudePruning(sparsity=0.5, epochs=0.3).apply(small_cnn(), task)
    assert facts.measure(pruned).sparsity == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "technique",
    [tfopt.ChannelPruning(channels=0.5), tfopt.LowRank(macs=0.3), tfopt.Distillation()],
    ids=lambda technique: technique.name,
)
@pytest.mark.parametrize(
    ("change", "gain"),
    [
        (lambda kernel: np.where(np.abs(kernel) < 0.1, 0, kernel), "are zero"),
        (np.sign, "share few values"),
    ],
    ids=["pruned", "clustered"],
)
def test_what_training_undoes_is_refused_before_it(technique, change, gain):
    model = dense_net()
    for layer in model.layers:
        for kernel in facts.kernels(layer).values():
            kernel.assign(change(kernel.numpy()))
    with pytest.raises(TechniqueError, match=rf"{gain}.*{technique.name} first, then prune"):
        technique.select(model)


def test_kernels_that_begin_at_zero_are_not_pruned_ones():
    model = dense_net()
    kernel = facts.kernels(model.layers[-1])["kernel"]
    kernel.assign(np.zeros(kernel.shape))
    assert facts.sparse_layers(model) == []


LOOPS = [
    tfopt.ChannelPruning(channels=0.5),
    tfopt.LowRank(parameters=0.3),
    tfopt.MagnitudePruning(),
    tfopt.WeightClustering(),
    tfopt.QuantizationAware(),
]


@pytest.mark.parametrize("technique", LOOPS, ids=lambda technique: technique.name)
def test_what_wrap_leaves_to_the_loop_is_told_once(technique):
    taught = dataclasses.replace(technique, teacher="baseline", early_stopping=2)
    with pytest.warns(LoopWarning) as caught:
        taught.wrap(dense_net(), steps_per_epoch=8)
    told = [warning for warning in caught if warning.category is LoopWarning]
    assert len(told) == 1
    assert told[0].filename == __file__
    assert "leaves teacher='baseline', early_stopping=2 to your" in str(told[0].message)
    with pytest.raises(SettingError, match="steps_per_epoch='8'; expected the number of batches"):
        technique.wrap(dense_net(), steps_per_epoch="8")


def test_a_distillation_teaches_in_any_loop_but_does_not_stop_it(recwarn):
    tfopt.Distillation().wrap(dense_net(), steps_per_epoch=8)
    assert not [warning for warning in recwarn if warning.category is LoopWarning]
    with pytest.warns(LoopWarning, match=r"leaves seconds=60 to your training loop"):
        tfopt.Distillation(seconds=60).wrap(dense_net(), steps_per_epoch=8)


@pytest.mark.parametrize("technique", LOOPS, ids=lambda technique: technique.name)
def test_apply_sees_to_it_and_says_nothing(technique, recwarn):
    taught = dataclasses.replace(technique, teacher="baseline", early_stopping=9, steps=2)
    taught.apply(dense_net(), tfopt.Task.digits())
    assert not [warning for warning in recwarn if warning.category is LoopWarning]
