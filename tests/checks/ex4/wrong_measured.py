"""Wrong answers to exercise 4 on counting and timing: with rows and words."""

import statistics
import time

# count_evaluations(pipe, run)


def count(pipe, run):
    sizes = []
    with pipe.unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
        run()
    return sum(sizes)


def calls_only(pipe, run):
    calls = []
    with pipe.unet.register_forward_hook(lambda *_: calls.append(1)):
        run()
    return len(calls)


def arguments_counted(pipe, run):
    sizes = []
    with pipe.unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs))):
        run()
    return sum(sizes)


def steps_times_pictures(pipe, run):
    images = run()
    return len(images) * pipe.scheduler.num_inference_steps


def times_of_the_scheduler(pipe, run):
    images = run()
    return len(images) * len(pipe.scheduler.timesteps)


def doubled_for_guidance(pipe, run):
    return 2 * count(pipe, run)


def guidance_left_out(pipe, run):
    total = count(pipe, run)
    return total // 2 if pipe.do_classifier_free_guidance else total


def for_one_picture(pipe, run):
    images = []
    total = count(pipe, lambda: images.append(run()))
    return total / len(images[0])


TOTAL = []


def counter_outside(pipe, run):
    with pipe.unet.register_forward_pre_hook(lambda _, inputs: TOTAL.append(len(inputs[0]))):
        run()
    return sum(TOTAL)


def hook_left(pipe, run):
    sizes = []
    pipe.unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    run()
    return sum(sizes)


def hook_left_after_an_error(pipe, run):
    sizes = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    run()
    hook.remove()
    return sum(sizes)


def forward_left(pipe, run):
    forward, sizes = type(pipe.unet).forward.__get__(pipe.unet), []

    def counted(sample, *args, **options):
        sizes.append(len(sample))
        return forward(sample, *args, **options)

    pipe.unet.forward = counted
    run()
    return sum(sizes)


def error_swallowed(pipe, run):
    try:
        return count(pipe, run)
    except Exception:
        return 0


def warmed_up(pipe, run):
    run()
    return count(pipe, run)


def never_run(pipe, run):
    return count(pipe, lambda: None)


def run_outside_of_the_hook(pipe, run):
    total = count(pipe, lambda: None)
    run()
    return total


def hook_with_too_few_arguments(pipe, run):
    sizes = []

    def hook(inputs):
        sizes.append(len(inputs[0]))

    with pipe.unet.register_forward_pre_hook(hook):
        run()
    return sum(sizes)


def the_list(pipe, run):
    sizes = []
    with pipe.unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
        run()
    return sizes


def counted_without_return(pipe, run):
    count(pipe, run)


def empty_count(pipe, run):
    raise NotImplementedError()


COUNT = [
    (calls_only, "pictures", "A call works on a whole batch"),
    (arguments_counted, "calls", "The hook's inputs are a tuple"),
    (steps_times_pictures, "calls", "These are the steps"),
    (times_of_the_scheduler, "guidance", "goes through the U-Net twice in a step"),
    (doubled_for_guidance, "calls", "Is the factor 2 of guidance assumed"),
    (guidance_left_out, "guidance", "not what you know"),
    (for_one_picture, "pictures", "evaluations for one picture"),
    (counter_outside, "calls|again", "begin at 0 inside"),
    (hook_left, "hooks|error", "after the count, something of yours"),
    (hook_left_after_an_error, "error", "after an error in run()"),
    (forward_left, "hooks", "Remove it whatever happens"),
    (error_swallowed, "error", "must not look like a count"),
    (warmed_up, "once", "2 calls"),
    (never_run, "once", "Call run() while you are counting"),
    (run_outside_of_the_hook, "calls", "Add len(sample) at every call"),
    (hook_with_too_few_arguments, "runs", "a forward pre-hook (module, inputs)"),
    (the_list, "runs", "Return the number alone"),
    (counted_without_return, "runs", "no `return`"),
    (empty_count, "runs", "Replace `raise NotImplementedError()`"),
]

# timed(runs, repeats, clock)


def measured(runs, repeats, clock, warm=1):
    """All seconds of each run, taken in turns."""
    for _ in range(warm):
        for run in runs.values():
            run()
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def timed(runs, repeats, clock, statistic=statistics.median, **options):
    return {n: statistic(s) for n, s in measured(runs, repeats, clock, **options).items()}


def without_warm_up(runs, repeats, clock):
    return timed(runs, repeats, clock, warm=0)


