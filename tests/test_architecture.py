"""The dependency rule of README's table, and that importing tfopt is cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tfopt"
README = PACKAGE.parent / "README.md"
SHIPPED = str(PACKAGE.parent / "tflite_models" / "digits_cnn_int8" / "model.tflite")


def table() -> list[str]:
    """The modules of README's table, lowest first; a package stands for all its modules."""
    rows = re.findall(r"^\| \d+ \| (`.*?`) \|", README.read_text(encoding="utf-8"), re.M)
    return [name.rstrip("/") for row in rows for name in re.findall(r"`(.*?)`", row)]


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


LEVELS = table()
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_the_table_of_the_readme_has_each_module_once():
    assert sorted(LEVELS) == sorted({unit_of(path) for path in MODULES})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_lower_levels(path):
    unit = unit_of(path)
    for name in imported_names(path):
        other = name.split(".")[1]
        allowed = other == unit or LEVELS.index(other) < LEVELS.index(unit)
        if unit == "techniques" and other == "techniques":
            allowed = False  # a technique never imports a sibling
        assert allowed, f"{path.name} ({unit}) imports {name}, not before it in README's table"


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
