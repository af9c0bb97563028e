"""The Python code of the README and of every page of the documentation runs as it stands."""

import re
from pathlib import Path

import pytest

import tfopt
from tfopt.recipe import TECHNIQUES
from tfopt.testing import small_cnn

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.S)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs code where there is a `my_model.keras`, as the documentation takes for granted."""
    monkeypatch.chdir(tmp_path)
    small_cnn().save("my_model.keras")
    return lambda code, name: exec(compile(code, name, "exec"), {})


@pytest.mark.parametrize(
    "code", blocks(README), ids=lambda code: code.strip().splitlines()[-1][:40]
)
def test_each_block_of_the_readme_runs(code, run):
    run(code, "README.md")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page)],
    ids=lambda page: f"{page.parent.name}/{page.stem}",
)
def test_the_blocks_of_a_page_run_one_after_another(page, run):
    run("\n".join(blocks(page)), page.name)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        assert link.startswith("https:") or (page.parent / link).exists(), link


def test_each_technique_has_a_page():
    pages = {page.stem for page in (ROOT / "docs" / "techniques").glob("*.md")}
    assert {home.rpartition(".")[2] for home in TECHNIQUES.values()} <= pages


def test_the_page_of_all_names_says_of_each_what_it_is():
    page = (ROOT / "docs" / "api.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.M))
    said = {name: getattr(tfopt, name).__doc__.strip() for name in tfopt.__all__}
    assert told == {name: " ".join(doc.split("\n\n")[0].split()) for name, doc in said.items()}


def test_the_readme_names_commands_that_exist():
    for command in re.findall(r"^(scripts/\S+)", README.read_text(), re.M):
        assert (ROOT / command).exists(), command
