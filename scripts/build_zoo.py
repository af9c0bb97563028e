"""Makes the shipped models of `tflite_models/` by the recipes, and the table of them.

A model that is there is not made again unless `--overwrite` is set; the table, the reports and the
model cards are written from what is there.

    python scripts/build_zoo.py --data_dir=... --only='mnist_*'
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from absl import app, flags
from zoo_cards import filled

import tfopt
from tfopt.files import checksum, write_file
from tfopt.reporting.card import model_card
from tfopt.reporting.saved import read_result
from tfopt.tables import markdown_table

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "tflite_models"
LIMIT = 300_000

_ONLY = flags.DEFINE_string("only", "*", "Models to make, with * and ?.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS sets are prepared.")
_CACHE = flags.DEFINE_string("cache", ".cache/baselines", "Directory of trained baselines.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Make models again that are there.")
_CHECK = flags.DEFINE_bool("check", False, "Make nothing: say whether all is as it should be.")


@dataclasses.dataclass(frozen=True)
class Shipped:
    """A shipped model.

    Args:
        name: Its directory.
        recipe: The script that makes it.
        flags: What the script is given, beside where data, baselines and results are.
    """

    name: str
    recipe: str
    flags: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that makes it, as a reader would type it."""
        return " ".join(["python", f"recipes/{self.recipe}.py", *self.flags])


_NETS = {
    "digits_cnn": ("--dataset=digits",),
    "mnist_cnn": ("--dataset=mnist", "--batch_size=64", "--baseline_epochs=6"),
    "cifar10_depthwise": (
        *("--dataset=cifar10", "--architecture=depthwise"),
        *("--batch_size=64", "--baseline_epochs=24"),
    ),
}
_FORMS = {
    "float32": ("01_post_training_int8", ("--numerics=float32",)),
    "int8": ("01_post_training_int8", ()),
    "int4": ("01_post_training_int8", ("--numerics=int4_weights",)),
    "int8_small": ("12_structured_chain", ()),
}
_TOO_LONG = "cifar10_depthwise_int8_small"  # trains for an hour
ZOO = tuple(
    Shipped(f"{net}_{form}", recipe, (*data, *extra))
    for net, data in _NETS.items()
    for form, (recipe, extra) in _FORMS.items()
    if f"{net}_{form}" != _TOO_LONG
)


def main(_: list[str]) -> int:
    """Makes what is asked for, one after another; 1 if a check finds something wrong."""
    if _CHECK.value:
        wrong = _wrong()
        print("\n".join(wrong) or "All is as it should be.")
        return int(bool(wrong))
    chosen = [shipped for shipped in ZOO if fnmatch.fnmatchcase(shipped.name, _ONLY.value)]
    if not chosen:
        raise SystemExit(f"No model is called {_ONLY.value!r}: {', '.join(s.name for s in ZOO)}.")
    for shipped in chosen:
        if _OVERWRITE.value or not (MODELS / shipped.name).exists():
            _make(shipped)
    for name, text in _written().items():
        write_file(MODELS / name, text)
    return 0


def _written() -> dict[str, str]:
    """What stands beside the models: their page, checksums, reports and cards."""
    sums = "".join(f"{_sha256(shipped)}  {shipped.name}/model.tflite\n" for shipped in _there())
    texts = {"README.md": page(), "SHA256SUMS": sums}
    for shipped in _there():
        saved = read_result(MODELS / shipped.name)
        card = model_card(saved.report, recipe=saved.recipe, tflite=saved.tflite, name=shipped.name)
        dataset, *_ = saved.recipe["made_from"]["source"].get("name", "digits").split(":")
        texts[f"{shipped.name}/report.md"] = saved.report.to_markdown()
        texts[f"{shipped.name}/model_card.md"] = filled(card, dataset)
    return texts


def _wrong() -> list[str]:
    """What is not as this script makes it."""
    missing = [f"{shipped.name} is missing" for shipped in ZOO if shipped not in _there()]
    stale = [
        f"{name} is not of these models"
        for name, text in _written().items()
        if not (MODELS / name).exists() or (MODELS / name).read_text(encoding="utf-8") != text
    ]
    edited = [
        f"{shipped.name}/model.tflite is not the file that its recipe.json names"
        for shipped in _there()
        if _record(shipped, "recipe.json")["made_from"].get("tflite_sha256") != _sha256(shipped)
    ]
    return missing + stale + edited


def _make(shipped: Shipped) -> None:
    """Runs the recipe of a model."""
    command = [sys.executable, str(ROOT / "recipes" / f"{shipped.recipe}.py"), *shipped.flags]
    command += [f"--output={MODELS / shipped.name}", f"--baselines={_CACHE.value}", "--overwrite"]
    if _DATA_DIR.value and "--dataset=digits" not in shipped.flags:
        command.append(f"--data_dir={_DATA_DIR.value}")
    subprocess.run(command, check=True)
    size = (MODELS / shipped.name / "model.tflite").stat().st_size
    if size > LIMIT:
        raise SystemExit(
            f"{shipped.name} has {size:,} bytes, more than the {LIMIT:,} of a shipped model."
        )


def _there() -> list[Shipped]:
    return [shipped for shipped in ZOO if (MODELS / shipped.name / "model.tflite").exists()]


def _record(shipped: Shipped, name: str) -> dict[str, Any]:
    """A JSON file of a result; read as it is, since building its techniques loads TensorFlow."""
    record: dict[str, Any] = json.loads((MODELS / shipped.name / name).read_text(encoding="utf-8"))
    return record


def _sha256(shipped: Shipped) -> str:
    return checksum(MODELS / shipped.name / "model.tflite")


def page() -> str:
    """The page of the shipped models, from their reports."""
    rows = []
    for shipped in _there():
        last = tfopt.Report.from_dict(_record(shipped, "report.json")).steps[-1]
        score = last.test or last.validation
        rows.append(
            [
                shipped.name,
                f"{score.value:.4f} [{score.low:.4f}, {score.high:.4f}]",
                f"{score.samples:,}",
                f"{last.bytes:,}",
                f"{last.deflated_bytes:,}",
                f"{last.macs:,}",
                f"`{shipped.command}`",
            ]
        )
    columns = ["model", "test accuracy", "images", "bytes", "deflated", "MACs", "made by"]
    table = markdown_table(columns, rows)
    return _PAGE.format(table=table)


_PAGE = """# Shipped models

{table}

Each directory is a result as `result.save()` writes it: `model.tflite`, `report.json` and its
views, `recipe.json` and the baseline it was made from. `SHA256SUMS` has the checksums of the
`model.tflite` files (`cd tflite_models && sha256sum -c SHA256SUMS`). `tfopt reproduce DIR` makes a
file again, `tfopt report DIR` draws its page, `tfopt ship DIR --for=android --output=APP` makes
what an app needs of it. `scripts/build_zoo.py` makes all of them and this page. A test checks that
each file gives the accuracy its report claims, on the data that is at hand.
"""


if __name__ == "__main__":
    app.run(main)
