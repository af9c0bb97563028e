"""Channel pruning reaches its aim with a smaller dense model, or says why it cannot."""

import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError, TechniqueError
from tfopt.graph.dependencies import analyse
from tfopt.graph.slice_cost import Costs
from tfopt.keras_gate import tf_keras
from tfopt.testing import dense_net, depthwise_net, residual_net, small_cnn
from tfopt.training import recorded

layers = tf_keras.layers


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


def cost(model):
    found = analyse(model)
    return Costs(found).of(found.everything())


@pytest.mark.parametrize(
    "settings",
    [
        {"macs": 0.5, "importance": "taylor"},
        {"parameters": 0.5, "importance": "bn_scale", "allocation": "uniform"},
        {"channels": 0.5, "importance": "activation", "iterations": 2, "teacher": "baseline"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_each_aim_is_reached(settings, task):
    model = residual_net()
    pruned = tfopt.ChannelPruning(epochs=0.5, multiple_of=1, **settings).apply(model, task)
    name = next(iter(settings))
    assert 0 < getattr(cost(pruned), name) <= 0.5 * getattr(cost(model), name)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_a_latency_is_reached(numbers, task):
    image = layers.Input((8, 8, 1))
    x = image
    for _ in range(3):  # so wide that channels matter on matrix tiles too
        x = layers.Conv2D(128, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = tf_keras.Model(image, layers.Dense(10, activation="softmax")(x))
    target = getattr(tfopt.Target, numbers)(refine=False)
    before = tfopt.benchmark(tfopt.convert(model, task=task, target=target)).median_ms
    aim = 0.75 * before
    technique = tfopt.ChannelPruning(latency_ms=aim, latency_numerics=numbers, epochs=0.1)
    pruned = technique.apply(model, task)
    after = tfopt.benchmark(tfopt.convert(pruned, task=task, target=target)).median_ms
    assert after < 0.9 * before
    assert cost(pruned).macs < cost(model).macs


def test_nothing_to_remove_changes_nothing(task):
    model = small_cnn()
    same = tfopt.ChannelPruning(macs=0).apply(model, task)
    for ours, theirs in zip(same.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert same is not model


def test_a_training_loop_of_ones_own(task):
    model = small_cnn()
    wrapped = tfopt.ChannelPruning(channels=0.5).wrap(
        model, steps_per_epoch=8, representative=task.representative_inputs(64)
    )
    assert wrapped.selection.touched == (
        "stem_conv", "stem_bn", "block_conv", "block_bn", "probabilities",
    )  # fmt: skip
    wrapped.model.compile("adam", "sparse_categorical_crossentropy")
    wrapped.model.fit(*next(task.train.batches(64)), verbose=0)
    assert wrapped.strip().count_params() < model.count_params() / 2
    bare = tfopt.ChannelPruning(channels=0.5).wrap(model, steps_per_epoch=8)
    assert bare.model.count_params() == wrapped.model.count_params()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"importance": "taylor"}, "do without labels"),
        ({"iterations": 2}, "do without a training after each iteration"),
        ({"importance": "activation"}, "do without representative inputs"),
    ],
)
def test_what_wrap_cannot_do_is_refused(settings, message):
    technique = tfopt.ChannelPruning(channels=0.5, **settings)
    with pytest.raises(SettingError, match=message):
        technique.wrap(small_cnn(), steps_per_epoch=8)


def reasons(technique, model):
    return {skip.layer: skip.reason for skip in technique.select(model).skipped}


def test_layers_left_alone_are_named_with_what_hangs_on_them():
    technique = tfopt.ChannelPruning(channels=0.5, skip=("stem_conv",))
    told = reasons(technique, depthwise_net())
    assert told["stem_conv"] == "named in skip=('stem_conv',)"
    assert told["depthwise"] == "stem_conv is named in skip=('stem_conv',)"
    assert told["depthwise_relu"] == "has no weights along channels"
    assert "pointwise_conv" in technique.select(depthwise_net()).touched


def test_only_names_the_layers_that_lose_channels():
    technique = tfopt.ChannelPruning(channels=0.5, only=("first_conv",))
    assert technique.select(residual_net()).touched == ("first_conv", "first_bn", "second_conv")
    assert "is not named in only" in reasons(technique, residual_net())["stem_conv"]
    with pytest.raises(SettingError, match="'first_conv' is nearest"):
        tfopt.ChannelPruning(channels=0.5, only=("frist_conv",)).select(residual_net())


def test_frozen_layers_and_what_hangs_on_them_stay(task):
    model = depthwise_net()
    model.get_layer("depthwise_bn").trainable = False
    pruned = tfopt.ChannelPruning(channels=0.5, epochs=0.1).apply(model, task)
    assert pruned.get_layer("stem_conv").filters == 8
    assert pruned.get_layer("pointwise_conv").filters == 8


def test_a_model_without_removable_channels_is_refused():
    model = tf_keras.Sequential([tf_keras.Input((4,)), layers.Dense(2, name="top")])
    with pytest.raises(TechniqueError, match=r"no channel \(top: its channels are the model's out"):
        tfopt.ChannelPruning(channels=0.5).select(model)


def test_an_aim_that_would_empty_a_group_is_refused_before_training():
    with pytest.raises(TechniqueError, match=r"every channel of hidden would.*channels=0\.75"):
        tfopt.ChannelPruning(channels=0.9).select(dense_net())


def test_a_latency_out_of_reach_is_refused_before_training(task):
    with pytest.raises(TechniqueError, match="which the emptiest network takes"):
        technique = tfopt.ChannelPruning(latency_ms=1e-6, latency_numerics="float32")
        technique.apply(dense_net(), task)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "Received no aim; expected exactly one of channels, macs"),
        ({"channels": 0.5, "macs": 0.5}, r"channels=0\.5 and macs=0\.5 together"),
        ({"channels": 1.0}, r"expected 0 <= channels < 1"),
        ({"macs": "half"}, "macs='half'"),
        ({"latency_ms": 0}, "latency_ms=0; expected a number above 0"),
        ({"latency_ms": 1, "latency_numerics": "int4"}, "one of float32, int8"),
        ({"channels": 0.5, "importance": "l3"}, "one of activation, bn_scale, l1, l2"),
        ({"channels": 0.5, "allocation": "wide"}, "one of global, sensitivity, uniform"),
        ({"channels": 0.5, "multiple_of": 0}, "multiple_of=0; expected a whole number"),
        ({"channels": 0.5, "iterations": 4, "steps": 2}, "a training step for each iteration"),
        ({"channels": 0.5, "iterations": 1.5}, r"iterations=1\.5"),
        ({"channels": 0.5, "refit": 1}, "refit=1; expected True or False"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        tfopt.ChannelPruning(**settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MobileNetV2", "ResNet50V2", "EfficientNetB0", "DenseNet121", "InceptionV3"]
)
def test_half_of_a_large_network_goes(name):
    build = getattr(tf_keras.applications, name)
    side = 75 if name == "InceptionV3" else 32
    model = build(weights=None, input_shape=(side, side, 3), classes=10)
    representative = np.random.default_rng(0).random((8, side, side, 3), np.float32)
    technique = tfopt.ChannelPruning(channels=0.5, allocation="uniform")
    wrapped = technique.wrap(model, steps_per_epoch=1, representative=representative)
    assert cost(wrapped.model).channels <= 0.5 * cost(model).channels
    assert wrapped.model.count_params() < 0.35 * model.count_params()
    pruned = wrapped.strip()
    assert np.isfinite(pruned(representative)).all()
    tflite = tfopt.convert(pruned, target=tfopt.Target.float32())
    assert len(tflite) < 0.4 * 4 * model.count_params()


def test_layers_behind_are_refitted_before_any_training(trained, task):
    kept = [
        tfopt.ChannelPruning(
            channels=0.5, multiple_of=1, refit=refit, epochs=0.03, learning_rate=1e-9
        ).apply(trained(residual_net), task)
        for refit in (True, False)
    ]
    fitted, plain = (tfopt.evaluate(model, task=task).value for model in kept)
    assert fitted > plain + 0.1  # measured 0.24


def test_layers_that_cannot_be_refitted_are_listed_and_stay():
    image = layers.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    x = layers.Conv2D(8, 3, padding="same", kernel_constraint="non_neg", name="bound")(x)
    x = layers.Conv2D(8, 3, padding="same", groups=2, name="grouped")(x)
    twice = layers.Conv2D(8, 3, padding="same", name="twice")
    x = layers.Conv2DTranspose(8, 3, name="up")(twice(twice(x)))
    model = tf_keras.Model(image, layers.Dense(2, name="top")(layers.Flatten()(x)))
    technique = tfopt.ChannelPruning(channels=0.5, allocation="uniform", multiple_of=1)
    inputs = np.random.default_rng(0).random((16, 8, 8, 1), np.float32)
    pruned = technique.wrap(model, steps_per_epoch=1, representative=inputs).strip()
    bare = technique.wrap(model, steps_per_epoch=1).strip()
    told = {
        skipped.layer: skipped.reason
        for skipped in technique.changed(model, pruned).skipped
        if "refitted" in skipped.reason
    }
    assert told == {
        "bound": "cut, but not refitted: its kernel is constrained (NonNeg)",
        "grouped": "cut, but not refitted: its kernel has groups",
        "twice": "cut, but not refitted: it is called several times",
        "up": "cut, but not refitted: only Dense and Conv2D layers are",
    }
    for layer in bare.layers:
        same = all(
            map(np.array_equal, layer.get_weights(), pruned.get_layer(layer.name).get_weights())
        )
        assert same == (layer.name != "top")


def test_batch_norms_are_told_what_is_left(trained, task):
    technique = tfopt.ChannelPruning(channels=0.5, multiple_of=1, refit=False)
    inputs = task.representative_inputs(256)
    model = technique.wrap(trained(residual_net), steps_per_epoch=1, representative=inputs).model
    norm = next(layer for layer in model.layers if "bn" in layer.name)
    before = tf_keras.Model(model.input, norm.input).predict(inputs, verbose=0)
    np.testing.assert_allclose(norm.moving_mean, before.mean(axis=(0, 1, 2)), atol=1e-3)


@pytest.mark.parametrize(
    ("steps", "iterations", "parts"), [(6, 3, [2, 2, 2]), (6, 4, [1, 2, 1, 2]), (5, 2, [2, 3])]
)
def test_a_training_follows_each_cut_and_all_of_them_make_the_steps(steps, iterations, parts, task):
    technique = tfopt.ChannelPruning(macs=0.5, iterations=iterations, multiple_of=1, steps=steps)
    with recorded() as trainings:
        technique.apply(small_cnn(), task)
    assert [training.steps for training in trainings] == parts


def test_epochs_too_short_for_the_iterations_are_refused(task):
    technique = tfopt.ChannelPruning(macs=0.5, iterations=3, epochs=0.05)
    with pytest.raises(SettingError, match=r"iterations=3 with 2 training step\(s\)"):
        technique.apply(small_cnn(), task)


def test_a_branch_that_is_removed_whole_is_gone_from_the_file(trained, task):
    model = trained(residual_net)
    technique = tfopt.ChannelPruning(channels=0.99, only=("first_conv",), epochs=0.03)
    pruned = technique.apply(model, task)
    left = {layer.name for layer in pruned.layers}
    # a ReLU behind a ReLU changes nothing, but is an op of its own where ranges are trained
    assert not left & {"first_conv", "first_bn", "second_conv", "add", "add_relu"}
    target = tfopt.Target.int8(refine=False)
    files = [tfopt.convert(each, task=task, target=target) for each in (model, pruned)]
    ops = [[op.name for op in tfopt.inspect(file).ops] for file in files]
    assert [names.count("CONV_2D") for names in ops] == [3, 1]


def test_of_channels_with_equal_scores_no_more_go_than_the_aim_needs():
    inputs = x = layers.Input((8, 8, 1))
    for number in range(3):
        x = layers.Conv2D(32, 3, padding="same", name=f"c{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))  # each scale is 1
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = tf_keras.Model(inputs, outputs)
    technique = tfopt.ChannelPruning(importance="bn_scale", channels=0.25, steps=1)
    pruned = technique.apply(model, tfopt.Task.digits())
    assert [pruned.get_layer(f"c{number}").filters for number in range(3)] == [24, 24, 24]


def test_sensitivity_tells_the_halves_of_a_split_layer_apart():
    tf_keras.utils.set_random_seed(0)
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
    y = layers.Conv2D(16, 3, padding="same", activation="relu")(x[..., 16:])
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()([x[..., :16], y]))
    model = tf_keras.Model(image, layers.Dense(4, activation="softmax")(x))
    x, y = np.random.default_rng(0).random((96, 8, 8, 3), np.float32), np.arange(96) % 4
    task = tfopt.Task.from_arrays(
        (x[:64], y[:64]), (x[64:], y[64:]), loss="sparse_categorical_crossentropy"
    )
    technique = tfopt.ChannelPruning(macs=0.4, allocation="sensitivity", steps=2, multiple_of=2)
    assert cost(technique.apply(model, task)).macs <= 0.6 * cost(model).macs
