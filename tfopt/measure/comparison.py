"""Two models on the same samples: everything that is known of how they differ."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tfopt.measure.divergence import kl_divergence
from tfopt.measure.groups import by_group
from tfopt.measure.mistakes import mistakes
from tfopt.measure.paired import difference
from tfopt.measure.quality import Quality, agreement
from tfopt.report import Difference, Group, Mistakes
from tfopt.tables import metric, signed, text_table
from tfopt.task.losses import each

if TYPE_CHECKING:
    from tfopt.task import Task


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One model against another.

    Args:
        quality: The one.
        reference: The other, the baseline.
        difference: The metric of the one minus that of the other, sample by sample.
        agreement: How far their outputs agree, 0 to 1.
        kl: Mean Kullback-Leibler divergence of the outputs from the other's, in nats; None where
            they are no probabilities.
        groups: The metric of both by class and by group.
        mistakes: What only the one gets wrong; None where samples are not right or wrong.
    """

    quality: Quality
    reference: Quality
    difference: Difference
    agreement: float
    kl: float | None
    groups: tuple[Group, ...]
    mistakes: Mistakes | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON values, without the images."""
        found = self.mistakes
        return {
            "quality": self.quality.to_dict(),
            "reference": self.reference.to_dict(),
            "difference": dataclasses.asdict(self.difference),
            "agreement": self.agreement,
            "kl": self.kl,
            "groups": [dataclasses.asdict(group) for group in self.groups],
            "lost": found.lost if found else None,
            "won": found.won if found else None,
        }

    def __str__(self) -> str:
        lines = [
            str(self.quality),
            f"against {self.reference}",
            f"difference {self.difference}",
            f"agreement {self.agreement:.2%}"
            + (f", KL divergence {self.kl:.4g} nats" if self.kl is not None else ""),
        ]
        if self.mistakes is not None:
            lines.append(
                f"{self.mistakes.lost:,} samples that only this model gets wrong, "
                f"{self.mistakes.won:,} that only the other does"
            )
        if self.groups:
            lines += ["", text_table(*_by_group(self.groups))]
        return "\n".join(lines)


def compare(quality: Quality, reference: Quality, *, task: Task) -> Comparison:
    """Compares two models that were measured on the same samples.

    Args:
        quality: Of the one, as `evaluate` gives it.
        reference: Of the other, the baseline, with the same task and split.
        task: The data.

    Raises:
        SettingError: They were measured with other metrics or on other samples.
        DataError: Their outputs differ in shape, or a function of the task's groups fails.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> task = tfopt.Task.digits()
        >>> quality = tfopt.evaluate(small_cnn(), task=task)
        >>> compare(quality, quality, task=task).agreement
        1.0
    """
    return Comparison(
        quality=quality,
        reference=reference,
        difference=difference(quality, reference, seed=task.seed),
        agreement=agreed(quality, reference),
        kl=divergence(quality, reference, task=task),
        groups=by_group(quality, reference, task=task),
        mistakes=mistakes(quality, reference, task=task),
    )


def agreed(quality: Quality, reference: Quality) -> float:
    """Returns how far a model's outputs agree with another's, taken as its metric takes them.

    Args:
        quality: Of the one.
        reference: Of the other, the baseline.
    """
    kind = None if quality.parts else quality.kind
    return agreement(quality.outputs, reference.outputs, kind=kind)


def divergence(quality: Quality, reference: Quality, *, task: Task) -> float | None:
    """Returns the KL divergence of a model's outputs from another's; None if they are numbers.

    Args:
        quality: Of the one.
        reference: Of the other, the baseline.
        task: Its loss tells what the outputs are.
    """
    if quality.kind == "values" and not quality.parts:
        return None
    losses = each(task.loss, quality.output_names)
    return kl_divergence(quality.outputs, reference.outputs, losses=losses)


def _by_group(groups: tuple[Group, ...]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the groups."""
    header = ["group", "by", "samples", "other", "this", "difference", "p (corrected)"]
    rows = []
    for group in groups:
        cells = [group.name, group.by, f"{group.samples:,}"]
        found = (group.baseline, group.optimized, group.difference)
        if any(part is None for part in found) or group.p_value is None:
            rows.append([*cells, "-", "-", group.reason, "-"])
            continue
        figures = [metric(part.value) for part in found[:2] if part is not None]
        apart = signed(group.difference.value) if group.difference else ""
        rows.append([*cells, *figures, apart, f"{group.p_value:.2g}"])
    return header, rows
