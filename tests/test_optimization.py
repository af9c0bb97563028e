"""The flow, end to end on real digits and the real interpreter."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import facts
from tfopt.chain import Chain, UnusedTrainingWarning
from tfopt.errors import DataError, FloatOpsError, LostGainError, OutputExistsError, SettingError
from tfopt.keras_gate import clone, tf_keras
from tfopt.technique import Selection, Stage, Technique
from tfopt.testing import dense_net, small_cnn
from tfopt.tflite.convert import FloatOpsWarning
from tfopt.training import fine_tune

PLAIN = tfopt.Target.int8(refine=False)
CHAIN = [
    tfopt.MagnitudePruning(sparsity=0.5, epochs=1),
    tfopt.WeightClustering(clusters=16, epochs=0.5),
    tfopt.QuantizationAware(epochs=0.5),
]


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


@pytest.fixture(scope="module")
def baseline(task):
    model = small_cnn()
    fine_tune(model, task, epochs=10, learning_rate=5e-3)
    return model


@pytest.fixture(scope="module")
def before(baseline):
    return [weight.copy() for weight in baseline.get_weights()]


@pytest.fixture(scope="module")
def result(baseline, before, task):
    target = tfopt.Target.int8(max_accuracy_drop=0.2, max_bytes=1)
    return tfopt.optimize(baseline, CHAIN, task=task, target=target)


def test_there_is_a_row_for_every_step(result):
    steps = result.report.steps
    assert [step.name for step in steps] == [
        "baseline",
        "conversion only",
        "MagnitudePruning",
        "WeightClustering",
        "QuantizationAware",
    ]
    assert [step.numerics for step in steps] == ["float32"] + ["int8"] * 4
    assert [step.test is not None for step in steps] == [True, False, False, False, True]
    assert steps[0].agreement == 1.0
    assert all(step.validation.samples == steps[0].validation.samples for step in steps)
    assert all(step.latency_p10_ms <= step.latency_ms <= step.latency_p90_ms for step in steps)


def test_the_chain_keeps_what_each_step_gained(result):
    by_name = {step.name: step for step in result.report.steps}
    assert by_name["baseline"].sparsity < 0.05
    for name in ("MagnitudePruning", "WeightClustering", "QuantizationAware"):
        assert by_name[name].sparsity > 0.45
    assert by_name["WeightClustering"].unique_weights <= 17
    assert by_name["QuantizationAware"].unique_weights <= 17
    deflated = [step.deflated_bytes for step in result.report.steps]
    assert deflated[0] > deflated[1] > deflated[2] > deflated[4]
    assert facts.measure(result.model).fake_quantized


def test_the_file_is_integer_only_and_as_good_as_the_report_says(result, task):
    assert tfopt.inspect(result.tflite).integer_only
    quality = tfopt.evaluate(result.tflite, task=task, split="test")
    assert quality.value == result.report.steps[-1].test.value
    assert quality.value > 0.8


def test_the_users_model_is_left_alone(result, baseline, before):
    for ours, theirs in zip(baseline.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_budgets_are_judged_on_the_test_set(result):
    drop, size = result.report.budgets
    steps = result.report.steps
    assert drop.spent == pytest.approx(steps[0].test.value - steps[-1].test.value)
    assert drop.kept
    assert not size.kept
    assert "max_bytes 1" in result.report.verdict


def test_saved_reproduced_and_kept(result, task, tmp_path):
    directory = result.save(tmp_path / "result")
    names = {file.name for file in directory.iterdir()}
    pages = {"report.html", "report.json", "report.md", "model_card.md"}
    assert names == {"model.tflite", "recipe.json", "baseline.h5"} | pages
    assert (directory / "model.tflite").read_bytes() == result.tflite
    report = json.loads((directory / "report.json").read_text())
    assert tfopt.Report.from_dict(report) == result.report

    again = tfopt.reproduce(directory)
    assert again.same, again.message

    with pytest.raises(OutputExistsError, match=r"result.*overwrite"):
        result.save(directory)
    assert (directory / "model.tflite").read_bytes() == result.tflite
    result.save(directory, overwrite=True)

    other = dataclasses.replace(task, validation=task.train)
    with pytest.raises(DataError, match="data with another content"):
        tfopt.reproduce(directory, task=other)
    (directory / "model.tflite").write_bytes(result.tflite + b"x")
    assert "it was changed after it was saved" in tfopt.reproduce(directory).message


def test_a_result_from_arrays_needs_its_task_to_be_reproduced(baseline, task, tmp_path):
    x, y = next(task.train.batches(200))
    arrays = tfopt.Task.from_arrays((x, y), (x, y), loss="sparse_categorical_crossentropy")
    result = tfopt.optimize(baseline, [], task=arrays, target=PLAIN)
    assert result.report.steps[-1].test is None
    directory = result.save(tmp_path / "result")
    with pytest.raises(SettingError, match=r"call tfopt\.reproduce\(directory, task=task\)"):
        tfopt.reproduce(directory)
    assert tfopt.reproduce(directory, task=arrays).same


@pytest.mark.parametrize(
    ("techniques", "message"),
    [
        (tfopt.QuantizationAware(), "put it into a list"),
        ([tfopt.QuantizationAware], r"call the class: tfopt\.QuantizationAware\(\)"),
        ([CHAIN[1], CHAIN[0]], "this order: MagnitudePruning, WeightClustering"),
        ([CHAIN[2], CHAIN[1]], "this order: WeightClustering, QuantizationAware"),
        ([CHAIN[2], CHAIN[2]], "2 techniques that quantize: .*at most one.*more epochs"),
    ],
)
def test_steps_that_cannot_work_are_refused_before_training(baseline, task, techniques, message):
    with pytest.raises(SettingError, match=message):
        tfopt.optimize(baseline, techniques, task=task, target=PLAIN)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Densify(Technique):
    """A third party's technique that undoes pruning."""

    stage = Stage.SHARING

    def select(self, model):
        return Selection(tuple(layer.name for layer in model.layers), ())

    def apply(self, model, task):
        copy = clone(model)
        copy.set_weights([weight + 0.01 for weight in model.get_weights()])
        return copy


