"""Training that imitates a teacher: soft targets and features beside the labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfopt.errors import TechniqueError
from tfopt.keras_gate import tf_keras
from tfopt.task.fit import scale_of
from tfopt.task.losses import each, loss_name, of_logits

TEMPERATURE = 4.0
WEIGHT = 0.5

_SMALLEST = 1e-7


@dataclasses.dataclass(frozen=True)
class Teaching:
    """How a model is taught.

    Args:
        teacher: Its outputs are imitated; it is not trained. Its inputs and outputs are paired with
            the student's by name if both have the same names, else by position.
        temperature: Softens the classes' probabilities: at 1 they are as they are, above it the
            unlikely classes tell more.
        weight: The share of the teacher in the loss, 0 to 1; the labels have the rest.
        features: Pairs of layers (the teacher's, the student's) whose outputs are to be alike.
    """

    teacher: tf_keras.Model
    temperature: float = TEMPERATURE
    weight: float = WEIGHT
    features: tuple[tuple[str, str], ...] = ()

    def check(self, student: tf_keras.Model) -> None:
        """Refuses a student that cannot imitate the teacher, before anything is trained.

        Raises:
            TechniqueError: Inputs, outputs or features differ in shape, one gives logits where the
                other gives probabilities, or a layer is unknown.
        """
        for side in ("input", "output"):
            theirs, ours = (_shapes(getattr(m, f"{side}s")) for m in (self.teacher, student))
            if len(theirs) == len(ours):
                theirs = [theirs[place] for place in _places(self.teacher, student, side)]
            if theirs != ours:
                raise TechniqueError(
                    received=f"a teacher with {side}s of shapes {theirs} for a student with {ours}",
                    expected="the same shapes",
                    fix="give a teacher of the same task, with as many classes",
                )
        places = _places(self.teacher, student, "output")
        for name, place, output in zip(student.output_names, places, student.outputs, strict=True):
            taught_as, own = scale_of(self.teacher.outputs[place]), scale_of(output)
            if {taught_as, own} == {"logits", "probabilities"}:
                raise TechniqueError(
                    received=f"a teacher that gives {taught_as} for output {name!r}, of which the "
                    f"student gives {own}",
                    expected="both to give the same",
                    fix="let both end with the same activation, softmax or none",
                )
        for pair in self.features:
            taught, learnt = (
                tuple(_layer(model, name).output_shape[1:])
                for model, name in zip((self.teacher, student), pair, strict=True)
            )
            if taught != learnt:
                raise TechniqueError(
                    received=f"features {pair[0]!r} of shape {taught} for {pair[1]!r} of {learnt}",
                    expected="the same shapes",
                    fix="pair layers of equal shape, such as the last ones before the classifier",
                )

    def teach(self, student: tf_keras.Model) -> None:
        """Adds the teacher to the loss with which `fit` trains a model.

        The student stays the model it is, so that masks, wrappers and callbacks work as they did.

        Args:
            student: A tf_keras model; the loss it is compiled with tells what its outputs are.

        Raises:
            TechniqueError: The two do not go together.

        Example:
            >>> layers = [tf_keras.Input((4,)), tf_keras.layers.Dense(3, activation="softmax")]
            >>> teacher, student = tf_keras.Sequential(layers), tf_keras.Sequential(layers)
            >>> Teaching(teacher).teach(student)
            >>> student.compile("sgd", "categorical_crossentropy")
            >>> history = student.fit(tf.ones((8, 4)), tf.one_hot([0] * 8, 3), verbose=0)

        References:
            Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2
            (soft targets; the factor T^2 keeps the gradients' size); Romero et al., FitNets, 2015,
            equation 3 (features).
        """
        self.check(student)
        plain_loss = student.compute_loss
        features = self._features(student)
        taken = _places(student, self.teacher, "input")
        places = _places(self.teacher, student, "output")

        def compute_loss(
            x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
        ) -> tf.Tensor:
            own = plain_loss(x, y, y_pred, sample_weight)
            given = student._flatten_to_reference_inputs(x)
            asked = [given[place] for place in taken]
            answers = tf.nest.flatten(self.teacher(asked, training=False))
            answers = [answers[place] for place in places]
            kinds = _kinds(student)
            pairs = zip(answers, tf.nest.flatten(y_pred), kinds, strict=True)
            taught = tf.add_n([self._distance(*pair) for pair in pairs]) / len(answers)
            if features is not None:
                sides = zip(features, (asked, given), strict=True)
                theirs, ours = (tf.nest.flatten(model(x, training=False)) for model, x in sides)
                taught += tf.add_n([_alike(a, b) for a, b in zip(theirs, ours, strict=True)])
            # Gradients of replicas are summed up: Keras sees to it for its own loss.
            taught /= tf.distribute.get_strategy().num_replicas_in_sync
            return (1 - self.weight) * own + self.weight * taught

        compute_loss.teaching = self  # type: ignore[attr-defined]
        student.compute_loss = compute_loss

    def _features(self, student: tf_keras.Model) -> tuple[tf_keras.Model, tf_keras.Model] | None:
        """The two models up to the features."""
        if not self.features:
            return None
        theirs, ours = zip(*self.features, strict=True)
        return _up_to(self.teacher, theirs), _up_to(student, ours)

    def _distance(self, answer: tf.Tensor, output: tf.Tensor, kind: str) -> tf.Tensor:
        """How far an output is from the teacher's."""
        answer, output = tf.cast(answer, tf.float32), tf.cast(output, tf.float32)
        if kind == "values":
            return tf.reduce_mean(tf.math.squared_difference(answer, output))
        theirs, ours = (_logits(tensor, kind) / self.temperature for tensor in (answer, output))
        softened = tf.nn.softmax(theirs)
        gap = tf.nn.log_softmax(theirs) - tf.nn.log_softmax(ours)
        return self.temperature**2 * tf.reduce_mean(tf.reduce_sum(softened * gap, axis=-1))


def teaching_of(model: tf_keras.Model) -> Teaching | None:
    """Returns how a model is taught, None if it is not.

    Args:
        model: A tf_keras model.

    Example:
        >>> student = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))])
        >>> teaching_of(student) is None
        True
    """
    return getattr(vars(model).get("compute_loss"), "teaching", None)


def _logits(tensor: tf.Tensor, kind: str) -> tf.Tensor:
    """Outputs as logits of classes, two for a yes or no."""
    binary, probabilities = "binary" in kind, "probabilities" in kind
    if not binary:
        return tf.math.log(tf.maximum(tensor, _SMALLEST)) if probabilities else tensor
    if probabilities:
        inside = tf.clip_by_value(tensor, _SMALLEST, 1 - _SMALLEST)
        tensor = tf.math.log(inside) - tf.math.log1p(-inside)
    return tf.stack([tf.zeros_like(tensor), tensor], axis=-1)


def _kinds(model: tf_keras.Model) -> list[str]:
    """What each output stands for, told by the loss it is compiled with."""
    return [_kind(own) for own in each(model.loss, model.output_names)]


def _kind(loss: Any) -> str:
    """What outputs stand for that a loss is made for."""
    name = loss_name(loss) or ""
    scale = "logits" if of_logits(loss) else "probabilities"
    if "binary" in name:
        return f"binary {scale}"
    return scale if "crossentropy" in name or name == "kl_divergence" else "values"


def _alike(theirs: tf.Tensor, ours: tf.Tensor) -> tf.Tensor:
    """How far features are apart, as a share of the teacher's."""
    distance = tf.reduce_mean(tf.math.squared_difference(theirs, ours))
    return distance / (tf.reduce_mean(tf.square(theirs)) + _SMALLEST)


def _up_to(model: tf_keras.Model, names: Sequence[str]) -> tf_keras.Model:
    """A model that gives the outputs of layers."""
    return tf_keras.Model(model.inputs, [_layer(model, name).output for name in names])


def _layer(model: tf_keras.Model, name: str) -> Any:
    """The layer of a name."""
    names = [layer.name for layer in model.layers]
    if name not in names:
        raise TechniqueError(
            received=f"the feature {name!r}, and model {model.name!r} has no such layer",
            expected=f"one of its layers, such as {', '.join(names[-3:])}",
            fix="correct the pair (the teacher's layer, the student's layer)",
        )
    return model.get_layer(name)


def _places(model: tf_keras.Model, other: tf_keras.Model, side: str) -> list[int]:
    """For each input or output of `other`, the position of the one of `model` that it goes with."""
    names, wanted = (getattr(m, f"{side}_names") for m in (model, other))
    if set(names) != set(wanted) or len(set(names)) < len(names):
        return list(range(len(names)))
    return [names.index(name) for name in wanted]


def _shapes(tensors: Sequence[Any]) -> list[tuple[int | None, ...]]:
    return [tuple(tensor.shape[1:]) for tensor in tensors]