def only_the_first_is_warmed_up(runs, repeats, clock):
    next(iter(runs.values()))()
    return timed(runs, repeats, clock, warm=0)


def warm_up_timed_too(runs, repeats, clock):
    return timed(runs, repeats + 1, clock, warm=0)


def warm_up_taken_from_the_repeats(runs, repeats, clock):
    return timed(runs, repeats - 1, clock)


def mean(runs, repeats, clock):
    return timed(runs, repeats, clock, statistics.mean)


def smallest(runs, repeats, clock):
    return timed(runs, repeats, clock, min)


def largest(runs, repeats, clock):
    return timed(runs, repeats, clock, max)


def summed(runs, repeats, clock):
    return timed(runs, repeats, clock, sum)


def last(runs, repeats, clock):
    return timed(runs, repeats, clock, lambda seconds: seconds[-1])


def all_of_them(runs, repeats, clock):
    return measured(runs, repeats, clock)


def one_repeat(runs, repeats, clock):
    return timed(runs, 1, clock)


def three_repeats(runs, repeats, clock):
    return timed(runs, 3, clock)


def one_cold_repeat(runs, repeats, clock):
    return timed(runs, 1, clock, warm=0)


def one_after_the_other(runs, repeats, clock):
    for run in runs.values():
        run()
    seconds = {n: measured({n: run}, repeats, clock, 0)[n] for n, run in runs.items()}
    return {n: statistics.median(s) for n, s in seconds.items()}


def start_and_end_swapped(runs, repeats, clock):
    return {n: -s for n, s in timed(runs, repeats, clock).items()}


def milliseconds(runs, repeats, clock):
    return {n: 1000 * s for n, s in timed(runs, repeats, clock).items()}


def another_clock(runs, repeats, clock):
    return timed(runs, repeats, time.perf_counter)


def started_once(runs, repeats, clock):
    for run in runs.values():
        run()
    seconds, start = {name: [] for name in runs}, clock()
    for _ in range(repeats):
        for name, run in runs.items():
            run()
            seconds[name].append(clock() - start)
    return {n: statistics.median(s) for n, s in seconds.items()}


def nothing_between(runs, repeats, clock):
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            seconds[name].append(clock() - start)
            run()
    return {n: statistics.median(s) for n, s in seconds.items()}


def whole_rounds(runs, repeats, clock):
    def everything():
        for run in runs.values():
            run()

    seconds = timed({"all": everything}, repeats, clock)["all"]
    return dict.fromkeys(runs, seconds)


def nothing_run(runs, repeats, clock):
    return timed({n: lambda: None for n in runs}, repeats, clock)


def names_lost(runs, repeats, clock):
    return list(timed(runs, repeats, clock).values())


def two_only(runs, repeats, clock):
    return timed(dict(list(runs.items())[:2]), repeats, clock)


def timed_without_return(runs, repeats, clock):
    timed(runs, repeats, clock)


def empty_timed(runs, repeats, clock):
    raise NotImplementedError()


TIMED = [
    (without_warm_up, "warm-up", "A first call is slow"),
    (only_the_first_is_warmed_up, "warm-up", "Run each once before"),
    (warm_up_timed_too, "warm-up", "a first call is counted"),
    (warm_up_taken_from_the_repeats, "repeats", "the warm-up is taken out of it"),
    (mean, "median", "This is the mean"),
    (smallest, "median", "This is the smallest"),
    (largest, "median", "This is the largest"),
    (summed, "median", "This is the sum"),
    (last, "median", "the last call alone"),
    (all_of_them, "median", "These are all of them"),
    (one_repeat, "repeats", "One call is an anecdote"),
    (three_repeats, "repeats", "fixed in the code"),
    (one_cold_repeat, "warm-up|repeats", "One call is an anecdote"),
    (one_after_the_other, "turns", "Let the outer loop be the rounds"),
    (start_and_end_swapped, "clock", "Start and end are swapped"),
    (milliseconds, "clock", "not milliseconds"),
    (another_clock, "clock", "Another clock was read"),
    (started_once, "clock", "The clock is started once"),
    (nothing_between, "clock", "No run lies between"),
    (whole_rounds, "clock", "The clock is read once a round"),
    (nothing_run, "runs", "Call every run"),
    (names_lost, "runs", "Return a dictionary: name to seconds"),
    (two_only, "runs", "Use the names of `runs`"),
    (timed_without_return, "runs", "no `return`"),
    (empty_timed, "runs", "Replace `raise NotImplementedError()`"),
]

HELPERS = {count, measured, timed}
