"""The float models the recipes start from, trained once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

import tfopt
from tfopt.keras_gate import tf_keras
from tfopt.training import fine_tune

layers = tf_keras.layers


def load_or_train(task: tfopt.Task, *, epochs: float, cache: str | Path) -> tf_keras.Model:
    """Returns a trained baseline for the task's images, from the cache if it is there.

    Args:
        task: Images of shape (height, width, channels) and their classes.
        epochs: How long to train.
        cache: Directory of trained baselines.
    """
    images, _ = task.train.first()
    if not isinstance(images, np.ndarray) or images.ndim != 4 or not task.class_names:
        raise ValueError("the recipes train a baseline for images only; give your own with --model")
    tf_keras.utils.set_random_seed(task.seed)  # the initial weights, too
    model = build(images.shape[1:], len(task.class_names))
    key = f"{model.to_json()}{task.fingerprint()}{epochs}{task.seed}{task.batch_size}"
    file = Path(cache) / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.keras"
    if file.exists():
        return tfopt.load_model(file)
    fine_tune(model, task, epochs=epochs, learning_rate=5e-3)
    file.parent.mkdir(parents=True, exist_ok=True)
    tfopt.save_model(model, file)
    return model


def build(shape: tuple[int, ...], classes: int) -> tf_keras.Model:
    """A small net that suits the size of the images: ResNet-8 from 32 pixels on, else a CNN."""
    return resnet8(shape, classes) if min(shape[:2]) >= 32 else cnn(shape, classes)


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


def _conv(
    x: Any, filters: int, name: str, *, strides: int = 1, size: int = 3, activation: bool = True
) -> Any:
    """Convolution, batch norm, and ReLU unless told otherwise."""
    options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, size, strides, name=f"{name}_conv", **options)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x


def _classifier(image: Any, x: Any, classes: int, name: str) -> tf_keras.Model:
    """Global average pooling and a softmax over the classes."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return tf_keras.Model(image, x, name=name)
