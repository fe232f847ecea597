"""The checks of exercise 4: right answers pass, and each mistake is called by its name."""

import inspect

import pytest
import torch
from diffusers.utils import logging

from modarch_utils.checks import ex4
from modarch_utils.checks.ex4.stretch import (
    check_quality_curve,
    check_steps_for,
    check_with_strength,
)
from tests.checks.ex4 import right, stretch, wrong, wrong_compare, wrong_measured
from tests.checks.mistakes import assert_distinct, assert_names

CHECKS = {
    "DDIM": ex4.check_ddim_pipeline,
    "LCM": ex4.check_lcm_pipeline,
    "DRAW": ex4.check_draw,
    "COUNT": ex4.check_count_evaluations,
    "TIMED": ex4.check_timed,
    "COMPARE": ex4.check_compare,
}
STRETCH = {
    "CURVE": check_quality_curve,
    "STEPS": check_steps_for,
    "STRENGTH": check_with_strength,
}
WRONG = (wrong, wrong_measured, wrong_compare)
MADE_FROM = {
    "DDIM": wrong.ddim,
    "LCM": wrong.lcm,
    "DRAW": wrong.draw,
    "COUNT": wrong_measured.count,
    "TIMED": wrong_measured.timed,
    "COMPARE": wrong_compare.compare,
}


@pytest.fixture(autouse=True)
def nothing_kept():
    """Some wrong answers keep things from call to call."""
    wrong.FIRST.clear()
    wrong_measured.TOTAL.clear()
    wrong.ONE.manual_seed(0)


def cases(checks, *modules, prefix=""):
    """Check and answer, for each answer in the modules."""
    found = []
    for part, check in checks.items():
        for answer in (a for module in modules for a in getattr(module, prefix + part, ())):
            first, *rest = answer if isinstance(answer, tuple) else (answer,)
            found.append(pytest.param(check, first, *rest, id=f"{part}-{first.__name__}"))
    return found


@pytest.mark.parametrize(("check", "answer"), cases(CHECKS, right) + cases(STRETCH, stretch))
def test_right_answers_pass(check, answer):
    report = check(answer)
    assert report.passed, str(report)
    assert report.points(5) == 5


@pytest.mark.parametrize("seed", (1, 2))
@pytest.mark.parametrize("part", CHECKS)
def test_right_answers_pass_with_other_weights(part, seed):
    report = CHECKS[part](getattr(right, part)[0], seed)
    assert report.passed, str(report)


@pytest.mark.parametrize("seed", range(20))
def test_times_do_not_depend_on_the_seed(seed):
    for answer in right.TIMED:
        assert ex4.check_timed(answer, seed).passed
    for answer, rows, words in wrong_measured.TIMED:
        assert_names(ex4.check_timed(answer, seed), set(rows.split("|")), words)


@pytest.mark.parametrize(
    ("check", "answer", "rows", "words"),
    cases(CHECKS, *WRONG) + cases(STRETCH, stretch, prefix="WRONG_"),
)
def test_each_mistake_is_named(check, answer, rows, words):
    assert_names(check(answer), set(rows.split("|")), words)


def test_there_are_enough_answers():
    for part in CHECKS:
        answers = [a for module in WRONG for a in getattr(module, part, ())]
        assert len(answers) >= 15
        assert_distinct(answers)
        assert len(getattr(right, part)) >= 3
    assert sum(len(getattr(right, part)) for part in CHECKS) >= 6 * 4
    for module in WRONG:
        used = {a for part in CHECKS for a, *_ in getattr(module, part, ())}
        assert used | module.HELPERS == {
            f
            for f in vars(module).values()
            if inspect.isfunction(f) and f.__module__ == module.__name__
        }


@pytest.mark.parametrize("part", CHECKS)
def test_what_the_wrong_ones_are_made_from_is_right(part):
    report = CHECKS[part](MADE_FROM[part])
    assert report.passed, str(report)


