"""MyST as Markdown that every editor shows, and the first cells of a notebook."""

import ast

import pytest
from nbformat import v4
from pybtex.database import parse_string

from tools import render

CONVNET = "https://arxiv.org/abs/2201.03545"
LADDER = "https://arxiv.org/abs/2301.00808"


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        ("{cite:t}`liu2022convnet` asked", f"[Liu et al. (2022)]({CONVNET}) asked"),
        ("it does {cite:p}`liu2022convnet`.", f"it does ([Liu et al., 2022]({CONVNET}))."),
        (
            "{cite}`liu2022convnet,woo2023convnextv2`",
            f"([Liu et al., 2022]({CONVNET}); [Woo et al., 2023]({LADDER}))",
        ),
        (
            "{cite:t}`liu2022convnet, woo2023convnextv2`",
            f"[Liu et al. (2022)]({CONVNET}); [Woo et al. (2023)]({LADDER})",
        ),
        ("* a\n  {cite:t}`liu2022convnet`", f"* a\n  [Liu et al. (2022)]({CONVNET})"),
        ("| {cite:t}`liu2022convnet` | 3 |", f"| [Liu et al. (2022)]({CONVNET}) | 3 |"),
    ],
)
def test_a_citation_is_a_link(myst, plain):
    assert render.markdown(myst) == plain


@pytest.mark.parametrize(
    "text",
    [
        "Plain *words*, `code`, $a_b$ and [a link](01_timeline.ipynb).",
        "```python\nx = {1: 2}\n```",
        "```\n{cite}`x`\n:::\n(here)=\n```",
        "`` {cite}`x` `` is how MyST cites",
        "    {cite}`x`",
        "a set {a}, and `b`",
        "$$\nx = \\{a\\}\n$$",
        "costs $5 and $6",
        "`{{ a }}`, [`x`](y.ipynb), ![](z.png), 5 % of it, $$a$$ and (b)",
        "<details>\n<summary>S</summary>\n\ntext\n\n</details>",
    ],
)
def test_the_rest_stays_as_it_is(text):
    assert render.markdown(text) == text
    assert render.raw(text) == []


def test_a_box_is_a_quotation_with_its_title_and_all_that_is_in_it():
    myst = """\
before

````{admonition} Common *mistake*
:class: warning
Says {cite:t}`liu2022convnet`, and
$$
a =
b
$$

* one
* two

```python
x = 1

y = "$$"
```
````
after"""
    assert (
        render.markdown(myst)
        == f"""\
before

> **Common *mistake***
>
> Says [Liu et al. (2022)]({CONVNET}), and
> $$ a = b $$
>
> * one
> * two
>
> ```python
> x = 1
>
> y = "$$"
> ```
after"""
    )


def test_boxes_of_other_shapes():
    assert render.markdown(":::{admonition} T\nx\n:::") == "> **T**\n>\n> x"
    assert (
        render.markdown("* a\n\n  ```{admonition} T\n  x\n  ```") == "* a\n\n  > **T**\n  >\n  > x"
    )
    folded = render.markdown("```{admonition} a < b\n:class: dropdown tip\nx\n```")
    assert folded == "<details>\n<summary>a &lt; b</summary>\n\nx\n\n</details>"


@pytest.mark.parametrize(
    ("myst", "words"),
    [
        ("{ref}`there`", "{ref} is not something editors show"),
        ("```{figure} a.png\n```", "{figure} a.png is not something editors show"),
        ("````{admonition} T\n```{code-cell}\n```\n````", "{code-cell} is not something"),
        ("::: note\nx\n:::", "note is not something editors show"),
        ("(here)=\n# Title", r"(here)= is not something editors show"),
        ("a\n\n+++\n\nb", "+++ is not something editors show"),
        ("% for me alone", "% for me alone is not something editors show"),
        ("term\n: what it means", ": what it means is not something editors show"),
        ("see [](01_timeline.ipynb)", "[](01_timeline.ipynb) is not something editors show"),
        ("version {{ version }}", "{{ version }} is not something editors show"),
        ("a [red]{.alarm} word", "]{.alarm} is not something editors show"),
        ("$$\nx\n$$ (energy)", "(energy) is not something editors show"),
        ("{cite:t}`nobody1999`", "'nobody1999' is not in references.bib"),
        ("* ```{admonition} T\n  x\n  ```", "on a line of its own, not after `*`"),
    ],
)
def test_what_editors_cannot_show_is_refused_and_its_cell_named(myst, words):
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# T"), v4.new_markdown_cell(myst)])
    with pytest.raises(render.RenderError) as caught:
        render.for_editors(notebook, "notebooks/00.ipynb")
    assert str(caught.value).startswith("cell 1: ") and words in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "name", "url"),
    [
        (
            "author={Wightman, Ross}, howpublished={\\url{https://a.b/c}}",
            "Wightman",
            "https://a.b/c",
        ),
        ("author={{OpenAI}}, howpublished={a.b/c}", "OpenAI", "https://a.b/c"),
        (
            "author={Sz{\\'e}kely, G. and von Platen, P.}, doi={10.1/x}",
            "Székely and von Platen",
            None,
        ),
        ("author={Liu, A and Mao, B and Xie, C}", "Liu et al.", ""),
    ],
)
def test_authors_and_links(entry, name, url):
    (parsed,) = parse_string(f"@misc{{a, {entry}}}", "bibtex").entries.values()
    assert render.authors(parsed) == name
    assert render.link(parsed) == ("https://doi.org/10.1/x" if url is None else url)


