"""The dependency rule: each module imports only from lower levels, and importing tfopt is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tfopt"
SHIPPED = str(PACKAGE.parent / "tflite_models" / "digits_cnn_int8" / "model.tflite")

# Lowest first. A package stands for all its modules, which may import each other.
LEVELS = [
    {"errors"},
    {"cache", "data", "files", "optional", "progress", "settings", "tables"},
    {"target", "technique"},
    {"report", "keras2"},
    {"keras3"},
    {"datasets", "keras_gate"},
    {"facts", "graph", "selection", "task", "tflite"},
    {"factorization", "measure", "preprocessing", "quantization", "teaching", "usage"},
    {"training"},
    {"fine_tuning"},
    {"measurement", "rounding", "wrapping"},
    {"channels", "importance", "masks", "shared_weights"},
    {"sensitivity"},
    {"techniques"},
    {"recipe"},
    {"checkpoints", "post_training", "reporting"},
    {"chain"},
    {"ablation", "conversion", "optimization"},
    {"reproduction", "shipping", "testing"},
    {"flags"},
    {"commands"},
    {"cli"},
    {"__main__"},
]


def level_of(unit: str) -> int:
    return next(index for index, units in enumerate(LEVELS) if unit in units)


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_names(path: Path) -> set[str]:
    """The tfopt modules a file imports, those under TYPE_CHECKING left out."""
    names = set()
    pending = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "tfopt":
                names |= {f"tfopt.{alias.name}" for alias in node.names}
            names.add(node.module)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        pending += list(ast.iter_child_nodes(node))
    return {name for name in names if name.startswith("tfopt.")}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_lower_levels(path):
    unit = unit_of(path)
    for name in imported_names(path):
        other = name.split(".")[1]
        allowed = other == unit or level_of(other) < level_of(unit)
        if unit == "techniques" and other == "techniques":
            allowed = False  # a technique never imports a sibling
        assert allowed, f"{path.name} ({unit}) imports {name}, which is not on a lower level"


def test_no_module_is_longer_than_the_limit():
    lines = {path.relative_to(PACKAGE): len(path.read_text().splitlines()) for path in MODULES}
    assert len(lines) == len(MODULES)
    assert {path: count for path, count in lines.items() if count > 330} == {}


def modules_after(code: str) -> set[str]:
    """The top-level modules a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint(*sorted(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import tfopt",
        "import tfopt; tfopt.Target, tfopt.Task, tfopt.Recipe, tfopt.Report",
        f"import tfopt; tfopt.inspect({SHIPPED!r})",
        f"import tfopt; tfopt.evaluate({SHIPPED!r}, task=tfopt.Task.digits())",
        f"import tfopt; tfopt.benchmark({SHIPPED!r}, runs=5)",
        f"import tfopt; tfopt.profile({SHIPPED!r}, runs=5)",
        "import tfopt; tfopt.Task.digits()",
        "import tfopt; tfopt.ship",
    ],
)
def test_reading_and_measuring_load_no_tensorflow(code):
    loaded = modules_after(code)
    assert loaded.isdisjoint({"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"})


def test_every_public_name_can_be_imported():
    import tfopt

    for name in tfopt.__all__:
        assert getattr(tfopt, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Prune'"):
        tfopt.Prune  # noqa: B018 - the attribute access is what is tested