def test_a_step_that_breaks_an_earlier_gain_fails_loudly(baseline, task):
    with pytest.raises(LostGainError, match=r"stem_conv.*Densify to keep the sparsity"):
        tfopt.optimize(baseline, [CHAIN[0], Densify()], task=task, target=PLAIN)


def test_data_that_does_not_fit_is_refused_before_training(task):
    model = tf_keras.Sequential([tf_keras.layers.Input((4, 4, 1)), tf_keras.layers.Flatten()])
    with pytest.raises(DataError, match=r"\(8, 8, 1\)"):
        tfopt.optimize(model, CHAIN, task=task, target=PLAIN)


def test_allowed_float_ops_are_listed_in_the_report(task):
    image = tf_keras.Input((8, 8, 1))
    x = tf_keras.layers.Flatten()(image)
    x = tf_keras.layers.Lambda(tf.sin, name="wave")(x)
    model = tf_keras.Model(image, tf_keras.layers.Dense(10, activation="softmax")(x))
    target = tfopt.Target.int8(allow_float_ops=True)
    with pytest.warns(FloatOpsWarning, match="wave"):
        result = tfopt.optimize(model, [], task=task, target=target)
    assert "wave" in result.report.steps[-1].warnings[0]
    assert "wave" in result.report.to_markdown()
    with pytest.raises(FloatOpsError, match=r"SIN.*wave.*allow_float_ops=True"):
        tfopt.optimize(model, [], task=task, target=PLAIN)


def test_outputs_keep_the_names_that_labels_and_losses_go_by():
    layers = tf_keras.layers
    image, age = layers.Input((8, 8, 1), name="image"), layers.Input((3,), name="age")
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image))
    x = layers.Concatenate()([x, age])
    digit = layers.Dense(10, activation="softmax", name="digit")(x)
    model = tf_keras.Model([image, age], [digit, layers.Dense(1)(x)])
    size = model.output_names[1]  # a name Keras made
    random = np.random.default_rng(0)
    inputs = {"image": random.random((96, 8, 8, 1)), "age": random.random((96, 3))}
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    labels = {"digit": random.integers(0, 10, 96), size: random.random((96, 1))}
    two = tfopt.Task.from_arrays(
        (inputs, labels),
        (inputs, labels),
        loss={"digit": "sparse_categorical_crossentropy", size: "mse"},
        metric=lambda labels, outputs: float(len(labels)),
    )
    chain = [dataclasses.replace(technique, epochs=1) for technique in CHAIN]
    result = tfopt.optimize(model, chain, task=two, target=PLAIN)
    assert list(result.model.output_names) == ["digit", size]
    assert tfopt.inspect(result.tflite).integer_only


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "int8"}, r"target='int8'; expected a tfopt\.Target\. Fix: .*Target\.int8\(\)"),
        ({"task": None}, r"task=None; expected a tfopt\.Task"),
        ({"task": (1, 2)}, r"a task of type tuple; expected a tfopt\.Task"),
    ],
)
def test_what_is_no_task_or_target_is_refused(baseline, task, changes, message):
    with pytest.raises(SettingError, match=message):
        tfopt.optimize(baseline, [], **{"task": task, "target": PLAIN} | changes)


