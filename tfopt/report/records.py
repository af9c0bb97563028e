"""What was measured: plain records, which views draw and files keep."""

from __future__ import annotations

import dataclasses

from tfopt.tables import signed
from tfopt.technique import Skipped


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric over one split of the data, with its 95 % confidence interval.

    Args:
        value: The metric, in its own units (accuracy is a share, 0 to 1).
        low: Lower end of the interval.
        high: Upper end of the interval.
        samples: How many samples were evaluated.
    """

    value: float
    low: float
    high: float
    samples: int


@dataclasses.dataclass(frozen=True)
class Difference:
    """A metric of one model minus that of another, on the same samples.

    Args:
        value: The difference, in the metric's units.
        low: Lower end of its 95 % confidence interval.
        high: Upper end of it.
        p_value: Of McNemar's exact test, where each sample is right or wrong; else None.
    """

    value: float
    low: float
    high: float
    p_value: float | None = None

    @property
    def within_noise(self) -> bool:
        """Whether chance alone can have made the difference, as far as these samples tell."""
        if self.p_value is not None:
            return self.p_value >= 0.05
        return not (self.low > 0 or self.high < 0)  # an interval of NaN tells nothing

    def turned(self) -> Difference:
        """Returns the difference the other way round."""
        return Difference(-self.value, -self.high, -self.low, self.p_value)

    def __str__(self) -> str:
        noise = ", within the noise" if self.within_noise else ""
        ends = f"{signed(self.low)} to {signed(self.high)}"
        return f"{signed(self.value)} (95 % interval {ends}{noise})"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One latency over another, measured in turns.

    Args:
        value: The ratio; below 1 is faster.
        low: Lower end of its 95 % confidence interval.
        high: Upper end of it.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"x{self.value:.2f} (95 % interval {self.low:.2f} to {self.high:.2f})"


@dataclasses.dataclass(frozen=True)
class OutputScore:
    """The metric of one output of a model that has several.

    Args:
        output: The output's name.
        metric: The metric's name.
        score: Its value.
    """

    output: str
    metric: str
    score: Score


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The validation data in the middle of a training.

    Args:
        step: After how many steps.
        metric: The task's metric on all validation samples.
    """

    step: int
    metric: float


@dataclasses.dataclass(frozen=True)
class Training:
    """What one training did.

    Args:
        planned_steps: How many steps the learning rate was planned for.
        steps: How many were made: fewer after an early stop.
        seconds: How long that took, evaluations included.
        losses: The mean loss of each epoch, the last one perhaps a part of one.
        evaluations: The metric, where it was followed.
        best_step: The step whose weights were kept; the last one if nothing was followed.
    """

    planned_steps: int
    steps: int
    seconds: float
    losses: tuple[float, ...]
    evaluations: tuple[Evaluation, ...]
    best_step: int


