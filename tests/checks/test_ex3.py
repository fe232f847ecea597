"""The checks of exercise 3: several mistakes in one answer."""

import pytest

from tests.checks.answers import answer
from tests.checks.ex3.graded import GRADED

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