def test_two_mistakes_are_two_findings():
    def like_the_script(runs, repeats, clock):
        """No warm-up, one after the other, and a mean."""
        seconds = {}
        for name, run in runs.items():
            start = clock()
            for _ in range(repeats):
                run()
            seconds[name] = (clock() - start) / repeats
        return seconds

    rows = {"warm-up", "turns", "median"}
    assert_names(ex4.check_timed(like_the_script), rows, "This is the mean")

    def clipped_and_leading_in_place(pipe):
        pipe.scheduler = wrong.ddim(pipe, timestep_spacing="leading", clip_sample=True).scheduler
        return pipe

    rows = {"spacing", "clipping", "caller"}
    assert_names(ex4.check_ddim_pipeline(clipped_and_leading_in_place), rows, "at t = 1")

    def unseeded_and_signed(pipe, prompts, steps, guidance, seed):
        return wrong.draw(pipe, prompts, steps, 7.5, seed, generator=None) * 2 - 1

    rows = {"range", "guidance", "repeat"}
    assert_names(ex4.check_draw(unseeded_and_signed), rows, "numbers from -1 to 1")


ODD = [None, 3, dict, lambda *_: None, lambda *_: "", print, lambda *x: x, lambda *x: x[0]]


@pytest.mark.parametrize("check", [*CHECKS.values(), *STRETCH.values()])
def test_odd_things_are_refused(check):
    for answer in ODD:
        report = check(answer)
        assert not report.passed, str(report)
        assert all(f.likely for f in report.findings if f.passed is False)


@pytest.mark.parametrize("part", ["DDIM", "LCM"])
def test_damage_does_not_last(part):
    """The checks draw with networks of their own, once; no answer may reach those."""

    def ruins(pipe, *folder):
        for network in (pipe.unet, pipe.vae, pipe.text_encoder):
            for p in network.parameters():
                p.data.zero_()
        pipe.scheduler.register_to_config(beta_end=0.5)
        return MADE_FROM[part](pipe, *folder)

    assert "caller" in {f.what for f in CHECKS[part](ruins).findings if f.passed is False}
    report = CHECKS[part](MADE_FROM[part])
    assert report.passed, str(report)


def test_names_are_not_trusted():
    class DDIMScheduler(wrong.PNDMScheduler):
        """PNDM under another name."""

    def renamed(pipe):
        return wrong.with_scheduler(pipe, DDIMScheduler)

    assert_names(ex4.check_ddim_pipeline(renamed), {"DDIM"}, "still the pipeline's own")

    def adapters_by_name_only(pipe, folder):
        made = wrong.lcm(pipe, folder)
        for name, p in made.unet.named_parameters():
            if "lora_B" in name:
                torch.nn.init.zeros_(p)
        assert made.get_active_adapters()
        return made

    assert_names(ex4.check_lcm_pipeline(adapters_by_name_only), {"LoRA"}, "not in the U-Net")


def test_numbers_that_are_none():
    def nan(runs, repeats, clock):
        return {n: float("nan") for n in wrong_measured.timed(runs, repeats, clock)}

    assert_names(ex4.check_timed(nan), {"runs"}, "NaN or infinite")

    def spoilt(*arguments):
        return wrong.draw(*arguments) * float("inf")

    assert_names(ex4.check_draw(spoilt), {"runs"}, "NaN or infinite")


def test_an_unwritten_part_gets_no_points():
    for part, check in CHECKS.items():
        (answer,) = (
            a for module in WRONG for a, *_ in getattr(module, part, ()) if "empty" in a.__name__
        )
        report = check(answer)
        assert report.points(5) == 0
        assert "still to be written" in str(report) and "Traceback" not in str(report)


def test_an_unwritten_part_before_it_is_said_so():
    def calls_an_unwritten_one(methods, prompts, score, clock):
        return wrong_measured.empty_timed(methods, 3, clock)

    report = ex4.check_compare(calls_an_unwritten_one)
    assert report.points(5) == 0 and "still to be written" in str(report)


def test_the_checks_leave_no_trace(capfd):
    torch.manual_seed(3)
    before, level = torch.random.get_rng_state(), logging.get_verbosity()
    for part, check in CHECKS.items():
        check(getattr(right, part)[0])
    ex4.check_draw(right.with_torchs_own)
    for part, check in STRETCH.items():
        check(getattr(stretch, part)[-1])
    assert torch.equal(before, torch.random.get_rng_state())
    assert logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")
