import numpy as np
import pytest
import tensorflow as tf

from tfopt.errors import TechniqueError
from tfopt.keras_gate import clone, tf_keras
from tfopt.teaching import Teaching
from tfopt.testing import dense_net, small_cnn


def head(activation, units=3):
    layers = [tf_keras.Input((4,)), tf_keras.layers.Dense(units, activation=activation, name="top")]
    return tf_keras.Sequential(layers)


LOSSES = tf_keras.losses


@pytest.mark.parametrize(
    ("activation", "units", "loss"),
    [
        ("softmax", 3, "categorical_crossentropy"),
        (None, 3, LOSSES.CategoricalCrossentropy(from_logits=True)),
        ("sigmoid", 1, "binary_crossentropy"),
        (None, 1, LOSSES.BinaryCrossentropy(from_logits=True)),
        (None, 2, "mse"),
    ],
)
def test_a_student_comes_to_answer_as_its_teacher_whatever_the_labels(activation, units, loss):
    tf_keras.utils.set_random_seed(0)
    teacher, student = head(activation, units), head(activation, units)
    Teaching(teacher, weight=1.0, temperature=2.0).teach(student)
    student.compile(tf_keras.optimizers.Adam(0.1), loss)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")

    def apart():
        theirs, ours = teacher(x), student(x)
        if activation is None and units == 3:  # logits tell classes up to what they share
            theirs, ours = tf.nn.softmax(theirs), tf.nn.softmax(ours)
        return float(tf.reduce_mean(tf.abs(theirs - ours)))

    before = apart()
    student.fit(x, np.zeros((64, units)), epochs=120, verbose=0, batch_size=64)
    after = apart()
    assert after < 0.25 * before


@pytest.mark.parametrize(
    ("alias", "loss"), [("bce", "binary_crossentropy"), ("kld", "kl_divergence")]
)
def test_a_loss_teaches_alike_by_each_of_its_names(alias, loss):
    teacher, student = head("sigmoid"), head("sigmoid")
    Teaching(teacher, weight=1.0).teach(student)
    x, y, taught = tf.random.normal((8, 4)), tf.ones((8, 3)), []
    for name in (alias, loss):
        student.compile("sgd", name)
        taught.append(float(student.compute_loss(x, y, student(x))))
    assert taught[0] == taught[1]


