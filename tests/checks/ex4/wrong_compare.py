"""Wrong answers to exercise 4 on the comparison: with rows and words."""

import time
from functools import partial

from tests.checks.ex4.wrong import draw
from tests.checks.ex4.wrong_measured import count, timed

# compare(methods, prompts, score, clock)


def compare(methods, prompts, score, clock, *, judge=None, run=None, row=None, tune=None):
    """The right answer, of which a piece can be another.

    Args:
        judge: from a name, its pictures and all settings to what ``score`` says.
        run: from a name, its setting and the prompts to a function that draws.
        row: changes a row, from its name and itself.
        tune: from a name to the setting that is drawn.
    """
    settings = {name: tune(name) if tune else setting for name, setting in methods.items()}
    run = run or (lambda name, s, prompts: partial(draw, s[0], prompts, s[1], s[2], 0))
    runs = {name: run(name, setting, prompts) for name, setting in settings.items()}
    seconds = timed(runs, 3, clock)
    first = next(iter(seconds.values()))
    table, n = {}, len(prompts)
    for name, one in runs.items():
        images = []
        evaluations = count(methods[name][0], lambda one=one, to=images: to.append(one()))
        mark = judge(name, images[0]) if judge else score(images[0], prompts)
        made = {
            "evaluations": evaluations / n,
            "seconds": seconds[name] / n,
            "speedup": first / seconds[name],
            "follows": mark,
        }
        table[name] = row(name, made) if row else made
    return table


def change(**columns):
    """A change of rows: columns as functions of name and row."""
    return lambda name, row: row | {key: f(name, row) for key, f in columns.items()}


def evaluations_are_steps(methods, prompts, score, clock):
    rows = change(evaluations=lambda name, _: methods[name][1])
    return compare(methods, prompts, score, clock, row=rows)


def steps_and_guidance_assumed(methods, prompts, score, clock):
    rows = change(evaluations=lambda name, _: methods[name][1] * (1 + (methods[name][2] > 1)))
    return compare(methods, prompts, score, clock, row=rows)


def guidance_not_counted(methods, prompts, score, clock):
    rows = change(evaluations=lambda name, r: r["evaluations"] / (1 + (methods[name][2] > 1)))
    return compare(methods, prompts, score, clock, row=rows)


def evaluations_of_the_batch(methods, prompts, score, clock):
    rows = change(evaluations=lambda _, r: r["evaluations"] * len(prompts))
    return compare(methods, prompts, score, clock, row=rows)


def evaluations_of_all_runs(methods, prompts, score, clock):
    # A warm-up, three repeats, and the one that is judged.
    rows = change(evaluations=lambda _, r: r["evaluations"] * 5)
    return compare(methods, prompts, score, clock, row=rows)


def seconds_of_the_batch(methods, prompts, score, clock):
    rows = change(seconds=lambda _, r: r["seconds"] * len(prompts))
    return compare(methods, prompts, score, clock, row=rows)


def seconds_of_a_step(methods, prompts, score, clock):
    rows = change(seconds=lambda name, r: r["seconds"] / methods[name][1])
    return compare(methods, prompts, score, clock, row=rows)


def pictures_in_a_second(methods, prompts, score, clock):
    rows = change(seconds=lambda _, r: 1 / r["seconds"])
    return compare(methods, prompts, score, clock, row=rows)


def judging_timed(methods, prompts, score, clock):
    def run(name, setting, prompts):
        def drawn():
            images = draw(setting[0], prompts, setting[1], setting[2], 0)
            score(images, prompts)
            return images

        return drawn

    return compare(methods, prompts, score, clock, run=run)


def cold_first_call(methods, prompts, score, clock):
    table = {}
    for name, (pipe, steps, guidance) in methods.items():
        start = clock()
        images = draw(pipe, prompts, steps, guidance, 0)
        seconds = (clock() - start) / len(prompts)
        run = partial(draw, pipe, prompts, steps, guidance, 0)
        table[name] = {
            "evaluations": count(pipe, run) / len(prompts),
            "seconds": seconds,
            "speedup": next(iter(table.values()), {"seconds": seconds})["seconds"] / seconds,
            "follows": score(images, prompts),
        }
    return table


def clock_not_handed_on(methods, prompts, score, clock):
    return compare(methods, prompts, score, time.perf_counter)


def upside_down(methods, prompts, score, clock):
    rows = change(speedup=lambda _, r: 1 / r["speedup"])
    return compare(methods, prompts, score, clock, row=rows)


def ratio_of_steps(methods, prompts, score, clock):
    first = next(iter(methods.values()))[1]
    rows = change(speedup=lambda name, _: first / methods[name][1])
    return compare(methods, prompts, score, clock, row=rows)


def ratio_of_evaluations(methods, prompts, score, clock):
    table = compare(methods, prompts, score, clock)
    first = next(iter(table.values()))["evaluations"]
    return {n: r | {"speedup": first / r["evaluations"]} for n, r in table.items()}


def relative_to_the_last(methods, prompts, score, clock):
    table = compare(methods, prompts, score, clock)
    last = list(table.values())[-1]["speedup"]
    return {n: r | {"speedup": r["speedup"] / last} for n, r in table.items()}


def share_saved(methods, prompts, score, clock):
    rows = change(speedup=lambda _, r: 1 - 1 / r["speedup"])
    return compare(methods, prompts, score, clock, row=rows)


def steps_swapped(methods, prompts, score, clock):
    names = list(methods)
    others = dict(zip(names, names[::-1], strict=True))

    def tune(name):
        pipe, _, guidance = methods[name]
        return pipe, methods[others[name]][1], guidance

    return compare(methods, prompts, score, clock, tune=tune)


