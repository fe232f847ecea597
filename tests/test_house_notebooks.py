"""The notebook pipeline, on small notebooks of its own."""

import platform

import nbformat
import pytest
from nbformat import v4

from tools import notebooks

SOURCE = """\
# %% [markdown]
# # A small chapter
#
# It adds.

# %%
import os

print(1 + 1, os.path.basename(os.getcwd()), os.environ["MODARCH_PROGRESS"])

# %% tags=["nbval-ignore-output"]
2 + 2
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "notebooks" / "source" / "07_small.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE, "utf-8")
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A built notebook and its source; the tests below only read it, or work on a copy."""
    path = tmp_path_factory.mktemp("built") / "notebooks" / "source" / "07_small.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE, "utf-8")
    notebooks.make(path, notebooks.target(path), strict=True)
    return path


def read(source):
    return nbformat.read(notebooks.target(source), as_version=4)


def test_build_runs_beside_the_notebook_without_progress(built):
    title, head, first, second = read(built).cells
    assert title.cell_type == "markdown"
    assert (head.id, head.execution_count, head.outputs) == ("install", None, [])
    assert first.outputs[0].text == "2 notebooks 0\n"
    assert second.outputs[0].data["text/plain"] == "4"
    assert second.metadata.tags == ["nbval-ignore-output"]
    assert notebooks.stale(built) is None
    assert notebooks.faults(read(built)) == []


def test_build_twice_gives_the_same_bytes(built, tmp_path):
    again = tmp_path / "again.ipynb"
    notebooks.make(built, again, strict=True)
    assert again.read_bytes() == notebooks.target(built).read_bytes()


def test_nothing_of_the_machine_is_kept(built):
    text = notebooks.target(built).read_text("utf-8")
    assert "iopub" not in text and platform.python_version() not in text
    assert str(built.parents[2]) not in text


def test_ids_survive_an_edit_elsewhere(source):
    before = [cell.id for cell in notebooks.convert(source).cells]
    source.write_text(SOURCE.replace("2 + 2", "2 + 3"), "utf-8")
    after = [cell.id for cell in notebooks.convert(source).cells]
    assert before[:2] == after[:2] and before[2] != after[2]


def test_ids_differ_for_equal_cells(source):
    source.write_text("# %%\n1\n\n# %%\n1\n", "utf-8")
    first, second = (cell.id for cell in notebooks.convert(source).cells)
    assert first != second


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda nb, path: path.write_text(SOURCE + "\n# %%\n3\n", "utf-8"), "its code changed"),
        (
            lambda nb, path: path.write_text(SOURCE.replace("It adds", "Sums"), "utf-8"),
            "\n-Sums.\n+It adds.",
        ),
        (lambda nb, path: nb.cells[3].update(source="2 + 5"), "its cells are not those"),
        (lambda nb, path: nb.cells[3].metadata.pop("tags"), "its text is not that"),
        (lambda nb, path: nb.cells[1].update(source="import os"), "its text is not that"),
        (lambda nb, path: nb.cells.pop(0), "its text is not that"),
        (lambda nb, path: nb.metadata.pop("modarch"), "its code changed"),
    ],
    ids=["code", "prose", "cell edited", "tag removed", "head edited", "cell removed", "no hash"],
)
def test_a_change_on_either_side_is_stale(source, built, change, why):
    notebook = read(built)
    change(notebook, source)
    nbformat.write(notebook, notebooks.target(source))
    assert why in notebooks.stale(source)


def test_new_prose_keeps_the_outputs_and_runs_nothing(source, built, monkeypatch):
    path = notebooks.target(source)
    nbformat.write(read(built), path)
    source.write_text(SOURCE.replace("It adds.", "It *sums*."), "utf-8")
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("it ran"))
    assert notebooks.main(["build"], source.parents[1]) == 0
    assert notebooks.stale(source) is None
    assert read(source).cells[0].source.endswith("It *sums*.")
    assert [c.get("outputs") for c in read(source).cells] == [
        c.get("outputs") for c in read(built).cells
    ]


def test_outputs_are_not_given_to_other_code(source, built):
    source.write_text(SOURCE.replace("2 + 2", "2 + 3"), "utf-8")
    with pytest.raises(notebooks.NotebookError, match="its code is not that of its source"):
        notebooks.keep_outputs(notebooks.convert(source), read(built))


def test_whole_numbers_are_written_as_jupyterlab_writes_them(source):
    code = 'display({"application/vnd.modarch.claims+json": [{"a": 0.0, "b": 1.5}]}, raw=True)'
    source.write_text(f"# %%\n{code}\n", "utf-8")
    notebooks.make(source, notebooks.target(source), strict=True)
    data = read(source).cells[-1].outputs[0].data["application/vnd.modarch.claims+json"]
    assert str(data) == "[{'a': 0, 'b': 1.5}]"


@pytest.mark.parametrize(
    ("code", "tags", "words"),
    [
        ("x = 1\n" * 30, [], []),
        ("x = 1\n" * 31, [], ["cell 1 has 31 lines"]),
        ("x" * 88, [], []),
        ("x" * 89, ["profile-dependent"], ["up to 89 characters"]),
        ("x" * 89, ["hide-input"], []),
    ],
)
def test_what_is_in_sight_is_small(code, tags, words):
    prose = v4.new_markdown_cell("long " * 30)
    found = notebooks.unwieldy(
        v4.new_notebook(cells=[prose, v4.new_code_cell(code, metadata={"tags": tags})])
    )
    assert len(found) == len(words) and all(map(str.__contains__, found, words))


