"""The float models the recipes start from, trained once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

import tfopt
from tfopt.keras_gate import tf_keras
from tfopt.training import fine_tune, steps_per_epoch, total_steps

layers = tf_keras.layers


Architecture = Literal["auto", "cnn", "resnet8", "depthwise"]
ARCHITECTURES = get_args(Architecture)
Augmentation = Literal["flip and shift", "flip and shift each"]

# Smaller images, of digits say, are not themselves when flipped.
_NATURAL_IMAGE = 32
_LEARNING_RATE = 5e-3
_STEPS = "steps"


class UnfinishedError(Exception):
    """The time was over before a baseline was trained: the same call goes on where it was."""


def load_or_train(
    task: tfopt.Task,
    *,
    epochs: float | Sequence[float],
    cache: str | Path,
    architecture: Architecture = "auto",
    augmentation: Augmentation = "flip and shift",
    minutes: float | None = None,
) -> tf_keras.Model:
    """Returns a trained baseline for the task's images, from the cache if it is there.

    Images of 32 pixels and more are flipped and shifted at random in training.

    Args:
        task: Images of shape (height, width, channels) and their classes.
        epochs: How long to train. Several numbers are as many cycles of the learning rate
            (Loshchilov and Hutter 2017, warm restarts).
        cache: Directory of trained baselines. Each epoch is kept: what was stopped goes on there,
            with other random numbers than in one go.
        architecture: Which net; `auto` takes one that suits the size of the images.
        augmentation: Whether a batch is shifted as one, or `each` image by itself, which a net
            that is trained for longer does not learn by heart.
        minutes: How long to train at the most, to the end of an epoch; None for no end.

    Raises:
        UnfinishedError: The minutes are over.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    images, _ = task.train.first()
    if not isinstance(images, np.ndarray) or images.ndim != 4 or not task.class_names:
        raise ValueError("the recipes train a baseline for images only; give your own with --model")
    tf_keras.utils.set_random_seed(task.seed)  # the initial weights, too
    model = build(images.shape[1:], len(task.class_names), architecture)
    about = f"{task.seed} {task.batch_size} {_LEARNING_RATE}"
    about = (
        f"{about} {augmentation if _natural(task) else ''} {task.fingerprint()} {model.to_json()}"
    )
    cycles = tuple(epochs) if isinstance(epochs, Sequence) else (epochs,)
    for done in range(1, len(cycles) + 1):
        key = hashlib.sha256(f"{cycles[:done]} {about}".encode()).hexdigest()[:12]
        file = Path(cache) / f"{model.name}-{key}.keras"
        if file.exists():
            model = tfopt.load_model(file)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        steps = total_steps(cycles[done - 1], steps_per_epoch(task))
        epoch_by_epoch = _Kept(file.with_suffix(".part.npz"), steps, end)
        # each part sees the images in an order and with changes of its own
        part = dataclasses.replace(task, seed=task.seed + done - 1 + epoch_by_epoch.kept_steps)
        fine_tune(
            model,
            augmented(part, augmentation),
            epochs=cycles[done - 1],
            learning_rate=_LEARNING_RATE,
            callbacks=[epoch_by_epoch],
        )
        if not epoch_by_epoch.is_done:
            raise UnfinishedError(f"{file.name}: {epoch_by_epoch.steps} of {steps} steps")
        tfopt.save_model(model, file)
        epoch_by_epoch.file.unlink()
    return model


class _Kept(tf_keras.callbacks.Callback):
    """Keeps the state of a training after each epoch, begins with what is kept, stops in time.

    Args:
        file: Where: weights and the optimizer's variables, its count of steps among them.
        aim: How many steps there are to be.
        end: When to stop, by the monotonic clock; None for never.
    """

    def __init__(self, file: Path, aim: int, end: float | None) -> None:
        super().__init__()
        self.file = file
        self._aim, self._end = aim, end

    @property
    def kept_steps(self) -> int:
        """How many steps were trained in earlier calls."""
        if not self.file.exists():
            return 0
        with np.load(self.file) as kept:
            return int(kept[_STEPS])

    @property
    def steps(self) -> int:
        """How many steps are trained, in this call and before."""
        return int(self.model.optimizer.iterations)

    @property
    def is_done(self) -> bool:
        """Whether they are all."""
        return self.steps >= self._aim

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Goes on where it was."""
        self.model.optimizer.build(self.model.trainable_variables)
        if self.file.exists():
            with np.load(self.file) as kept:
                for name, variable in self._state().items():
                    variable.assign(kept[name])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keeps what there is, all of it or nothing."""
        new = self.file.with_suffix(".new.npz")
        np.savez(new, **{name: variable.numpy() for name, variable in self._state().items()})
        new.rename(self.file)
        late = self._end is not None and time.monotonic() >= self._end
        if late or self.is_done:
            self.model.stop_training = True

    def _state(self) -> dict[str, tf.Variable]:
        optimizer = self.model.optimizer
        variables = enumerate([*self.model.variables, *optimizer.variables])
        return {_STEPS: optimizer.iterations, **{str(number): one for number, one in variables}}