def test_the_loss_is_the_published_one():
    teacher, student = head("softmax"), head("softmax")
    Teaching(teacher, weight=0.25, temperature=3.0).teach(student)
    student.compile("sgd", "categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y, answer, output = np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]], teacher(x).numpy(), student(x).numpy()
    soft, ours = (p ** (1 / 3) / (p ** (1 / 3)).sum(1, keepdims=True) for p in (answer, output))
    imitation = 9 * (soft * np.log(soft / ours)).sum(1).mean()
    labels = -(y * np.log(output)).sum(1).mean()
    expected = 0.75 * labels + 0.25 * imitation
    assert float(student.compute_loss(x, tf.constant(y), student(x))) == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize(
    "loss",
    [
        *("kl_divergence", "kullback_leibler_divergence", "kld", "KLD", "KLDivergence"),
        *(LOSSES.KLDivergence(), LOSSES.kl_divergence),
    ],
    ids=lambda loss: loss if isinstance(loss, str) else f"a {type(loss).__name__}",
)
def test_a_divergence_is_of_probabilities_which_are_softened(loss):
    teacher, student = head("softmax"), head("softmax")
    Teaching(teacher, weight=1.0, temperature=3.0).teach(student)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    taught = []
    for own in (loss, "categorical_crossentropy"):
        student.compile("sgd", own)
        taught.append(float(student.compute_loss(x, tf.one_hot([0] * 8, 3), student(x))))
    assert taught[0] == pytest.approx(taught[1])


def test_features_are_drawn_together():
    tf_keras.utils.set_random_seed(0)
    teacher, student = dense_net(), dense_net()
    Teaching(teacher, weight=1.0, features=(("hidden", "hidden"),)).teach(student)
    student.compile(tf_keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((64, 8, 8, 1), np.float32)
    hidden = [tf_keras.Model(m.inputs, m.get_layer("hidden").output) for m in (teacher, student)]
    apart = lambda: float(tf.reduce_mean(tf.square(hidden[0](x) - hidden[1](x))))  # noqa: E731
    before = apart()
    student.fit(x, np.zeros(64), epochs=60, verbose=0, batch_size=64)
    assert apart() < 0.3 * before


def test_the_teacher_is_not_trained():
    teacher, student = dense_net(), dense_net()
    weights = [w.copy() for w in teacher.get_weights()]
    Teaching(teacher).teach(student)
    student.compile("adam", "sparse_categorical_crossentropy")
    student.fit(np.ones((8, 8, 8, 1)), np.zeros(8), verbose=0)
    for before, after in zip(weights, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def crossed(inputs, outputs):
    """A model that hands on each input as the output that is in its place in the alphabet."""
    layers = tf_keras.layers
    given = {name: layers.Input((1,), name=name) for name in inputs}
    made = {
        output: layers.Dense(1, kernel_initializer="ones", name=output)(given[own])
        for output, own in zip(sorted(outputs), sorted(inputs), strict=True)
    }
    return tf_keras.Model([given[name] for name in inputs], [made[name] for name in outputs])


def taught_loss(teacher, student, x, **settings):
    """The teacher's share of the loss, whatever the labels."""
    Teaching(teacher, weight=1.0, **settings).teach(student)
    student.compile("sgd", "mse")
    labels = [tf.zeros((4, 1)) for _ in student.outputs]
    return float(student.compute_loss(x, labels, student(x)))


LEFT, RIGHT = tf.fill((4, 1), 2.0), tf.fill((4, 1), -3.0)


def test_outputs_are_paired_by_name():
    teacher, student = (crossed(["l", "r"], names) for names in (["a", "b"], ["b", "a"]))
    assert taught_loss(teacher, student, [LEFT, RIGHT]) == 0


@pytest.mark.parametrize("x", [[LEFT, RIGHT], {"l": LEFT, "r": RIGHT}], ids=["list", "dict"])
def test_inputs_are_paired_by_name(x):
    teacher, student = (crossed(names, ["a", "b"]) for names in (["r", "l"], ["l", "r"]))
    assert taught_loss(teacher, student, x, features=(("a", "a"), ("b", "b"))) == 0


@pytest.mark.parametrize("x", [[LEFT, RIGHT], {"l": LEFT, "r": RIGHT}], ids=["list", "dict"])
def test_inputs_and_outputs_of_other_names_are_paired_by_position(x):
    student, teacher = crossed(["l", "r"], ["a", "b"]), crossed(["u", "v"], ["c", "d"])
    assert taught_loss(teacher, student, x, features=(("c", "a"), ("d", "b"))) == 0
    for inputs, outputs in ((["v", "u"], ["c", "d"]), (["u", "v"], ["d", "c"])):
        student, teacher = crossed(["l", "r"], ["a", "b"]), crossed(inputs, outputs)
        assert taught_loss(teacher, student, x) == 25


def test_outputs_are_compared_with_those_they_are_paired_with():
    def heads(names, activations):
        x = tf_keras.Input((4,))
        made = {
            name: tf_keras.layers.Dense(units, activations[name], name=name)(x)
            for name, units in (("kind", 3), ("size", 2))
        }
        return tf_keras.Model(x, [made[name] for name in names])

    soft = {"kind": "softmax", "size": None}
    Teaching(heads(["size", "kind"], soft)).check(heads(["kind", "size"], soft))
    with pytest.raises(TechniqueError, match=r"gives logits for output 'kind'.*probabilities"):
        Teaching(heads(["size", "kind"], {"kind": None, "size": None})).check(
            heads(["kind", "size"], soft)
        )
    x = tf_keras.Input((4,))
    wide = [
        tf_keras.layers.Dense(units, name=name)(x) for name, units in (("kind", 2), ("size", 3))
    ]
    with pytest.raises(TechniqueError, match=r"of shapes \[\(2,\), \(3,\)\] for a student with"):
        Teaching(tf_keras.Model(x, wide[::-1])).check(heads(["kind", "size"], soft))


def test_what_does_not_go_together_is_refused():
    student = clone(dense_net())
    with pytest.raises(TechniqueError, match=r"teacher with outputs of shapes \[\(7,\)\].*classes"):
        Teaching(small_cnn(classes=7)).teach(student)
    with pytest.raises(TechniqueError, match=r"features 'stem_relu' of shape \(8, 8, 8\)"):
        Teaching(small_cnn(), features=(("stem_relu", "hidden"),)).teach(student)
    with pytest.raises(TechniqueError, match="the feature 'nix', and model 'small_cnn' has no"):
        Teaching(small_cnn(), features=(("nix", "hidden"),)).teach(student)
