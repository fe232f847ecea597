"""Exercises: what reaches the student, and that it can be solved and fails unsolved."""

import ast
import builtins
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat import v4
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.utils import determine_grade

from grading import closure
from modarch_utils.checks.core import Report
from tools import exercises, notebooks
from tools.exercises import ExerciseError

SOURCES = exercises.sources()
CHECKS = "modarch_utils.checks"
by_name = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def statements(text: str) -> set[str]:
    """Each statement of a Python text on one line, however it was wrapped; of a block its head."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt))
    return {ast.unparse(node).splitlines()[0] for node in nodes} - {"try:"}


def solution_lines(source: Path) -> set[str]:
    region = re.compile(f"^ *{exercises.BEGIN}\n(.*?)^ *{exercises.END}", re.DOTALL | re.MULTILINE)
    regions = region.findall(source.read_text("utf-8"))
    return set().union(*(statements(textwrap.dedent(text)) for text in regions))


def run(notebook) -> list:
    """Run the code cells; return the value of each cell's last line."""
    shown, values = [], []
    space = {"__name__": "student", "__builtins__": builtins}
    for cell in notebooks.code_cells(notebook):
        body = ast.parse(cell.source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "<cell>", "exec"), space)
        space["display"] = shown.append
        value = last and eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)
        values.append((cell, value))
    plt.close("all")
    return values


def nbgraders_points(cell, value) -> float:
    """What nbgrader reads from a check cell that ended in this value."""
    cell = cell.copy()
    data = {"text/plain": repr(value)}
    cell.outputs = [v4.new_output("execute_result", data, execution_count=1)]
    got, most = determine_grade(cell)
    assert most == cell.metadata.nbgrader.points
    return got


def test_there_are_exercises():
    numbers = [source.stem.split("_")[0] for source in SOURCES]
    assert numbers and numbers == [f"ex{n}" for n in range(1, len(SOURCES) + 1)]


@by_name
def test_both_notebooks_are_fresh(source):
    why = exercises.stale(source)
    assert why is None, f"{source.stem}: {why}; run `make notebooks`"


@by_name
def test_the_text_survives(source):
    assert notebooks.text(exercises.solution(source)) == source.read_text("utf-8")


@by_name
def test_no_solution_line_reaches_the_student(source):
    lines = solution_lines(source)
    assert len(lines) >= 4
    theirs = exercises.student(source)
    for cell in theirs.cells:
        assert "SOLUTION" not in cell.source
        given = {re.sub(r"^#\s*", "", line.strip()) for line in cell.source.splitlines()}
        if cell.cell_type == "code":
            given |= statements(cell.source)
        assert not given & lines, cell.source
        assert "outputs" not in cell or cell.outputs == []
    regions = source.read_text("utf-8").count(exercises.BEGIN)
    assert sum(c.source.count("raise NotImplementedError()") for c in theirs.cells) == regions


def check_files(source: Path, package: Path) -> list[Path]:
    """The modules that an exercise's checks are made of, wherever they lie in the package.

    Models are left out: chapters teach from them, and a student may read them.
    """
    statements = [
        ast.unparse(node)
        for cell in notebooks.code_cells(exercises.student(source))
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{CHECKS}.")
    ]
    assert statements, f"{source.name} imports no check"
    reached = closure.modules("\n".join(statements), package)
    return [path for path in reached if package / "models" not in path.parents]


def leaked(source: Path, package: Path) -> set[str]:
    """The solution's lines that stand in what its checks are made of."""
    files = {*check_files(source, package), *(package / "checks").rglob("*.py")}
    given = set().union(*(statements(path.read_text("utf-8")) for path in files))
    return given & solution_lines(source)


@by_name
def test_no_solution_line_stands_in_a_check(source):
    package = notebooks.ROOT / "modarch_utils"
    own = package / "checks" / source.stem[:3]
    assert {own.with_suffix(".py"), own / "__init__.py"} & set(check_files(source, package))
    assert leaked(source, package) == set()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("checks/ex9.py", {"y = 2"}),
        ("checks/parts/deep/one.py", {"y = 2"}),
        ("helpers/two.py", {"y = 2"}),
        ("models/three.py", set()),
        ("beside.py", set()),
    ],
)
def test_a_leaked_line_is_found_in_folders_and_behind_imports(tmp_path, file, found):
    source = write(tmp_path, "# %%\nfrom modarch_utils.checks import ex9\n\n" + CELL + CHECK)
    package = tmp_path / "modarch_utils"
    texts = dict.fromkeys(("checks/parts/deep/one", "helpers/two", "models/three", "beside"), "")
    texts["checks/ex9"] = "from ..helpers import two\nfrom ..models import three\n"
    for name, text in texts.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert leaked(source, package) == set()
    with (package / file).open("a", encoding="utf-8") as stream:
        stream.write("if True:\n    y = 2\n")
    assert leaked(source, package) == found


@by_name
def test_nothing_else_is_lost(source):
    solved, theirs = exercises.solution(source), exercises.student(source)
    assert len(solved.cells) == len(theirs.cells)
    for a, b in zip(solved.cells, theirs.cells, strict=True):
        assert a.id == b.id and a.metadata == b.metadata
        if exercises.BEGIN not in a.source:
            assert a.source == b.source