def test_the_number_of_big_cells_only_shrinks(source, tmp_path):
    allowed = tmp_path / "long_cells.toml"
    source.write_text(SOURCE + f"\n# %%\n{'x' * 89}\n", "utf-8")
    allowed.write_text("", "utf-8")
    assert (
        "cell 3 has 1 lines of up to 89 characters; at most"
        in notebooks.too_big(source, allowed)[0]
    )
    allowed.write_text("07_small = 1\n", "utf-8")
    assert notebooks.too_big(source, allowed) == []
    allowed.write_text("07_small = 2\n", "utf-8")
    assert "lower it" in notebooks.too_big(source, allowed)[0]


def test_a_failing_cell_is_named_and_nothing_is_overwritten(source):
    notebooks.target(source).write_text("precious", "utf-8")
    source.write_text(SOURCE + '\n# %%\nraise KeyError("lost")\n', "utf-8")
    with pytest.raises(notebooks.NotebookError, match=r"07_small, cell 4:\n(.|\n)*lost"):
        notebooks.make(source, notebooks.target(source), strict=True)
    assert notebooks.target(source).read_text("utf-8") == "precious"


def test_what_is_committed_may_not_warn_but_a_students_run_may(source):
    source.write_text("# %%\nimport sys\n\nprint('careful', file=sys.stderr)\n", "utf-8")
    with pytest.raises(notebooks.NotebookError, match="07_small: cell 1 wrote to stderr: careful"):
        notebooks.make(source, notebooks.target(source), strict=True)
    assert not notebooks.target(source).exists()
    notebooks.make(source, notebooks.target(source), strict=False)
    assert notebooks.target(source).exists()


def cell(*outputs, count=1):
    return v4.new_code_cell("code", outputs=list(outputs), execution_count=count)


def picture(attributes=""):
    page = f'<p><img {attributes} src="data:image/webp;base64,QUJD"></p>'
    return v4.new_output("display_data", data={"text/html": page})


def shown(prose):
    return v4.new_output("display_data", data={"text/markdown": prose, "text/plain": "prose"})


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (cell(count=None), "cell 0 was not executed"),
        (cell(v4.new_output("error", ename="E", evalue="v")), "cell 0 ended in an error: E: v"),
        (cell(v4.new_output("stream", name="stderr", text="w")), "cell 0 wrote to stderr: w"),
        (
            v4.new_markdown_cell("See {cite:t}`liu2022convnet`."),
            "cell 0 has {cite:t}, which editors",
        ),
        (cell(shown("```{note} Mind\nthe step\n```")), "cell 0 has {note} Mind, which editors"),
        (cell(picture()), "figure without alternative text"),
        (cell(picture('alt="  "')), "figure without alternative text"),
        (cell(picture('alt=""')), "figure without alternative text"),
        (cell(v4.new_output("display_data", data={"image/png": "QUJD"})), "with plots.show"),
        (cell(v4.new_output("display_data", data={"text/latex": "$x$"})), "text/latex"),
        (cell(v4.new_output("stream", text="x" * 1_100_000)), "it has 1.1 MB"),
    ],
)
def test_each_fault_is_found(bad, fault):
    (found,) = notebooks.faults(v4.new_notebook(cells=[bad]))
    assert fault in found


def test_a_clean_notebook_has_no_fault():
    good = cell(
        picture('alt="A line that rises"'), v4.new_output("stream", name="stdout", text="1")
    )
    cells = [v4.new_markdown_cell("text"), good, v4.new_code_cell("")]
    assert notebooks.faults(v4.new_notebook(cells=cells)) == []


def test_a_line_a_notebook_and_what_is_over_budget(tmp_path, capsys, monkeypatch):
    took = {"02_quick": 1.0, "03_slow": 4.5, "04_slower": 20.0}
    for name in took:
        (tmp_path / f"{name}.py").write_text(SOURCE, "utf-8")
    monkeypatch.setattr(notebooks, "make", lambda source, *_, **__: took[source.stem])
    jobs = {tmp_path / f"{name}.py": tmp_path / f"{name}.ipynb" for name in took}
    assert notebooks.make_all(jobs, strict=False) == []
    quick, slow, slower, together = capsys.readouterr().out.splitlines()
    assert quick.split() == ["02_quick", "1.0", "min"]
    assert "over its budget of 4" in slow and "over its budget" in slower
    assert "Together 25.5 minutes: over the budget of 25" in together


def test_a_notebook_that_fails_leaves_the_others_to_run(source, capsys):
    other = source.with_name("08_bad.py")
    other.write_text('# %%\nraise KeyError("lost")\n', "utf-8")
    jobs = {path: notebooks.target(path) for path in (other, source)}
    (failed,) = notebooks.make_all(jobs, strict=False)
    assert "08_bad, cell" in failed and "lost" in failed and "was not written" in failed
    assert capsys.readouterr().out.split()[:3] == ["08_bad", "failed", "07_small"]
    assert notebooks.target(source).exists() and not notebooks.target(other).exists()


def test_the_gpu_profile_may_reach_the_hub():
    assert notebooks.kernel_environment("laptop")["HF_HUB_OFFLINE"] == "1"
    assert notebooks.kernel_environment("gpu")["HF_HUB_OFFLINE"] == "0"


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n", '{"cells": [', ""])
def test_a_notebook_that_a_merge_broke_is_stale_and_can_be_built(source, text, capsys):
    notebooks.target(source).write_text(text, "utf-8")
    assert "no notebook any more" in notebooks.stale(source)
    assert notebooks.main(["check"], source.parents[1]) == 1
    assert "no notebook any more" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["", " Laptop "])
def test_the_profile_is_the_laptop_unless_said_otherwise(value, monkeypatch):
    monkeypatch.setenv("MODARCH_PROFILE", value)
    assert notebooks.profile() == "laptop"
