"""Each kind of importance finds the channels that matter, and refitting makes up for the others."""

import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.graph.batch_norm import recalibrate_batch_norm
from tfopt.graph.dependencies import analyse
from tfopt.graph.slicing import slice_channels
from tfopt.graph.stepping import watch
from tfopt.importance import reconstruction
from tfopt.importance.data import labelled, taylor
from tfopt.importance.reconstruction import refit, unfitted
from tfopt.importance.scores import judged, scores
from tfopt.keras_gate import clone, tf_keras
from tfopt.testing import dense_net, residual_net, small_cnn
from tfopt.training.strategies import scope

layers = tf_keras.layers
KINDS = ["l1", "l2", "bn_scale", "taylor", "activation", "reconstruction"]


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


@pytest.mark.parametrize("kind", KINDS)
def test_faint_channels_count_least(kind, task):
    tf_keras.utils.set_random_seed(0)
    model = residual_net()
    found = analyse(model)
    faint = found.groups[1].units[[1, 4, 6]]
    for axis in found.axes:
        if axis.role != "reads" and "moving" not in axis.variable.name:
            scale = np.where(np.isin(axis.ids, faint), 0.01, 1.0)
            shape = [-1 if i == axis.axis else 1 for i in range(len(axis.variable.shape))]
            axis.variable.assign(axis.variable.numpy() * scale.reshape(shape))
    inputs = task.representative_inputs(64)
    found_scores = scores(found, kind, inputs=inputs, task=task, samples=64)
    others = np.setdiff1d(found.groups[1].units, faint)
    assert found_scores[faint].max() < found_scores[others].min()
    assert found_scores.shape == (found.units,)


@pytest.mark.parametrize("kind", ["activation", "reconstruction"])
def test_what_attention_reads_and_its_heads_are_judged_too(kind):
    tf_keras.utils.set_random_seed(0)
    words = layers.Input((6, 8))
    parts = {name: layers.Dense(16, name=name) for name in ("query", "value", "key")}
    read = {name: dense(words) for name, dense in parts.items()}
    attended = layers.MultiHeadAttention(2, 8, name="attention")(
        read["query"], key=read["key"], value=read["value"]
    )
    model = tf_keras.Model(words, layers.Dense(2, name="top")(attended))
    for dense in parts.values():
        dense.kernel.assign(dense.kernel * np.repeat([0.01, 1.0], 8))
    found = analyse(model)
    inputs = np.random.default_rng(0).standard_normal((32, 6, 8)).astype(np.float32)
    units = {group.makers: group.units for group in found.groups}
    judged = scores(found, kind, inputs=inputs, task=None, samples=32)
    for name in parts:
        score = judged[units[name,]]
        assert score[:8].max() < 0.1 * score[8:].min()
        assert score.mean() == pytest.approx(1)
    heads = next(group.units for group in found.groups if group.one_by_one)
    assert judged[heads].mean() == pytest.approx(1)
    assert (judged[heads] != judged[heads][0]).any()


def test_labels_judge_within_a_strategy_as_without(task):
    model, samples = small_cnn(), 64
    alone = taylor(analyse(model), labelled(task, samples), task.loss)
    with scope(task.distributed("mirrored")):
        found = analyse(clone(model))
        shared = taylor(found, labelled(task, samples), task.loss)
    for group in found.groups:
        np.testing.assert_allclose(shared[group.units], alone[group.units], rtol=1e-5)


def test_batch_norm_cannot_judge_what_it_does_not_scale():
    found = judged(analyse(dense_net()), "bn_scale")
    assert found.groups == ()
    assert any("no batch norm scales" in reason for reason in found.reasons.values())


@pytest.mark.parametrize(("kind", "missing"), [("taylor", "a task"), ("activation", "inputs")])
def test_a_kind_without_what_it_judges_by_is_refused(kind, missing):
    with pytest.raises(SettingError, match=f"importance='{kind}' without {missing}"):
        scores(analyse(dense_net()), kind, inputs=None, task=None, samples=8)


def test_labelled_samples_are_random_and_the_same_again(task):
    first, again = (list(labelled(task, 100)) for _ in range(2))
    assert sum(len(y) for _, y in first) == 100
    for (x, y), (other_x, other_y) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


@pytest.mark.parametrize("settings", [{}, {"strides": 2, "padding": "same"}, {"dilation_rate": 2}])
def test_refitting_makes_up_for_what_other_channels_tell_too(settings):
    tf_keras.utils.set_random_seed(0)
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(8, 1, activation="relu", name="stem")(image)
    x = layers.Conv2D(4, 3, name="next", **settings)(x)
    model = tf_keras.Model(image, layers.Dense(2, name="top")(layers.GlobalAveragePooling2D()(x)))
    stem = model.get_layer("stem")
    kernel = stem.kernel.numpy()
    kernel[..., 4:] = 2 * kernel[..., :4]  # twins of the first four
    stem.kernel.assign(kernel)
    found = analyse(model)
    kept = found.everything()
    kept[found.groups[0].units[4:]] = False
    inputs = np.random.default_rng(0).random((64, 8, 8, 3), np.float32)
    sliced = slice_channels(found, kept)
    off = np.abs(sliced(inputs) - model(inputs)).mean()
    refit(sliced, found, kept, inputs)
    assert unfitted(found, sliced) == {}
    assert np.abs(sliced(inputs) - model(inputs)).mean() < 0.02 * off


def test_refitting_takes_as_many_samples_as_it_would_of_a_known_size(monkeypatch):
    monkeypatch.setattr(reconstruction, "_MOST_NUMBERS", 2**14)  # of 40 samples, not of all
    inputs = np.random.default_rng(0).random((64, 8, 8, 3), np.float32)

    def refitted(size):
        tf_keras.utils.set_random_seed(0)
        image = layers.Input((size, size, 3))
        x = layers.Conv2D(8, 1, activation="relu", name="stem")(image)
        model = tf_keras.Model(image, layers.Conv2D(4, 5, name="next")(x))
        found = analyse(model)
        kept = found.everything()
        kept[found.groups[0].units[4:]] = False
        sliced = slice_channels(found, kept)
        refit(sliced, found, kept, inputs)
        return sliced.get_layer("next").kernel.numpy()

    np.testing.assert_array_equal(refitted(None), refitted(8))


def test_recalibrated_statistics_are_those_of_the_data(task):
    model = small_cnn()
    inputs = task.representative_inputs(64)
    recalibrate_batch_norm(model, inputs)
    seen = {}
    watch(model, [inputs], lambda node, x: seen.setdefault(node.layer.name, x.numpy()))
    for name in ("stem_bn", "block_bn"):
        norm = model.get_layer(name)
        mean = seen[name].mean((0, 1, 2))
        np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-3, atol=1e-5)
        variance = seen[name].var((0, 1, 2))
        np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-3, atol=1e-6)


def test_frozen_batch_norms_keep_their_statistics(task):
    model = small_cnn()
    model.get_layer("stem_bn").trainable = False
    recalibrate_batch_norm(model, task.representative_inputs(16))
    assert (model.get_layer("stem_bn").moving_variance.numpy() == 1).all()
    assert (model.get_layer("block_bn").moving_variance.numpy() != 1).all()
