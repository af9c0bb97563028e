import keras
import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError, TechniqueError
from tfopt.keras_gate import tf_keras
from tfopt.techniques import distillation
from tfopt.techniques.distillation import Distillation
from tfopt.techniques.magnitude_pruning import MagnitudePruning
from tfopt.testing import dense_net, small_cnn


def test_a_student_of_another_kind_learns_from_the_baseline(digits, trained, tmp_path):
    tf_keras.utils.set_random_seed(0)
    tfopt.save_model(dense_net(), tmp_path / "student.keras")
    technique = Distillation(student=str(tmp_path / "student.keras"), epochs=4, learning_rate=5e-3)
    student = technique.apply(trained(small_cnn), digits)
    assert student.name == "dense_net"
    assert tfopt.evaluate(student, task=digits).value > 0.85


def test_the_baseline_teaches_in_optimize(digits, trained, monkeypatch):
    baseline, teachers = trained(small_cnn), []
    teach = tfopt.teaching.Teaching.teach
    spy = lambda self, student: (teachers.append(self.teacher), teach(self, student))  # noqa: E731
    monkeypatch.setattr("tfopt.teaching.Teaching.teach", spy)
    steps = [
        Distillation(epochs=0.1, skip=("Conv2D", "Dense")),
        MagnitudePruning(epochs=0.5, teacher="baseline"),
        tfopt.QuantizationAware(epochs=0.1, teacher="baseline"),
    ]
    target = tfopt.Target.int8(refine=False)
    result = tfopt.optimize(baseline, steps, task=digits, target=target)
    assert teachers == 3 * [result.baseline]


def test_a_file_is_loaded_once_and_anew_when_it_is_another(digits, tmp_path, monkeypatch):
    loaded, load = [], distillation.load_model
    monkeypatch.setattr(distillation, "load_model", lambda path: loaded.append(path) or load(path))
    student, teacher = (str(tmp_path / f"{name}.h5") for name in ("student", "teacher"))
    for path in (student, teacher):
        tfopt.save_model(dense_net(), path)
    step = Distillation(student=student, teacher=teacher, epochs=0.1)
    target = tfopt.Target.int8(refine=False)
    result = tfopt.optimize(small_cnn(), [step], task=digits, target=target)
    assert sorted(loaded) == [student, teacher]
    again = tfopt.optimize(small_cnn(), [step], task=digits, target=target)
    assert again.tflite == result.tflite  # what is kept was not trained
    other = dense_net()
    other.layers[-1].bias.assign_add(np.ones(10, np.float32))
    tfopt.save_model(other, student)
    began = step.begun_with(small_cnn())
    np.testing.assert_array_equal(began.layers[-1].bias, other.layers[-1].bias)


def test_a_teacher_whose_outputs_stand_in_another_order_teaches_each_by_its_name(tmp_path):
    def net(*names):
        x = keras.Input((4,), name="x")
        heads = {name: keras.layers.Dense(1, name=name)(x) for name in ("age", "price")}
        return keras.Model(x, [heads[name] for name in names])

    x = np.random.default_rng(0).normal(size=(320, 4)).astype("float32")
    y = {"age": np.full((320, 1), -2, "float32"), "price": np.full((320, 1), 2, "float32")}
    halves = [
        (x[part], {k: v[part] for k, v in y.items()}) for part in (slice(256), slice(256, 320))
    ]
    task = tfopt.Task.from_arrays(*halves, loss="mse", metric="mae")
    teacher = net("age", "price")
    for name, labels in y.items():
        teacher.get_layer(name).set_weights([np.zeros((4, 1)), labels[0]])
    teacher.save(tmp_path / "teacher.keras")
    step = Distillation(
        teacher=str(tmp_path / "teacher.keras"), weight=1.0, epochs=20, learning_rate=0.05
    )
    price, age = step.apply(tfopt.load_model(net("price", "age")), task)(x)
    np.testing.assert_allclose(price, y["price"], atol=0.2)
    np.testing.assert_allclose(age, y["age"], atol=0.2)


def test_layers_left_alone_stay_as_they_are_and_trainable(digits):
    model = small_cnn()
    taught = Distillation(epochs=0.5, only=("probabilities",)).apply(model, digits)
    np.testing.assert_array_equal(
        taught.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel
    )
    assert taught.get_layer("stem_conv").trainable
    assert not np.array_equal(
        taught.get_layer("probabilities").kernel, model.get_layer("probabilities").kernel
    )


def test_settings_are_checked():
    with pytest.raises(SettingError, match=r"temperature=0.*above 0"):
        Distillation(temperature=0)
    with pytest.raises(SettingError, match=r"temperature=inf.*above 0"):
        Distillation(temperature=float("inf"))
    with pytest.raises(SettingError, match=r"weight=1\.5.*share from 0 to 1"):
        Distillation(weight=1.5)
    with pytest.raises(SettingError, match="pairs"):
        Distillation(features=(("a", "b", "c"),))
    with pytest.raises(SettingError, match=r"teacher=None; expected \"baseline\", or the path"):
        Distillation(teacher=None)
    with pytest.raises(SettingError, match=r"teacher='x\.keras'.*Distillation\(teacher=path\)"):
        MagnitudePruning(teacher="x.keras")


def test_a_teacher_that_does_not_match_is_refused_before_training(tmp_path):
    tfopt.save_model(small_cnn(classes=7), tmp_path / "other.keras")
    with pytest.raises(TechniqueError, match="teacher with outputs of shapes"):
        Distillation(teacher=str(tmp_path / "other.keras")).select(small_cnn())


def test_a_teacher_of_logits_cannot_teach_probabilities(tmp_path):
    student = small_cnn()
    flat = student.layers[-1].input
    logits = tf_keras.layers.Dense(10, name="logits")(flat)
    tfopt.save_model(tf_keras.Model(student.input, logits), tmp_path / "logits.h5")
    teacher = str(tmp_path / "logits.h5")
    told = "a teacher that gives logits for output 'probabilities', of which the student gives prob"
    with pytest.raises(TechniqueError, match=told):
        Distillation(teacher=teacher).select(student)
    Distillation(teacher=teacher, student=teacher).select(student)


def test_steps_after_a_student_are_checked_against_the_student(digits, tmp_path):
    tfopt.save_model(dense_net(), tmp_path / "student.h5")
    first = Distillation(student=str(tmp_path / "student.h5"), epochs=0.1)
    hidden = next(layer.name for layer in dense_net().layers if layer.name == "hidden")
    steps = [first, MagnitudePruning(only=(hidden,), epochs=0.1)]
    target = tfopt.Target.int8(refine=False)
    result = tfopt.optimize(small_cnn(), steps, task=digits, target=target)
    assert result.report.steps[-1].touched == (hidden,)
    with pytest.raises(SettingError, match="stem_conv"):
        wrong = MagnitudePruning(only=("stem_conv",), epochs=0.1)
        tfopt.optimize(small_cnn(), [first, wrong], task=digits, target=target)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": "4"},
        {"weight": None},
        {"features": 5},
        {"features": ("pool", "pool")},
        {"features": ("ab", "cd")},  # two letters are no pair of layers
        {"student": 5},
    ],
)
def test_settings_of_another_type_are_refused(settings):
    (name,) = settings
    with pytest.raises(SettingError, match=f"Received {name}="):
        Distillation(**settings)
