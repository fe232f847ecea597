"""The checks of exercise 3: right answers pass, and each mistake is called by its name."""

import inspect

import matplotlib.pyplot as plt
import pytest
import torch

from modarch_utils.checks import ex3
from tests.checks.ex3 import right, wrong, wrong_maps
from tests.checks.mistakes import assert_distinct, assert_names

CHECKS = {
    "LOAD": ex3.check_load,
    "INPUT": ex3.check_to_input,
    "GRID": ex3.check_patch_grid,
    "MATRIX": ex3.check_cosine,
    "MAP": ex3.check_patch_map,
    "DRAW": ex3.check_draw_map,
}
WRONG = (wrong, wrong_maps)


def every(*modules):
    """Check and answer, for each answer in the modules."""
    cases = []
    for part, check in CHECKS.items():
        for answer in (a for module in modules for a in getattr(module, part, ())):
            first, *rest = answer if isinstance(answer, tuple) else (answer,)
            cases.append(pytest.param(check, first, *rest, id=f"{part}-{first.__name__}"))
    return cases


@pytest.mark.parametrize(("check", "answer"), every(right))
@pytest.mark.parametrize("seed", range(2))
def test_right_answers_pass(check, answer, seed):
    report = check(answer, seed)
    assert report.passed, str(report)
    assert report.points(5) == 5


@pytest.mark.parametrize(("check", "answer", "rows", "words"), every(*WRONG))
def test_each_mistake_is_named(check, answer, rows, words):
    assert_names(check(answer), set(rows.split("|")), words)


@pytest.mark.parametrize("part", ["INPUT", "GRID", "MATRIX", "MAP"])
def test_it_does_not_depend_on_the_seed(part):
    for answer, rows, words in (a for module in WRONG for a in getattr(module, part, ())):
        assert_names(CHECKS[part](answer, 1), set(rows.split("|")), words)


def test_there_are_enough_answers():
    for part in CHECKS:
        answers = [a for module in WRONG for a in getattr(module, part, ())]
        assert len(answers) >= 15
        assert_distinct(answers)
        assert len(getattr(right, part)) >= 3
    assert sum(len(getattr(right, part)) for part in CHECKS) >= 7
    for module in WRONG:
        used = {a for part in CHECKS for a, *_ in getattr(module, part, ())}
        assert used | module.HELPERS == {
            f
            for f in vars(module).values()
            if inspect.isfunction(f) and f.__module__ == module.__name__
        }


def test_what_the_wrong_ones_are_made_from_is_right():
    assert ex3.check_load(wrong.load).passed
    assert ex3.check_to_input(wrong.by_hand).passed
    assert ex3.check_patch_grid(wrong.patch_grid).passed
    assert ex3.check_cosine(wrong_maps.cosine).passed
    assert ex3.check_patch_map(wrong_maps.patch_map).passed
    assert ex3.check_draw_map(wrong_maps.drawn).passed


def test_two_mistakes_are_two_findings():
    def two(model, pixels):
        """Registers at the end, the last norm left out, and training mode kept."""
        hidden = model(pixels, output_hidden_states=True).hidden_states[-1]
        rows, columns = wrong.sides(model, pixels)
        return hidden[:, 1 : 1 + rows * columns].unflatten(1, (rows, columns))

    rows = {"registers", "last layer", "inference", "no graph"}
    assert_names(ex3.check_patch_grid(two), rows, "before the final LayerNorm")

    def blue_and_bare(picture, processor):
        return wrong.planes(picture).flip(1) / 255

    rows = {"channels", "numbers", "float32"}
    assert_names(ex3.check_to_input(blue_and_bare), rows, "Mean and deviation are missing")


ODD = [
    None,
    3,
    dict,
    lambda *_: None,
    lambda *_: "",
    print,
    lambda *x: x,
    lambda *_: torch.zeros(()),
]


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
@pytest.mark.parametrize("answer", ODD)
def test_odd_things_are_refused(check, answer):
    report = check(answer)
    assert not report.passed
    assert all(f.likely for f in report.findings if f.passed is False)


def test_nan_and_infinity_are_not_right():
    for number in (float("nan"), float("inf")):

        def spoilt(features, number=number):
            return wrong_maps.cosine(features) * number

        assert_names(ex3.check_cosine(spoilt), {"runs"}, "NaN or infinite")
        grid = ex3.check_patch_grid(lambda *x, n=number: wrong.patch_grid(*x) * n)
        assert_names(grid, {"runs"}, "NaN or infinite")


def test_names_are_not_trusted():
    class Liar:
        """Drops class token and registers."""

        passed, shape, __name__ = True, (2, 6, 6, 12), "patch_grid"

        def __call__(self, model, pixels):
            model.config.num_register_tokens = 0  # the network is not what it says any more
            return wrong.registers_at_the_end(model, pixels)

    assert not ex3.check_patch_grid(Liar()).passed


def test_a_changed_network_does_not_change_the_reference():
    @torch.no_grad()
    def zeroed(model, pixels):
        for p in model.parameters():
            p.zero_()
        return wrong.patch_grid(model, pixels)

    assert not ex3.check_patch_grid(zeroed).passed


def test_an_unwritten_part_gets_no_points():
    for check, answer, *_ in (case.values for case in every(*WRONG)):
        if answer.__name__.startswith("empty"):
            report = check(answer)
            assert report.points(5) == 0
            assert "still to be written" in str(report) and "Traceback" not in str(report)


def test_the_checks_leave_no_trace(capsys):
    torch.manual_seed(3)
    before, figures = torch.random.get_rng_state(), plt.get_fignums()
    for check, answer, *_ in (case.values for case in every(right)):
        if answer is getattr(right, next(p for p, c in CHECKS.items() if c is check))[0]:
            check(answer)
    ex3.check_draw_map(wrong_maps.a_new_figure)
    ex3.check_load(wrong.the_plain_class)
    assert torch.equal(before, torch.random.get_rng_state())
    assert plt.get_fignums() == figures
    assert capsys.readouterr() == ("", "")
