"""Strict nbval: what it lets pass between two machines, and what it does not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from nbval.plugin import get_sanitize_patterns

from modarch_utils.claims import MIME

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tools" / "nbval_sanitize.cfg"
PATTERNS = get_sanitize_patterns(CONFIG.read_text())


def sanitize(text: str) -> str:
    for regex, replacement in PATTERNS:
        text = re.sub(regex, replacement, text)
    return text


def test_every_rule_is_read():
    assert len(PATTERNS) == CONFIG.read_text().count("\nregex:") == 4


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("<Block object at 0x7f12ab34cd56>", "<Block object at 0x55d0aa11bb22>"),
        ("device: cpu", "device: cuda:0"),
        ("device(type='mps')", "device(type='cuda')"),
        ("torch 2.14.1, timm 1.0.31", "torch 2.15.0+cu130, timm 1.1.0"),
        ("Python 3.11.7", "Python 3.14.0rc1"),
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
    ],
)
def test_results_may_not_differ_in(right, wrong):
    assert sanitize(right) != sanitize(wrong)


def run_nbval(path: Path, profile: str = "laptop") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tools.nbval_plugin", "--nbval", "-q"]
    command += ["--nbval-sanitize-with", str(CONFIG), "-p", "no:cacheprovider", str(path)]
    environment = os.environ | {"MODARCH_PROFILE": profile}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def stored(code: str, *outputs, tags=()):
    return v4.new_code_cell(
        code, outputs=list(outputs), execution_count=1, metadata={"tags": list(tags)}
    )


@pytest.fixture
def notebook(tmp_path):
    """Six cells; the stored output of each differs from what a run gives."""
    show = "from IPython.display import display\ndisplay({data!r}, raw=True)"
    wrong_text = v4.new_output("stream", name="stdout", text="3\n")
    pixel, other_pixel = "iVBORw0KGgo=", "iVBORw0KGgp="
    cells = [
        stored("print(1 + 1)", wrong_text),
        stored(
            show.format(data={MIME: [{"ours": "1.1"}], "text/plain": "claims"}),
            v4.new_output("display_data", data={MIME: [{"ours": "1.2"}], "text/plain": "claims"}),
        ),
        stored(
            show.format(data={"image/png": pixel, "text/plain": "figure"}),
            v4.new_output("display_data", data={"image/png": other_pixel, "text/plain": "figure"}),
        ),
        stored("print(1 + 1)", wrong_text, tags=["profile-dependent"]),
        stored("print(1 + 1)", wrong_text, tags=["nbval-ignore-output"]),
        stored("import sys\nprint('careful', file=sys.stderr)"),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    path = tmp_path / "n.ipynb"
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def failed(result: subprocess.CompletedProcess[str]) -> list[int]:
    return [int(n) for n in re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.MULTILINE)]


def test_text_is_strict_and_pictures_and_claims_are_not(notebook):
    result = run_nbval(notebook)
    assert failed(result) == [0, 3, 5], result.stdout


def test_the_gpu_profile_forgives_only_what_is_tagged(notebook):
    result = run_nbval(notebook, "gpu")
    assert failed(result) == [0, 5], result.stdout
