"""The page of a report: what stands in it, what is never in it, and that it is always the same."""

import dataclasses
import hashlib
import itertools
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_report import BASELINE, PRUNED, REPORT

from tfopt.report import Group, LayerFigures, Mistake, Mistakes, Report, Trial
from tfopt.reporting import html, svg
from tfopt.reporting.html import page
from tfopt.technique import Skipped

GOLDEN = Path(__file__).parent.parent / "golden"
RECIPE = {
    "techniques": [{"technique": "MagnitudePruning", "sparsity": 0.5}],
    "target": {"numerics": "int8"},
    "seed": 0,
    "made_from": {"source": {"kind": "digits"}, "data": "ab12"},
}
VOID = {"meta", "link", "img", "br", "path", "use", "rect"}


class Parsed(HTMLParser):
    """The elements of a page and their attributes, and its text without drawings and scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.open)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"svg", "style", "script"} & set(self.open) and data.strip():
            self.words.append(" ".join(data.split()))

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


@pytest.fixture(scope="module")
def text():
    return page(REPORT, recipe=RECIPE, name="digits")


@pytest.fixture(scope="module")
def parsed(text):
    return Parsed(text)


def test_the_words_are_as_they_were(parsed):
    golden = GOLDEN / "report_page.txt"
    told = "\n".join(parsed.words) + "\n"
    if os.environ.get("TFOPT_GOLDEN") == "write":
        golden.write_text(told)
    assert told == golden.read_text()


def test_the_verdict_comes_first(parsed):
    start = parsed.words.index("Broken: max_bytes")
    assert parsed.words.index("What you gave") < parsed.words.index("Steps", start + 20)
    assert next(tag for tag, _, inside in parsed.elements if "main" in inside) == "h1"


def test_nothing_is_loaded_from_anywhere(text, parsed):
    for _, attributes, _ in parsed.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                assert value.startswith(("#", "data:")), value
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    policy = next(meta for meta in parsed.all("meta") if "http-equiv" in meta)["content"]
    assert policy.startswith("default-src 'none'; img-src data:")


def test_every_drawing_has_a_title_a_caption_and_a_table(parsed):
    figures = parsed.all("figure")
    drawings = parsed.all("svg")
    assert len(figures) == 3 and len(drawings) == 5
    inside = [(tag, parents) for tag, _, parents in parsed.elements if "figure" in parents]
    assert sum(tag == "figcaption" for tag, _ in inside) == 3
    assert sum(tag == "table" for tag, _ in inside) == 3
    ids = {attributes.get("id") for _, attributes, _ in parsed.elements}
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert drawing["aria-labelledby"] in ids


def test_the_structure_is_one_that_a_screen_reader_can_follow(parsed):
    ids = [attributes["id"] for _, attributes, _ in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in parsed.elements:
        for name in ("aria-labelledby", "href"):
            target = attributes.get(name, "").removeprefix("#")
            assert not target or target.startswith("data:") or target in ids
    levels = [int(tag[1]) for tag, _, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in cell for cell in parsed.all("th"))
    assert all(image["alt"] for image in parsed.all("img"))
    assert parsed.all("html")[0]["lang"] == "en"
    assert parsed.all("a")[0] == {"class": "skip", "href": "#main"}
    for tag, attributes, _ in parsed.elements:
        if tag == "div" and attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0" and attributes["aria-label"]


EVIL = "</script></style><script>alert(1)</script>\"'><img src=x onerror=alert(2)>$a_b$ 🤖\x00"
LONG = "n" * 9_990 + "the_end"


@pytest.mark.parametrize("name", [EVIL, LONG, "\ud800日本語\n\t", ""])
def test_names_are_shown_and_never_obeyed(name):
    step = dataclasses.replace(
        PRUNED,
        name=name,
        settings=name,
        skipped=(Skipped(name, name, name),),
        warnings=(name,),
    )
    told = REPORT.groups[0]
    report = dataclasses.replace(
        REPORT,
        metric=name,
        steps=(BASELINE, step),
        environment={name: name},
        trials=(Trial(name, PRUNED.validation, 0.1, 10, 1.0), *REPORT.trials),
        groups=(
            dataclasses.replace(told, name=name, by=name),
            dataclasses.replace(told, name=name, by="class"),
            Group(name, "class", 3, reason=name),
        ),
        mistakes=Mistakes(1, 1, 9, (Mistake(0, name, name, 1.0, name, 1.0, '"><b>', name),)),
        layers=(LayerFigures(name, name, 1, 1, 1, advice=name),),
        sensitivity=(),
    )
    recipe = {**RECIPE, "target": {name: name}, "made_from": {"source": {"name": name}}}
    text = page(report, recipe=recipe, name=name)
    parsed = Parsed(text)
    assert len(parsed.all("script")) == 1 and len(parsed.all("style")) == 1
    assert not any(
        key.startswith("on") for _, attributes, _ in parsed.elements for key in attributes
    )
    assert len(parsed.all("img")) == 1 and not parsed.all("b")
    assert "the_end" in "".join(parsed.words) or name != LONG
    assert not [inside for tag, _, inside in parsed.elements if tag == "details" and "p" in inside]
    text.encode("utf-8")


def test_what_a_report_does_not_hold_has_no_section():
    bare = dataclasses.replace(
        BASELINE, kl=None, latencies_ms=(), arena_bytes=None, test=None, latency_ms=0.5
    )
    last = dataclasses.replace(bare, name="conversion only", numerics="int8", bytes=20_000)
    for steps in [(bare,), (bare, last)]:
        parsed = Parsed(page(Report("mae", False, steps)))
        titles = {attributes.get("id") for _, attributes, _ in parsed.elements}
        assert {"trade", "steps", "latency"} <= titles
        assert titles.isdisjoint({"layers", "groups", "ops", "skipped", "trials", "again"})
        assert "None was set, so nothing could fail." in parsed.words
    few = dataclasses.replace(REPORT, groups=REPORT.groups[1:], mistakes=None)
    told = " ".join(Parsed(page(few)).words)
    assert "No class and no group has samples enough" in told
    assert "9 samples, fewer than 25" in told
    only = dataclasses.replace(REPORT, groups=(), mistakes=Mistakes(0, 0, 9), layers=())
    assert "0 of 9 samples are wrong in the new file only" in " ".join(Parsed(page(only)).words)


def test_extreme_figures_can_be_drawn():
    score = dataclasses.replace(BASELINE.validation, value=0.0, low=0.0, high=0.0)
    zero = dataclasses.replace(BASELINE, validation=score, test=score, bytes=1, deflated_bytes=1)
    nothing = dataclasses.replace(zero, latency_ms=1e-6, latency_p10_ms=0.0, latency_p90_ms=1e-6)
    huge = dataclasses.replace(zero, bytes=10**10, latency_ms=9e5, latency_p90_ms=1e6)
    many = [dataclasses.replace(zero, name=f"step {n}", bytes=n + 1) for n in range(30)]
    unknown = dataclasses.replace(
        zero,
        validation=dataclasses.replace(score, value=float("nan"), low=float("nan")),
        latency_ms=float("inf"),
        latency_p90_ms=float("inf"),
        kl=float("inf"),
    )
    for steps in [(nothing, nothing), (zero, huge, unknown), (unknown,), tuple(many)]:
        assert "<h1>" in page(Report("mse", False, steps))


def test_how_to_make_it_again(text):
    assert "tfopt reproduce digits" in text
    assert "tfopt optimize MODEL.keras --recipe=digits/recipe.json --dataset=digits" in text
    spaced = page(REPORT, recipe=RECIPE, name="my result; rm -rf")
    assert "tfopt reproduce &#39;my result; rm -rf&#39;" in spaced
    arrays = page(REPORT, recipe={**RECIPE, "made_from": {"source": None}}, name="digits")
    assert "tfopt.reproduce(&#39;digits&#39;, task=task)" in arrays
    assert "--dataset" not in arrays


def test_the_file_is_named_by_its_checksum_and_tensors(int8_file):
    parsed = Parsed(page(REPORT, tflite=int8_file))
    told = " ".join(parsed.words)
    assert re.search(r"SHA-256 [0-9a-f]{64} input", told)
    assert "int8 [-1, 8, 8, 1], scale" in told and "integer only" in told


@pytest.mark.parametrize("theme", [0, 1])
def test_letters_stand_out_from_their_ground(theme):
    palette = {name: _luminance(pair[theme]) for name, pair in html._PALETTE.items()}
    for letters in ("ink", "muted", "accent", "bad"):
        for ground in ("paper", "tint"):
            light, dark = sorted((palette[letters], palette[ground]), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (letters, ground)  # WCAG 2, AA
    assert set(svg._NAMES.values()) <= set(html._PALETTE)


def _luminance(colour):
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_process_without_display_draws_the_same_and_loads_no_tensorflow(text):
    code = (
        "import hashlib, sys\n"
        f"sys.path[:0] = [{str(GOLDEN.parent)!r}, {str(Path(__file__).parent)!r}]\n"
        "import matplotlib\n"
        "matplotlib.rcParams['font.size'] = 40\n"  # the user's own settings change nothing
        "from test_html import RECIPE, REPORT, page\n"
        "text = page(REPORT, recipe=RECIPE, name='digits')\n"
        "assert matplotlib.rcParams['font.size'] == 40\n"
        "assert {'tensorflow', 'keras', 'matplotlib.pyplot'}.isdisjoint(sys.modules)\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    gone = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    environment = {key: value for key, value in os.environ.items() if key not in gone}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment | {"PYTHONHASHSEED": "7", "MPLBACKEND": "TkAgg"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()
