"""The rows of the table: models by name, and how each is built."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfopt.task import Task

KERASES = ("tf_keras", "keras")

# Millions of weights with ten classes, smallest first.
_IN_BOTH: dict[str, float] = {
    "MobileNetV3Small": 1.0,
    "MobileNetV2": 2.3,
    "MobileNetV3Large": 3.0,
    "MobileNet": 3.2,
    "EfficientNetB0": 4.1,
    "NASNetMobile": 4.3,
    "EfficientNetV2B0": 5.9,
    "EfficientNetB1": 6.6,
    "EfficientNetV2B1": 6.9,
    "DenseNet121": 7.0,
    "EfficientNetB2": 7.8,
    "EfficientNetV2B2": 8.8,
    "EfficientNetB3": 10.8,
    "DenseNet169": 12.7,
    "EfficientNetV2B3": 12.9,
    "EfficientNetB4": 17.7,
    "DenseNet201": 18.3,
    "EfficientNetV2S": 20.3,
    "Xception": 20.9,
    "InceptionV3": 21.8,
    "ResNet50V2": 23.6,
    "ResNet50": 23.6,
    "ConvNeXtTiny": 27.8,
    "EfficientNetB5": 28.5,
    "EfficientNetB6": 41.0,
    "ResNet101V2": 42.6,
    "ResNet101": 42.7,
    "ConvNeXtSmall": 49.5,
    "EfficientNetV2M": 53.2,
    "InceptionResNetV2": 54.4,
    "ResNet152V2": 58.4,
    "ResNet152": 58.4,
    "EfficientNetB7": 64.1,
    "VGG16": 33.6,
    "VGG19": 39.0,
    "NASNetLarge": 85.0,
    "ConvNeXtBase": 87.6,
    "EfficientNetV2L": 117.8,
    "ConvNeXtLarge": 196.2,
    "ConvNeXtXLarge": 348.2,
}
_IN_TF_KERAS: dict[str, float] = {
    "RegNetX002": 2.3,
    "RegNetY002": 2.8,
    "RegNetY004": 3.9,
    "RegNetX004": 4.8,
    "RegNetY006": 5.5,
    "RegNetX006": 5.7,
    "RegNetY008": 5.5,
    "RegNetX008": 6.6,
    "RegNetX016": 8.3,
    "RegNetY016": 10.3,
    "RegNetX032": 14.3,
    "RegNetY032": 17.9,
    "RegNetY040": 19.6,
    "RegNetX040": 20.8,
    "RegNetX064": 24.6,
    "RegNetY064": 29.3,
    "ResNetRS50": 33.7,
    "RegNetY080": 37.2,
    "RegNetX080": 37.7,
    "RegNetX120": 43.9,
    "RegNetY120": 49.6,
    "RegNetX160": 52.3,
    "ResNetRS101": 61.7,
    "RegNetY160": 80.6,
    "ResNetRS152": 84.7,
    "ResNetRS200": 91.3,
    "RegNetX320": 105.3,
    "ResNetRS270": 127.9,
    "RegNetY320": 141.4,
    "ResNetRS350": 162.0,
    "ResNetRS420": 189.8,
}
_SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
_HEAVY = 60.0
_CALM = 1.5  # standard deviations above 0


@dataclasses.dataclass(frozen=True)
class Row:
    """A model of the table.

    Args:
        group: `zoo` or `applications`.
        keras: The Keras it is built in.
        model: Its name there.
        millions: Of weights; 0 for a small one.
    """

    group: str
    keras: str
    model: str
    millions: float = 0.0

    @property
    def name(self) -> str:
        """Its name on the command line, and its file's."""
        return f"{self.group}/{self.keras}/{self.model}"

    @property
    def heavy(self) -> bool:
        """Whether nothing else should run beside it."""
        return self.millions > _HEAVY

    @property
    def samples(self) -> int:
        """How many random samples it is trained and calibrated with."""
        return 64 if self.group == "zoo" else 32

    def build(self) -> Any:
        """Returns the model, settled."""
        keras = importlib.import_module(self.keras)
        if self.group == "zoo":
            return _entry(self.model).build(keras)
        from tfopt.testing.zoo import settle

        keras.utils.set_random_seed(0)
        size = _SMALLEST.get(self.model, 32)
        builder = getattr(keras.applications, self.model)
        model = builder(weights=None, input_shape=(size, size, 3), classes=10)
        _make_calm(model)
        settle(model, high=self.high)
        return model

    @property
    def high(self) -> float:
        """What the pixels of an application are below."""
        rescaling = ("EfficientNet", "ConvNeXt", "MobileNetV3", "RegNet", "ResNetRS")
        return 256.0 if self.model.startswith(rescaling) else 1.0

    def task(self, model: Any) -> Task:
        """Returns random data for the model, or for what tfopt made of it."""
        from tfopt.testing.zoo import random_task

        if self.group == "zoo":
            return _entry(self.model).task(model, samples=self.samples)
        return random_task(model, samples=self.samples, high=self.high)


def _make_calm(model: Any) -> None:
    """Moves activations off the bend of their functions, as those of trained models are.

    Each layer of a random network with batch norm makes any error larger: after fifty of them
    rounding alone leaves nothing of the outputs that a wrong file could differ from.

    References:
        Yang et al., "A Mean Field Theory of Batch Normalization", ICLR 2019.
    """
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization" and layer.beta is not None:
            layer.beta.assign(_CALM + 0.0 * layer.beta)


def all_rows() -> list[Row]:
    """Returns every row: the zoo first, then the applications from small to large."""
    from tfopt.testing.zoo import MODELS

    zoo = [
        Row("zoo", keras, entry.name)
        for keras in KERASES
        for entry in MODELS
        if entry.only in (None, keras)
    ]
    applications = [
        Row("applications", keras, name, millions)
        for keras, found in (("tf_keras", _IN_BOTH | _IN_TF_KERAS), ("keras", _IN_BOTH))
        for name, millions in found.items()
    ]
    return zoo + sorted(applications, key=lambda row: row.millions)


def row_named(name: str) -> Row:
    """Returns the row of a name."""
    return next(row for row in all_rows() if row.name == name)


@functools.cache
def _entries() -> dict[str, Any]:
    from tfopt.testing.zoo import MODELS

    return {entry.name: entry for entry in MODELS}


def _entry(name: str) -> Any:
    return _entries()[name]