def augmented(task: tfopt.Task, augmentation: Augmentation = "flip and shift") -> tfopt.Task:
    """The task as the baselines are trained on it: natural images change from epoch to epoch."""
    return task.augmented(_AUGMENTATIONS[augmentation]) if _natural(task) else task


def _natural(task: tfopt.Task) -> bool:
    """Whether the inputs are images that are still themselves when flipped."""
    images, _ = task.train.first()
    return isinstance(images, np.ndarray) and min(images.shape[1:3]) >= _NATURAL_IMAGE


def build(
    shape: tuple[int, ...], classes: int, architecture: Architecture = "auto"
) -> tf_keras.Model:
    """An untrained net; `auto` is a ResNet-8 for images of 32 pixels and more, else a CNN."""
    if architecture == "auto":
        architecture = "resnet8" if min(shape[:2]) >= _NATURAL_IMAGE else "cnn"
    builders = {"cnn": cnn, "resnet8": resnet8, "depthwise": depthwise}
    return builders[architecture](shape, classes)


def cnn(shape: tuple[int, ...], classes: int) -> tf_keras.Model:
    """Four convolutions with batch norm, all but the first with a stride, and a classifier."""
    image = layers.Input(shape, name="image")
    x = _conv(image, 16, "conv1")
    x = _conv(x, 32, "conv2", strides=2)
    x = _conv(x, 32, "conv3", strides=2)
    x = _conv(x, 64, "conv4", strides=2)
    return _classifier(image, x, classes, "cnn")


def resnet8(shape: tuple[int, ...], classes: int) -> tf_keras.Model:
    """ResNet-8 of MLPerf Tiny (Banbury et al. 2021): three residual blocks of 16, 32, 64 channels.

    Larger images are first reduced by a strided stem.
    """
    image = layers.Input(shape, name="image")
    x = _conv(image, 16, "stem", strides=max(1, min(shape[:2]) // 32))
    for index, filters in enumerate((16, 32, 64)):
        strides = 1 if index == 0 else 2
        name = f"block{index + 1}"
        branch = _conv(x, filters, f"{name}_a", strides=strides)
        branch = _conv(branch, filters, f"{name}_b", activation=False)
        if strides > 1:
            x = _conv(x, filters, f"{name}_skip", strides=strides, size=1, activation=False)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([branch, x]))
    return _classifier(image, x, classes, "resnet8")


def depthwise(shape: tuple[int, ...], classes: int) -> tf_keras.Model:
    """A MobileNet (Howard et al. 2017) for small images: 13 layers, depthwise-separable, ReLU6."""
    image = layers.Input(shape, name="image")
    x = _conv(image, 32, "stem", relu6=True)
    blocks = ((48, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1))
    for index, (filters, strides) in enumerate(blocks):
        name = f"block{index + 1}"
        x = layers.DepthwiseConv2D(
            3, strides, padding="same", use_bias=False, name=f"{name}_depthwise"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_depthwise_bn")(x)
        x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
        x = _conv(x, filters, f"{name}_pointwise", size=1, relu6=True)
    return _classifier(image, x, classes, "depthwise")


def _flip_and_shift(images: Any) -> Any:
    """Mirrors each image or not, and moves the batch by up to an eighth of its size."""
    _, height, width, channels = images.shape
    y, x = height // 8, width // 8
    padded = tf.pad(images, [[0, 0], [y, y], [x, x], [0, 0]], "REFLECT")
    moved = tf.image.random_crop(padded, [tf.shape(images)[0], height, width, channels])
    return tf.image.random_flip_left_right(moved)


def _flip_and_shift_each(images: Any) -> Any:
    """Mirrors each image or not, and moves each by up to an eighth of its size."""
    for axis in (1, 2):
        size = images.shape[axis]
        shift = tf.random.uniform([tf.shape(images)[0], 1], -(size // 8), size // 8 + 1, tf.int32)
        place = tf.abs(shift + tf.range(size))
        place = size - 1 - tf.abs(size - 1 - place)  # the edges are mirrored
        if axis == 2:
            place = tf.where(tf.random.uniform(tf.shape(shift)) < 0.5, place, size - 1 - place)
        images = tf.gather(images, place, axis=axis, batch_dims=1)
    return images


_AUGMENTATIONS: dict[Augmentation, Callable[[Any], Any]] = {
    "flip and shift": _flip_and_shift,
    "flip and shift each": _flip_and_shift_each,
}


def _conv(
    x: Any,
    filters: int,
    name: str,
    *,
    strides: int = 1,
    size: int = 3,
    activation: bool = True,
    relu6: bool = False,
) -> Any:
    """Convolution, batch norm, and ReLU unless told otherwise."""
    options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, size, strides, name=f"{name}_conv", **options)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(6.0 if relu6 else None, name=f"{name}_relu")(x) if activation else x


def _classifier(image: Any, x: Any, classes: int, name: str) -> tf_keras.Model:
    """Global average pooling and a softmax over the classes."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return tf_keras.Model(image, x, name=name)