def test_a_misspelt_name_of_the_package_gets_the_nearest():
    with pytest.raises(AttributeError, match="'MagnitudePrunin'; 'MagnitudePruning' is nearest"):
        _ = tfopt.MagnitudePrunin


@pytest.mark.parametrize("technique", [tfopt.QuantizationAware(), tfopt.RoundWeights()])
def test_weights_made_for_8_bits_are_refused_for_a_file_of_4(baseline, task, technique):
    with pytest.raises(SettingError, match=rf"write {technique.name}\(bits=4\)"):
        tfopt.optimize(baseline, [technique], task=task, target=tfopt.Target.int4_weights())


@pytest.mark.parametrize("numerics", ["float16", "dynamic_range"])
def test_training_for_the_rounding_of_integers_is_told_where_there_is_none(
    baseline, task, numerics
):
    steps = [tfopt.QuantizationAware(steps=1)]
    with pytest.warns(UnusedTrainingWarning, match=f"file, .*numerics='{numerics}'") as told:
        result = tfopt.optimize(
            baseline, steps, task=task, target=getattr(tfopt.Target, numerics)()
        )
    (warning,) = (one for one in told if one.category is UnusedTrainingWarning)
    assert warning.filename == __file__
    assert [len(step.warnings) for step in result.report.steps] == [0, 0, 1]
    assert str(warning.message) in result.report.to_markdown()


def test_training_for_the_rounding_of_integers_is_not_told_where_it_is_used(
    baseline, task, recwarn
):
    for target in (tfopt.Target.int16x8(), tfopt.Target.int8()):
        Chain(baseline, [tfopt.QuantizationAware()], task=task, target=target, cache=None)
    Chain(baseline, [tfopt.RoundWeights()], task=task, target=tfopt.Target.float16(), cache=None)
    assert not [one for one in recwarn if one.category is UnusedTrainingWarning]


def test_ablation_refuses_what_the_baseline_alone_cannot_do_before_it_measures(
    baseline, task, tmp_path, monkeypatch
):
    tfopt.save_model(dense_net(), tmp_path / "student.h5")
    steps = [
        tfopt.Distillation(student=str(tmp_path / "student.h5")),
        tfopt.MagnitudePruning(only=("hidden",)),  # a layer of the student's
    ]
    rows = []
    monkeypatch.setattr("tfopt.measurement.Measurements.add", lambda self, *row: rows.append(row))
    with pytest.raises(SettingError, match="the model has no layer 'hidden'"):
        tfopt.ablate(baseline, steps, task=task, target=PLAIN)
    assert rows == []


def test_ablation_has_each_technique_alone_and_stacked_from_one_baseline(baseline, task):
    steps = [tfopt.MagnitudePruning(epochs=0.2), tfopt.QuantizationAware(epochs=0.2)]
    report = tfopt.ablate(baseline, steps, task=task, target=PLAIN)
    names = [step.name for step in report.steps]
    assert names == [
        "baseline",
        "conversion only",
        "MagnitudePruning alone",
        "QuantizationAware alone",
        "MagnitudePruning + QuantizationAware",
    ]
    sparsity = dict(zip(names, (step.sparsity for step in report.steps), strict=True))
    assert sparsity["QuantizationAware alone"] < 0.1
    assert sparsity["MagnitudePruning + QuantizationAware"] > 0.45
    assert all(step.difference is not None for step in report.steps[1:])
    assert [step.step_before for step in report.steps] == [None, None, 1, 1, 2]


def test_ablation_compares_a_stack_with_the_one_without_its_last_technique(baseline, task):
    steps = [
        tfopt.LowRank(energy=0.6, steps=2),
        tfopt.MagnitudePruning(steps=2),
        tfopt.WeightClustering(steps=2),
    ]
    report = tfopt.ablate(baseline, steps, task=task, target=tfopt.Target.float32())
    rows = report.steps
    assert [row.step_before for row in rows] == [None, 0, 0, 0, 1, 4]
    before = [change.deflated_bytes for change, _ in report.changes()]
    assert before[1] == rows[2].deflated_bytes / rows[0].deflated_bytes
    assert before[3] == rows[4].deflated_bytes / rows[1].deflated_bytes


def test_points_of_accuracy_are_told_from_shares_before_anything_is_done(baseline, task):
    target = tfopt.Target.int8(max_accuracy_drop=5)
    with pytest.raises(SettingError, match=r"max_accuracy_drop=0\.05 for 5 points"):
        tfopt.optimize(baseline, [], task=task, target=target)
    with pytest.raises(SettingError, match=r"max_accuracy_drop=0\.05 for 5 points"):
        tfopt.convert(baseline, task=task, target=target)