@by_name
def test_nbgraders_metadata(source):
    for notebook in (exercises.solution(source), exercises.student(source)):
        MetadataValidator().validate_nb(notebook)
        graded = [c.metadata.nbgrader for c in notebook.cells if "nbgrader" in c.metadata]
        checks = [meta for meta in graded if meta.grade]
        assert checks and all(m.locked and not m.solution and m.points > 0 for m in checks)
        ids = {meta.grade_id for meta in graded}
        assert all(meta.grade_id.removesuffix("-check") in ids for meta in checks)


@by_name
def test_the_solution_passes_every_check(source):
    reports = 0
    for cell, value in run(exercises.solution(source)):
        if cell.metadata.get("nbgrader", {}).get("grade"):
            assert nbgraders_points(cell, value) == cell.metadata.nbgrader.points
        if isinstance(value, Report):
            assert value.passed, str(value)
            reports += 1
    assert reports >= 2  # the stretch parts


@by_name
def test_untouched_it_fails_every_check_and_says_so_kindly(source, capsys):
    for cell, value in run(exercises.student(source)):
        if cell.metadata.get("nbgrader", {}).get("grade"):
            assert nbgraders_points(cell, value) == 0
        if isinstance(value, Report):
            assert not value.passed
            assert "still to be written" in str(value) and "Replace `raise" in str(value)
            assert "Error:" not in str(value)
    assert "Traceback" not in capsys.readouterr().out


@by_name
def test_what_every_exercise_tells_its_reader(source):
    prose = "\n".join(c.source for c in exercises.student(source).cells if c.cell_type != "code")
    assert re.search(r"\*\*Time\*\*: \d+ to \d+ minutes", prose)
    assert "**You need** chapter" in prose
    assert prose.count("## Stretch") >= 2
    assert prose.count("<details>") == prose.count("</details>") >= 4


CELL = '# %% tags=["solution:a"]\nx = 1\n### BEGIN SOLUTION\ny = 2\n### END SOLUTION\n'
CHECK = '\n# %% tags=["check:a:2"]\n2.0\n'


def write(tmp_path, text) -> Path:
    path = tmp_path / "solutions" / "source" / "ex9_example.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_a_small_exercise(tmp_path):
    cells = exercises.student(write(tmp_path, CELL + CHECK)).cells
    assert cells[0].source == "x = 1\n# YOUR CODE HERE\nraise NotImplementedError()"
    assert cells[1].source == "2.0"
    assert cells[1].metadata.nbgrader.points == 2
    target = exercises.target(write(tmp_path, CELL + CHECK))
    assert target == tmp_path / "notebooks" / "exercises" / "ex9_example.ipynb"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CELL.replace("### END SOLUTION\n", ""), "is never closed"),
        (CELL.replace("### BEGIN SOLUTION\n", ""), "is not opened"),
        (CELL.replace("y = 2", "y = 2\n### BEGIN SOLUTION"), "is not closed"),
        (CELL.replace("### END", "# END"), "not exactly"),
        (CELL.replace("### BEGIN SOLUTION", "z = 1  # BEGIN SOLUTION"), "not exactly"),
        (CELL.replace(' tags=["solution:a"]', ""), "if and only if"),
        (CELL.replace("solution:a", "check:a:2"), "if and only if"),
        (CELL.replace("solution:a", "solution"), "solution:ID or check"),
        (CELL.replace("solution:a", "check:a"), "solution:ID or check"),
        ('# %% tags=["solution:a"]\nx = 1\n', "if and only if"),
        ("# %% [markdown]\n# ### BEGIN SOLUTION\n# y\n# ### END SOLUTION\n", "if and only if"),
        (CELL + "\n" + CELL.replace("x = 1", "x = 3"), "Duplicate grade id"),
    ],
)
def test_marks_and_tags_that_do_not_fit_are_refused(tmp_path, text, words):
    with pytest.raises(ExerciseError, match=re.escape(words)) as caught:
        exercises.student(write(tmp_path, text))
    assert "ex9_example.py" in str(caught.value)


def test_it_is_stale_until_both_notebooks_are_there(tmp_path):
    source = write(tmp_path, CELL + CHECK)
    assert exercises.stale(source) == "solution: it was never built"
    exercises.make(source)
    assert exercises.stale(source) is None
    target = exercises.target(source)
    target.write_text(target.read_text("utf-8").replace("YOUR CODE HERE", "y = 2"), "utf-8")
    assert "student's notebook" in exercises.stale(source)
    source.write_text(source.read_text("utf-8").replace("y = 2", "y = 3"), "utf-8")
    assert "its code changed" in exercises.stale(source)


def test_new_prose_keeps_the_solutions_outputs(tmp_path, monkeypatch):
    prose = "# %% [markdown]\n# Ask.\n\n"
    source = write(tmp_path, prose + CELL + CHECK)
    exercises.make(source)
    write(tmp_path, prose.replace("Ask.", "See {cite:p}`liu2022convnet`.") + CELL + CHECK)
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("it ran"))
    assert exercises.main(["build"], source.parents[1]) == 0
    assert exercises.stale(source) is None
    for path in (notebooks.target(source), exercises.target(source)):
        shown = nbformat.read(path, as_version=4).cells[0].source
        assert shown == "See ([Liu et al., 2022](https://arxiv.org/abs/2201.03545))."