@dataclasses.dataclass(frozen=True)
class Step:
    """One row of a report: a `.tflite` as measured after a step.

    Args:
        name: The step: the technique's name, or what else was done.
        settings: The technique's settings that are not defaults, such as `sparsity=0.5`.
        numerics: The numbers the measured file computes with.
        validation: The metric on all validation samples, in the interpreter.
        test: The metric on all test samples; only the first and the last row have one.
        agreement: How far the outputs agree with the baseline's on the validation samples, 0 to 1.
        bytes: Size of the file.
        deflated_bytes: Size of the file compressed, as an app's package stores it.
        latency_ms: Median single-thread latency of one sample, in milliseconds.
        latency_p10_ms: Its 10th percentile.
        latency_p90_ms: Its 90th percentile.
        macs: Multiply-accumulate operations of one inference.
        parameters: Weights and biases in the file.
        sparsity: Share of the weights that are zero, 0 to 1.
        unique_weights: Largest number of distinct values among weights that share a scale.
        seconds: How long the step took, conversion and measurement included.
        touched: Names of the layers the step changed.
        skipped: The layers it left alone, each with its reason.
        warnings: What else the reader has to know.
        difference: The validation metric minus the baseline's, sample by sample.
        kl: Mean Kullback-Leibler divergence of the outputs from the baseline's on the validation
            samples, in nats; None where they are no probabilities.
        latency_ratio: The latency over the baseline's, measured in turns; None for the baseline.
        latencies_ms: The 0th, 5th, ... 100th percentile of the latency, 21 numbers, to draw.
        arena_bytes: Memory that the activations take at once, at least.
        outputs: The validation metric of each output, where the task names one for each.
        trainings: How the step trained, each time it did.
        step_before: The position of the row that the step went on from; None for the row above.
    """

    name: str
    numerics: str
    validation: Score
    test: Score | None
    agreement: float
    bytes: int
    deflated_bytes: int
    latency_ms: float
    latency_p10_ms: float
    latency_p90_ms: float
    macs: int
    parameters: int
    sparsity: float
    unique_weights: int
    seconds: float
    settings: str = ""
    touched: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    difference: Difference | None = None
    kl: float | None = None
    latency_ratio: Ratio | None = None
    latencies_ms: tuple[float, ...] = ()
    arena_bytes: int | None = None
    outputs: tuple[OutputScore, ...] = ()
    trainings: tuple[Training, ...] = ()
    step_before: int | None = None


@dataclasses.dataclass(frozen=True)
class Budget:
    """One budget of the target against what was measured.

    Args:
        name: The target's field, such as `max_bytes`.
        limit: The most that may be spent.
        spent: What was spent.
        measured: What was measured and on what, in words.
    """

    name: str
    limit: float
    spent: float
    measured: str

    @property
    def kept(self) -> bool:
        """Whether the budget holds."""
        return self.spent <= self.limit


@dataclasses.dataclass(frozen=True)
class Change:
    """A step against another one.

    Args:
        metric: Difference of the validation metric, in its units.
        bytes: Ratio of the file sizes (0.25: a quarter of the bytes).
        deflated_bytes: Ratio of the compressed sizes.
        latency: Ratio of the latencies, measured in turns in one run.
    """

    metric: float
    bytes: float
    deflated_bytes: float
    latency: float

    @classmethod
    def between(cls, step: Step, reference: Step) -> Change:
        """Measures `step` against `reference`."""
        return cls(
            metric=step.validation.value - reference.validation.value,
            bytes=step.bytes / reference.bytes,
            deflated_bytes=step.deflated_bytes / reference.deflated_bytes,
            latency=_latency_ratio(step, reference),
        )


def _latency_ratio(step: Step, reference: Step) -> float:
    """The ratio of the turns, which is surer than that of the medians, where it is known."""
    if step.latency_ratio is None:
        return step.latency_ms / reference.latency_ms
    return step.latency_ratio.value / (reference.latency_ratio or Ratio(1, 1, 1)).value


@dataclasses.dataclass(frozen=True)
class Trial:
    """One way of making the file after training, tried on the validation data.

    Args:
        name: The techniques in order, or "as it is".
        validation: The metric; None if it was not measured.
        error: Mean squared difference of the outputs from the float model's, as a share of their
            variance: 0 is the same function. None if it was not measured.
        bytes: Size of the file.
        seconds: How long it took.
        chosen: Whether its file was taken.
        reason: Why it could not be taken or why it was not tried; empty if neither.
    """

    name: str
    validation: Score | None
    error: float | None
    bytes: int
    seconds: float
    chosen: bool = False
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class LayerSensitivity:
    """What a file would gain from more bits in one layer, measured in the interpreter.

    Args:
        layer: The Keras layer.
        error: The error of the outputs, as in `Trial`, with that layer alone kept in finer numbers.
        gain: How much smaller that is than without.
        cost: What keeping it costs, as a share of the file's MACs (or bytes, for 4-bit weights).
        kept: The numerics it was kept in, in the end; empty if it was not.
        reason: Why no file can be made with that layer in finer numbers, so that nothing is gained;
            empty if one can.
    """

    layer: str
    error: float
    gain: float
    cost: float
    kept: str = ""
    reason: str = ""
