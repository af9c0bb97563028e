"""Knowledge distillation: a model is trained to answer as its teacher does."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, ClassVar

from tfopt.errors import SettingError
from tfopt.files import checksum
from tfopt.fine_tuning import AnyModel, FineTuned, Wrapped
from tfopt.keras_gate import clone, load_model, tf_keras
from tfopt.order import refuse_optimized
from tfopt.selection import select
from tfopt.settings import check_positive, check_share
from tfopt.teaching import TEMPERATURE, WEIGHT, Teaching
from tfopt.technique import Selection, Stage

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation(FineTuned):
    """Trains a model on what a teacher answers, beside the labels.

    Without a student the model that earlier steps have made smaller is taught; with one, that
    takes its place. The teacher is the baseline, or a model of your own. Every other technique that
    fine-tunes can be taught too: `teacher="baseline"`.

    Args:
        student: Path of a Keras model to train instead of the one given.
        teacher: `"baseline"`, or the path of a Keras model. Inputs and outputs are paired by name
            if both models have the same names, else by position.
        temperature: Softens the teacher's probabilities; 2 to 8 are usual.
        weight: The teacher's share in the loss, 0 to 1; the labels have the rest.
        features: Pairs of layers (the teacher's, the student's) whose outputs are to be alike too.
        epochs: Passes over the training data; fractions are allowed. Or `steps`, or `seconds`: see
            `Budgeted`, as for `early_stopping`.
        learning_rate: Peak of the learning rate.
        only: Names or class names of the layers to train; None for all with weights.
        skip: Names or class names of layers to leave as they are.

    Raises:
        SettingError: A setting is out of its range.

    Example:
        >>> layers = [tf_keras.Input((8,)), tf_keras.layers.Dense(4, name="top")]
        >>> wrapped = Distillation(weight=0.9).wrap(tf_keras.Sequential(layers), steps_per_epoch=9)
        >>> wrapped.selection.touched
        ('top',)

    References:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; Romero et al.,
        FitNets: Hints for Thin Deep Nets, 2015.
    """

    stage: ClassVar[Stage] = Stage.STRUCTURE
    headline: ClassVar[tuple[str, ...]] = ("epochs",)

    settled: ClassVar[float] = 0.0
    in_loops: ClassVar[dict[str, str]] = {
        name: way for name, way in FineTuned.in_loops.items() if name != "teacher"
    }

    student: str | None = None
    teacher: str = "baseline"
    temperature: float = TEMPERATURE
    weight: float = WEIGHT
    features: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.features, list | tuple) or not all(map(_is_pair, self.features)):
            raise SettingError(
                received=f"features={self.features!r}",
                expected="pairs (the teacher's layer, the student's layer)",
                fix='write features=(("pool", "pool"),)',
            )
        object.__setattr__(self, "features", tuple(tuple(pair) for pair in self.features))
        check_positive("4 is usual", temperature=self.temperature)
        check_share("try 0.5", weight=self.weight)
        if self.student is not None and not isinstance(self.student, str):
            raise SettingError(
                received=f"student={self.student!r}",
                expected="the path of a Keras model, since a recipe keeps it",
                fix='save it: tfopt.save_model(model, "student.h5"), and pass that path',
            )

    def check_teacher(self) -> None:
        """Accepts any path: the model behind it is loaded when it is needed.

        Raises:
            SettingError: It is none.
        """
        if not isinstance(self.teacher, str):
            raise SettingError(
                received=f"teacher={self.teacher!r}",
                expected='"baseline", or the path of a Keras model, since a recipe keeps it',
                fix='save it: tfopt.save_model(model, "teacher.h5"), and pass that path',
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """The paths of a student and a teacher of their own."""
        student = () if self.student is None else (self.student,)
        return student if self.teacher == "baseline" else (*student, self.teacher)

    @property
    def starts_over(self) -> bool:
        """Whether a student of its own takes the place of the model."""
        return self.student is not None

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be trained.

        Raises:
            SettingError: `only` or `skip` names a layer that is not there.
            TechniqueError: Teacher and student do not go together, or the student is pruned,
                clustered or fake-quantized.
        """
        student = self._student(model)
        self._teaching(model).check(student)
        selection = select(student, _reason_to_skip, only=self.only, skip=self.skip)
        refuse_optimized(student, self.name, trained=selection.touched)
        return selection

    def _trained(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """The student, trained; its files are loaded outside of the task's strategy."""
        for path in self.reads:
            _loaded(path)
        return super()._trained(model, task)

    def _taught(self, model: tf_keras.Model, task: Task) -> Wrapped:
        """The student, with its teacher."""
        return self._wrap(model, model if task.teacher is None else task.teacher)

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns the student, to be fitted; the model given is the baseline that teaches it.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Not needed.
            representative: Not needed.

        Raises:
            TechniqueError: The teacher and the student do not go together.
        """
        self.check_loop(steps_per_epoch)
        source = load_model(model)
        return self._wrap(source, source)

    def _wrap(self, model: tf_keras.Model, baseline: tf_keras.Model) -> Wrapped:
        student = self._student(model)
        selection = self.select(model)
        frozen = [layer for layer in student.layers if layer.name not in selection.touched]
        was = [layer.trainable for layer in frozen]
        for layer in frozen:
            layer.trainable = False
        self._teaching(baseline).teach(student)

        def strip() -> tf_keras.Model:
            stripped = clone(student)
            for layer, trainable in zip(frozen, was, strict=True):
                stripped.get_layer(layer.name).trainable = trainable
            return stripped

        return Wrapped(student, [], strip, selection)

    def begun_with(self, model: tf_keras.Model) -> tf_keras.Model:
        """Returns the student, which later steps are given."""
        return self._student(model)

    def _student(self, model: tf_keras.Model) -> tf_keras.Model:
        """What is to be trained: a model of its own."""
        return clone(model if self.student is None else _loaded(self.student))

    def _teaching(self, baseline: tf_keras.Model) -> Teaching:
        teacher = baseline if self.teacher == "baseline" else _loaded(self.teacher)
        return Teaching(teacher, self.temperature, self.weight, self.features)


def _loaded(path: str) -> tf_keras.Model:
    """The model of a path, shared, loaded anew when the file is another; not to be changed."""
    return _load(path, checksum(path))


@functools.lru_cache(maxsize=2)  # a student and a teacher
def _load(path: str, content: str) -> tf_keras.Model:
    return load_model(path)


def _is_pair(value: Any) -> bool:
    """Whether a value is two names; a string of two letters is none."""
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and all(isinstance(name, str) for name in value)


def _reason_to_skip(layer: tf_keras.layers.Layer) -> str | None:
    """Why a layer is not trained."""
    if not layer.weights:
        return "has no weights"
    return None if layer.trainable_weights else "frozen (trainable=False)"
