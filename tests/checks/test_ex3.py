"""The checks of exercise 3: right answers pass, and what is no answer is refused in words."""

import matplotlib.pyplot as plt
import pytest
import torch

from tests.checks.answers import answer
from tests.checks.ex3 import right
from tests.checks.ex3.graded import GRADED

RIGHT = [(name, function) for name, some in right.ANSWERS.items() for function in some]


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("part", "function"), RIGHT, ids=name)
@pytest.mark.parametrize("seed", range(2))
def test_right_answers_pass(part, function, seed):
    report = GRADED[part].check(function, seed)
    assert report.passed, str(report)
    assert report.points(5) == 5


@pytest.mark.parametrize("part", GRADED)
def test_the_check_of_the_solution_leaves_no_trace(part, capsys):
    torch.manual_seed(3)
    before, figures = torch.random.get_rng_state(), plt.get_fignums()
    assert GRADED[part].check(answer("ex3", part, {})).passed
    assert torch.equal(before, torch.random.get_rng_state())
    assert plt.get_fignums() == figures
    assert capsys.readouterr() == ("", "")


def unwritten(*_):
    raise NotImplementedError()


ODD = [
    None,
    3,
    dict,
    lambda *_: None,
    lambda *_: "",
    print,
    lambda *x: x,
    lambda *_: torch.ones(()),
]


@pytest.mark.parametrize("part", GRADED)
@pytest.mark.parametrize("odd", [*ODD, unwritten])
def test_odd_things_are_refused(part, odd):
    report = GRADED[part].check(odd)
    assert report.points(5) == 0
    assert all(f.likely for f in report.findings if f.passed is False)
    assert "Traceback" not in str(report)


TOKENS = "tokens[:, skip:].reshape(n, height // size, width // size, -1)"


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        (
            "patch_grid",
            {
                "model.eval()(pixel_values)": "model(pixel_values, output_hidden_states=True)",
                "last_hidden_state": "hidden_states[-1]",
                "torch.inference_mode": "torch.enable_grad",
                TOKENS: "tokens[:, 1 : tokens.shape[1] - skip + 1]"
                + TOKENS.removeprefix("tokens[:, skip:]"),
            },
            {
                "registers": "registers come right after the class token",
                "last layer": "before the final LayerNorm",
                "inference": "dropout is at work",
                "no graph": "torch.no_grad()",
            },
        ),
        (
            "to_input",
            {
                "permute(2, 0, 1)": "permute(2, 0, 1).flip(0).double()",
                "(pixels - mean) / std": "pixels",
            },
            {
                "channels": "BGR",
                "numbers": "Mean and deviation are missing",
                "float32": "NumPy computes in float64",
            },
        ),
        (
            "patch_map",
            {"row * grid[1]": "row * grid[0]", ".reshape(grid)": ".reshape(grid).flip(1)"},
            {"which patch": "as many patches as there are columns", "places": "row by row"},
        ),
    ],
)
def test_several_mistakes_have_a_row_each(part, change, says):
    report = GRADED[part].check(answer("ex3", part, change))
    wrong = {f.what: f.likely for f in report.findings if f.passed is False}
    assert wrong.keys() == says.keys()
    assert all(words in wrong[row] for row, words in says.items())