def test_what_is_cited_can_be_read_somewhere():
    assert [key for key, e in render.bibliography().items() if not render.link(e)] == []


def test_hidden_code_is_folded_in_editors_too():
    def code(*tags):
        return v4.new_code_cell("x", metadata={"tags": list(tags)})

    notebook = v4.new_notebook(
        cells=[code("hide-input", "profile-dependent"), code("hide-cell"), code()]
    )
    cells = [c for c in render.for_editors(notebook, "").cells if c.id != render.HEAD_ID]
    assert [c.metadata.get("jupyter") for c in cells] == [
        {"source_hidden": True},
        {"source_hidden": True},
        None,
    ]
    assert [c.id for c in cells] == [c.id for c in notebook.cells]
    assert "jupyter" not in notebook.cells[0].metadata


class Kernel:
    """IPython's, as far as the first cell needs it."""

    def __init__(self):
        self.lines = []

    def run_line_magic(self, name, line):
        self.lines.append(f"%{name} {line}")


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


URL = "https://github.com/ann/course"


def run(url):
    kernel = Kernel()
    code = render.head(url, "notebooks/00.ipynb")[-1].source
    exec(compile(ast.parse(code), "<head>", "exec"), {"get_ipython": lambda: kernel})
    return kernel.lines


@pytest.mark.parametrize("url", ["", URL])
def test_the_first_cell_does_nothing_where_the_package_is(url, capsys):
    assert run(url) == []
    assert capsys.readouterr() == ("", "")


def test_the_first_cell_installs_from_the_repository(missing):
    assert run(URL) == [f'%pip install --quiet "modarch-utils[diffusion] @ git+{URL}"']


def test_without_an_address_the_first_cell_says_what_to_install(missing):
    with pytest.raises(ModuleNotFoundError, match=r'-e "\.\[diffusion,lab\]"`; then restart'):
        run("")


def test_links_to_services_stand_at_the_head_only_with_an_address(monkeypatch):
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# T"), v4.new_code_cell("1")])

    def heads(url):
        monkeypatch.setattr(render.repository, "committed", lambda: url)
        cells = render.for_editors(notebook, "notebooks/02_a.ipynb").cells
        return cells[1:-1]

    (cell,) = heads("")
    assert cell.metadata == {"jupyter": {"source_hidden": True}, "tags": ["remove-cell"]}
    links, cell = heads(URL)
    assert links.source == (
        "Run it on [Colab](https://colab.research.google.com/github/ann/course/blob/main/"
        "notebooks/02_a.ipynb) · "
        f"[Kaggle](https://kaggle.com/kernels/welcome?src={URL}/blob/main/notebooks/02_a.ipynb) · "
        "[Binder](https://mybinder.org/v2/gh/ann/course/main?labpath=notebooks%2F02_a.ipynb)"
    )


def test_a_summary_keeps_its_triangle_where_a_page_takes_it_away():
    box = "<details><summary>Hint</summary>\nLook.\n</details>"
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(box)])
    (shown, _) = render.for_editors(notebook, "notebooks/x.ipynb").cells
    assert '<summary style="display:list-item">Hint</summary>' in shown.source


def test_a_code_span_inside_of_html_is_refused():
    folded = "<details><summary>Answer</summary>\n{}It is `beta`.\n</details>"
    assert render.raw(folded.format("")) == ["`beta`"]
    assert render.raw(folded.format("\n")) == []
