"""What an app has to know of the data a model was made for, kept in its recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfopt.data import leaves

if TYPE_CHECKING:
    from tfopt.task.base import TaskBase

_SAMPLES = 256  # show the range of the inputs well enough to know a usual one
_IMAGES = ("digits", "tfds", "image_folder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputRange:
    """The numbers that an input of a model was seen to take.

    Args:
        name: Of the input, its position in a tuple, or empty if it is the only one.
        low: The smallest.
        high: The largest.
    """

    name: str
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """What is fed to a model, and what its outputs mean.

    Args:
        class_names: The names of the classes, in the order of the outputs; None if there are none.
        inputs: The ranges of the inputs.
        images: Whether the inputs are known to be images, of pixels from 0 to 255 or from 0 to 1.

    Example:
        >>> import tfopt
        >>> usage = Usage.of(tfopt.Task.digits())
        >>> usage.inputs, usage.images
        ((InputRange(name='', low=0.0, high=1.0),), True)
        >>> Usage.from_dict(usage.to_dict()) == usage
        True
    """

    class_names: tuple[str, ...] | None = None
    inputs: tuple[InputRange, ...] = ()
    images: bool = False

    @classmethod
    def of(cls, task: TaskBase) -> Usage:
        """Reads it off a task."""
        inputs, _ = next(iter(task.validation.batches(_SAMPLES)))
        return cls(
            class_names=task.class_names,
            inputs=tuple(
                InputRange(name=name, low=float(array.min()), high=float(array.max()))
                for name, array in leaves(inputs)
            ),
            images=(task.source or {}).get("kind") in _IMAGES,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        names = None if self.class_names is None else list(self.class_names)
        inputs = [dataclasses.asdict(one) for one in self.inputs]
        return {"class_names": names, "inputs": inputs, "images": self.images}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Usage:
        """Reads what `to_dict` wrote."""
        names = record.get("class_names")
        return cls(
            class_names=None if names is None else tuple(map(str, names)),
            inputs=tuple(InputRange(**one) for one in record.get("inputs", ())),
            images=bool(record.get("images", False)),
        )