def guidance_for_all(methods, prompts, score, clock):
    def tune(name):
        return *methods[name][:2], 7.5

    return compare(methods, prompts, score, clock, tune=tune)


def last_pipe_for_all(methods, prompts, score, clock):
    """A lambda in a loop sees the loop's last variables."""
    runs = {}
    for name, (pipe, steps, guidance) in methods.items():
        runs[name] = lambda: draw(pipe, prompts, steps, guidance, 0)  # noqa: B023
    return compare(methods, prompts, score, clock, run=lambda name, *_: runs[name])


def first_prompt_to_save_time(methods, prompts, score, clock):
    def run(name, setting, prompts):
        some = prompts if name == "LCM" else prompts[:1] * len(prompts)
        return partial(draw, setting[0], some, setting[1], setting[2], 0)

    return compare(methods, prompts, score, clock, run=run)


def another_seed_for_each(methods, prompts, score, clock):
    names = list(methods)

    def run(name, setting, prompts):
        return partial(draw, setting[0], prompts, setting[1], setting[2], names.index(name))

    return compare(methods, prompts, score, clock, run=run)


def another_seed_for_the_judged(methods, prompts, score, clock):
    def judge(name, images):
        return score(draw(methods[name][0], prompts, *methods[name][1:], 1), prompts)

    return compare(methods, prompts, score, clock, judge=judge)


def more_steps_for_the_judged(methods, prompts, score, clock):
    def judge(name, images):
        pipe, steps, guidance = methods[name]
        return score(draw(pipe, prompts, steps + 5, guidance, 0), prompts)

    return compare(methods, prompts, score, clock, judge=judge)


def judged_from_minus_one(methods, prompts, score, clock):
    def judge(name, images):
        return score(images * 2 - 1, prompts)

    return compare(methods, prompts, score, clock, judge=judge)


def prompts_reversed_for_the_judge(methods, prompts, score, clock):
    def judge(name, images):
        return score(images, prompts[::-1])

    return compare(methods, prompts, score, clock, judge=judge)


def first_picture_judged(methods, prompts, score, clock):
    def judge(name, images):
        return score(images[:1], prompts)

    return compare(methods, prompts, score, clock, judge=judge)


def never_judged(methods, prompts, score, clock):
    return compare(methods, prompts, score, clock, judge=lambda name, images: 1.0)


def first_methods_mark(methods, prompts, score, clock):
    table = compare(methods, prompts, score, clock)
    first = next(iter(table.values()))["follows"]
    return {n: r | {"follows": first} for n, r in table.items()}


def percent(methods, prompts, score, clock):
    rows = change(follows=lambda _, r: 100 * r["follows"])
    return compare(methods, prompts, score, clock, row=rows)


def a_list_of_rows(methods, prompts, score, clock):
    return list(compare(methods, prompts, score, clock).values())


def a_column_is_missing(methods, prompts, score, clock):
    table = compare(methods, prompts, score, clock)
    return {n: {k: v for k, v in r.items() if k != "evaluations"} for n, r in table.items()}


def two_methods_only(methods, prompts, score, clock):
    return compare(dict(list(methods.items())[:2]), prompts, score, clock)


def compared_without_return(methods, prompts, score, clock):
    compare(methods, prompts, score, clock)


def empty_compare(methods, prompts, score, clock):
    raise NotImplementedError()


COMPARE = [
    (evaluations_are_steps, "evaluations", "These are the steps"),
    (steps_and_guidance_assumed, "evaluations", "PNDM makes one call more: count"),
    (guidance_not_counted, "evaluations", "The calls are counted"),
    (evaluations_of_the_batch, "evaluations", "for the whole batch"),
    (evaluations_of_all_runs, "evaluations", "of all runs together"),
    (seconds_of_the_batch, "seconds", "seconds for the whole batch"),
    (seconds_of_a_step, "seconds", "seconds for a step"),
    (pictures_in_a_second, "seconds", "turn it round"),
    (judging_timed, "seconds", "while the pictures are judged"),
    (cold_first_call, "seconds", "The first call is counted"),
    (clock_not_handed_on, "seconds", "Another clock was read"),
    (upside_down, "speedup", "upside down"),
    (ratio_of_steps, "speedup", "a ratio of steps"),
    (ratio_of_evaluations, "speedup", "a ratio of U-Net evaluations"),
    (relative_to_the_last, "speedup", "relative to the last"),
    (share_saved, "speedup", "a share saved"),
    (steps_swapped, "settings", "are they swapped"),
    (guidance_for_all, "settings", "would be guided twice"),
    (last_pipe_for_all, "runs", "Draw with every method's pipeline"),
    (first_prompt_to_save_time, "prompts", "draws the same prompts"),
    (another_seed_for_each, "noise", "The seed differs"),
    (another_seed_for_the_judged, "noise", "what is judged is not what was timed"),
    (more_steps_for_the_judged, "settings", "Some run has its own number of steps"),
    (judged_from_minus_one, "judged", "from -1 to 1"),
    (prompts_reversed_for_the_judge, "judged", "in their order"),
    (first_picture_judged, "judged", "Show it all pictures at once"),
    (never_judged, "judged", "was never called"),
    (first_methods_mark, "follows", "Marks and methods are mixed up"),
    (percent, "follows", "Leave it from 0 to 1"),
    (a_list_of_rows, "runs", "Return a dictionary, method to row"),
    (a_column_is_missing, "runs", "Each row has the keys"),
    (two_methods_only, "runs", "Use the names of `methods`"),
    (compared_without_return, "runs", "no `return`"),
    (empty_compare, "runs", "Replace `raise NotImplementedError()`"),
]

HELPERS = {compare, change}
