"""Strict nbval: what it lets pass between two machines, and what it does not."""

import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from nbval.plugin import get_sanitize_patterns

from modarch_utils.claims import MIME, Claim

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tools" / "nbval_sanitize.cfg"
PATTERNS = get_sanitize_patterns(CONFIG.read_text("utf-8"))


def sanitize(text: str) -> str:
    for regex, replacement in PATTERNS:
        text = re.sub(regex, replacement, text)
    return text


def test_every_rule_is_read():
    assert len(PATTERNS) == CONFIG.read_text("utf-8").count("\nregex:") == 5


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("<Block object at 0x7f12ab34cd56>", "<Block object at 0x55d0aa11bb22>"),
        ("device: cpu", "device: cuda:0"),
        ("device(type='mps')", "device(type='cuda')"),
        ("torch 2.14.1, timm 1.0.31", "torch 2.15.0+cu130, timm 1.1.0"),
        ("Python 3.11.7", "Python 3.14.0rc1"),
        (
            '<p>A</p><img alt="rises to 0.81" width="9" src="data:image/png;base64,iVBO">',
            '<p>A</p><img alt="rises to 0.82" width="9" src="data:image/png;base64,jWCP">',
        ),
        ("saved in /home/ann/.cache/modarch/x.pt", "saved in /Users/bob/Library/x.pt"),
    ],
)
def test_machines_may_differ_in(here, there):
    assert here != there
    assert sanitize(here) == sanitize(there)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    reproduced  patchify helps", "not reproduced  patchify helps"),
        ("equal within 1e-05: True", "equal within 1e-05: False"),
        ("torch.Size([2, 96, 56, 56])", "torch.Size([2, 56, 56, 96])"),
        ("parameters: 28,589,128", "parameters: 28,589,129"),
        ("ConvNeXt-T 4.46 GMACs", "ConvNeXt-T 4.47 GMACs"),
        ("accuracy above 0.80", "accuracy above 0.70"),
        ("kernels 5, 7, 9, 11", "kernels 5, 7, 9, 13"),
        ("kinds: torus", "kinds: cube"),
        ("0x1F", "0x1E"),
        ('<img src="data:image/png;base64,iVBO"><p>1</p>', '<img src="data:image/webp,A"><p>2</p>'),
        ('<p></p><img src="data:image/png;base64,iVBO">', "<p></p>"),
        ('<img alt="a" src="https://a.example/a.png">', '<img alt="a" src="https://a.example/b">'),
    ],
)
def test_results_may_not_differ_in(right, wrong):
    assert sanitize(right) != sanitize(wrong)


def run_nbval(path: Path, profile: str = "laptop") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tools.nbval_plugin", "--nbval", "-q"]
    command += ["--nbval-sanitize-with", str(CONFIG), "-p", "no:cacheprovider"]
    command += ["--rootdir", str(path.parent), str(path)]
    environment = os.environ | {"MODARCH_PROFILE": profile}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")


def cell(now, before, *tags):
    """A cell that shows the data `now`, and whose stored output is the data `before`."""
    code = f"from IPython.display import display\ndisplay({now!r}, raw=True)"
    outputs = [v4.new_output("display_data", data=before)] if before else []
    return v4.new_code_cell(code, outputs=outputs, execution_count=1, metadata={"tags": list(tags)})


def claim(**changes):
    row = Claim(
        claim="It learns", ours="1.1", verdict="reproduced", paper="2 %", source="liu2022convnet"
    )
    return {MIME: [asdict(row) | changes], "text/plain": "claims"}


def figure(pixels, alt="A line"):
    html = f'<img alt="{alt}" src="data:image/png;base64,{pixels}">'
    return {"text/html": html, "text/plain": "Figure"}


NOTHING = {"text/plain": "nothing"}
IGNORED = "nbval-ignore-output"
TEXT, OTHER_TEXT = {"text/plain": "'2'"}, {"text/plain": "'3'"}
# What a cell shows now, what it showed before, its tags, and whether that is a failure.
CELLS = {
    "text": (TEXT, OTHER_TEXT, (), True),
    "text, ignored": (TEXT, OTHER_TEXT, (IGNORED,), False),
    "text of the profile": (TEXT, OTHER_TEXT, ("profile-dependent",), True),
    "bare pixels": ({"image/png": "iVBO"}, {"image/png": "jWCP"}, (), False),
    "pixels": (figure("iVBO"), figure("jWCP"), (), False),
    "alternative text": (figure("iVBO", "to 0.81"), figure("iVBO", "to 0.82"), (), False),
    "a figure lost": (NOTHING, figure("iVBO"), (), True),
    "pixels, ignored": (figure("iVBO"), figure("jWCP"), (IGNORED,), False),
    "a figure lost, ignored": (NOTHING, figure("iVBO"), (IGNORED,), True),
    "a figure more, ignored": (figure("iVBO"), NOTHING, (IGNORED,), True),
    **{
        f"{name}, measured{', ignored' * bool(tags)}": (
            claim(),
            claim(**{name: value}),
            tags,
            False,
        )
        for name, value in {
            "ours": "1.2",
            "spread": "± 3",
            "minutes": 2.5,
            "visible": "4 points",
            "needed": "about 5 runs",
        }.items()
        for tags in [(), (IGNORED,)]
    },
    **{
        f"{name} of a claim{', ignored' * bool(tags)}": (claim(), claim(**{name: "x"}), tags, True)
        for name in ("claim", "verdict", "paper", "source", "tolerance", "seeds", "note")
        for tags in [(), (IGNORED,)]
    },
    "a claim lost, ignored": (NOTHING, claim(), (IGNORED,), True),
    "a claim more, ignored": (claim(), NOTHING, (IGNORED,), True),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    cells = [cell(now, before, *tags) for now, before, tags, _ in CELLS.values()]
    cells.append(v4.new_code_cell("import sys\nprint('x', file=sys.stderr)", execution_count=1))
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    path = tmp_path_factory.mktemp("nbval") / "n.ipynb"
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture(scope="module")
def result(path):
    return run_nbval(path)


def failed(result: subprocess.CompletedProcess[str]) -> list[str]:
    numbers = re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.MULTILINE)
    return [[*CELLS, "a warning"][int(number)] for number in numbers]


def test_only_measured_numbers_and_pixels_are_free(result):
    expected = [name for name, (*_, fails) in CELLS.items() if fails]
    assert failed(result) == [*expected, "a warning"], result.stdout


def test_the_failure_shows_what_differs(result):
    assert '- "verdict": "x"' in result.stdout and '+ "verdict": "reproduced"' in result.stdout
    assert "-a figure" in result.stdout and "+a figure" in result.stdout


def test_a_failed_notebook_is_kept_with_what_this_run_shows(path, result):
    kept = path.parent / "_build" / "failed" / "n.ipynb"
    assert str(kept) in result.stdout
    cells = dict(zip([*CELLS, "a warning"], nbformat.read(kept, as_version=4).cells, strict=True))
    assert cells["text"].outputs[0].data == TEXT
    assert cells["verdict of a claim"].outputs[0].data[MIME][0]["verdict"] == "reproduced"
    assert cells["a warning"].outputs[0].text == "x\n"


def test_the_gpu_profile_forgives_only_what_is_tagged(path, result):
    theirs = run_nbval(path, "gpu")
    left = [name for name in failed(result) if name != "text of the profile"]
    assert failed(theirs) == left, theirs.stdout
