"""The files around the course speak of the course as it is."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_the_form_offers_every_chapter_and_exercise():
    form = ROOT / ".github" / "ISSUE_TEMPLATE" / "chapter.yml"
    body = yaml.safe_load(form.read_text(encoding="utf-8"))["body"]
    [options] = [part["attributes"]["options"] for part in body if part["type"] == "dropdown"]
    chapters = [path.name[:2] for path in sorted(ROOT.glob("notebooks/source/[0-9]*.py"))]
    exercises = [path.name.split("_")[0] for path in sorted(ROOT.glob("solutions/source/ex*.py"))]
    assert len(chapters) > 5 and len(exercises) > 2
    named = [option.replace("Exercise ", "ex").split()[0] for option in options]
    assert named == [*chapters, *exercises, "Another"]


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["version"] == package["version"]


def test_links_between_the_files_lead_somewhere():
    """What `[text](path)` and `[text](path#heading)` name, from each file's own place."""
    guides = [*ROOT.glob("*.md"), *ROOT.glob("book/*.md")]
    links = [
        (guide.relative_to(ROOT).as_posix(), target)
        for guide in guides
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", guide.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target)
    ]
    assert len(links) > 3
    assert not [(name, to) for name, to in links if not (ROOT / name).parent.joinpath(to).exists()]


def test_the_timetable_names_headings_and_points_that_exist():
    page = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    headings = set()
    for source in ROOT.glob("notebooks/source/*.py"):
        headings |= set(
            re.findall(r"^# #+ (.+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
        )
    quoted = {name for row in rows for name in re.findall(r'"([^"]+)"', row)}
    assert len(quoted) > 4
    assert quoted <= headings
    points = dict(re.findall(r"exercise (\d): .*?(\d+) points", "\n".join(rows)))
    assert points == {
        source.name[2]: str(
            sum(map(int, re.findall(r'"check:[\w-]+:(\d+)"', source.read_text("utf-8"))))
        )
        for source in ROOT.glob("solutions/source/ex*.py")
    }


def test_the_guide_names_what_is_there():
    """Files, make's targets and modules; a name with N or NAME is a pattern."""
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = r"modarch_utils|tests|tools|notebooks|solutions|book|\.github"
    files = set(re.findall(rf"`((?:{folders})/[\w./-]+)`", guide))
    gone = [f for f in files if not (re.search(r"N(AME)?\b|NN?_|exN", f) or (ROOT / f).exists())]
    targets = set(re.findall(r"`make ([\w-]+)", guide))
    known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    modules = set(re.findall(r"python -m\s+(tools\.\w+)", guide))
    assert len(files) > 10 and len(targets) > 3 and len(modules) > 2
    assert not gone
    assert targets <= set(known)
    assert all((ROOT / f"{module.replace('.', '/')}.py").exists() for module in modules)


def test_no_file_names_the_machine_it_was_made_on():
    """Outputs and logs like to carry a home folder or the address of a package index with them."""
    places = r"(^|[^A-Za-z0-9_.}/-])/(root|home|Users|work|workspaces?|mnt)/[A-Za-z0-9_]"
    hosts = r"(--(extra-)?index-url|trusted-host)[ =]+[^ ]*//"
    found = subprocess.run(
        ["git", "grep", "-nIE", f"{places}|{hosts}", "--", ".", ":!tests/notebooks/test_nbval.py"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    if found.returncode > 1:
        pytest.skip("this is no git clone")
    lines = [
        line[:120]
        for line in found.stdout.splitlines()
        if "https://download.pytorch.org/" not in line and Path(__file__).name not in line
    ]
    assert not lines
