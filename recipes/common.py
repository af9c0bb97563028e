"""What the recipes share: flags, the data and baseline they name, and the run itself."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

import tfopt
from tfopt import flags as shared
from tfopt.cli import INTERRUPTED
from tfopt.commands import import_tensorflow
from tfopt.errors import TfoptError
from tfopt.files import refuse_existing

import_tensorflow()  # quietly, and before anything else imports it

import baselines  # noqa: E402

from tfopt.training.strategies import is_chief  # noqa: E402

MODEL = flags.DEFINE_string(
    "model", None, "Path of a trained Keras model; without it a small baseline is trained."
)
ARCHITECTURE = flags.DEFINE_enum(
    "architecture", "auto", baselines.ARCHITECTURES, "Which small baseline is trained."
)
BASELINE_EPOCHS = flags.DEFINE_float("baseline_epochs", 20, "Epochs to train the baseline.")
EPOCHS = flags.DEFINE_float("epochs", 3, "Epochs of fine-tuning for each step.")
SPARSITY = flags.DEFINE_float(
    "sparsity", 0.5, "Share of the weights that pruning sets to zero, 0 to 1."
)
CLUSTERS = flags.DEFINE_integer("clusters", 16, "Distinct weights a layer keeps in clustering.")
BASELINES = flags.DEFINE_string("baselines", ".cache/baselines", "Directory of trained baselines.")
SMOKE = flags.DEFINE_bool("smoke", False, "Train next to nothing: shows only that it runs.")

flags.adopt_module_key_flags(shared)  # a recipe's --help lists them too

_SMOKE_EPOCHS = 0.5


def start(main: Callable[[list[str]], None]) -> None:
    """Runs a recipe with its flags: what tfopt refuses is a line, not a traceback."""

    def told(argv: list[str]) -> None:
        try:
            main(argv)
        except TfoptError as error:
            sys.exit(f"{Path(argv[0]).name}: {error}")
        except KeyboardInterrupt:
            print(f"{Path(argv[0]).name}: interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)

    app.run(told)


def epochs() -> float:
    """Epochs of fine-tuning for each step."""
    return _few(EPOCHS.value)


def run(techniques: Sequence[tfopt.Technique]) -> None:
    """Optimizes the model with the techniques, prints the report and saves the result."""
    logging.set_verbosity(logging.WARNING)  # or each data set tells of every file it reads
    refuse_existing(shared.OUTPUT.value, overwrite=shared.OVERWRITE.value)
    task = shared.task_from_flags()
    baseline: object = MODEL.value
    if baseline is None:
        if task.strategy == "multi_worker":
            raise app.UsageError("--strategy=multi_worker needs --model, the same for each worker")
        baseline = baselines.load_or_train(
            task,
            epochs=_few(BASELINE_EPOCHS.value),
            cache=BASELINES.value,
            architecture=ARCHITECTURE.value,
        )
    target = shared.target_from_flags()
    if SMOKE.value:
        target = dataclasses.replace(target, refine=False)
    result = tfopt.optimize(baseline, techniques, task=task, target=target)
    if not is_chief(task):
        return
    print(result.report)
    directory = result.save(shared.OUTPUT.value, overwrite=shared.OVERWRITE.value)
    for file in sorted(Path(directory).iterdir()):
        print(f"wrote {file} ({file.stat().st_size:,} bytes)")
    print(f"The report: {directory / 'report.html'} (opens in any browser, without a network)")


def _few(asked: float) -> float:
    """Epochs as asked for, but next to none with `--smoke`."""
    return min(_SMOKE_EPOCHS, asked) if SMOKE.value else asked
