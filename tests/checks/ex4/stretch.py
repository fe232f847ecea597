"""Answers to the stretch parts of exercise 4: right ones, and wrong ones with rows and words."""

import torch

from tests.checks.ex4.right import with_generators, with_one_generator

# quality_curve(pipe, prompts, steps, guidance, score)


def curve(pipe, prompts, steps, guidance, score):
    return {n: score(with_generators(pipe, prompts, n, guidance), prompts) for n in steps}


def curve_in_a_loop(pipe, prompts, steps, guidance, score):
    marks = {}
    for number in steps:
        images = with_one_generator(pipe, prompts, number, guidance, seed=3)
        marks[number] = float(score(images, prompts))
    return marks


def same_steps(pipe, prompts, steps, guidance, score):
    return {n: score(with_generators(pipe, prompts, 4, guidance), prompts) for n in steps}


def own_guidance(pipe, prompts, steps, guidance, score):
    return curve(pipe, prompts, steps, 7.5, score)


def steps_and_guidance_swapped(pipe, prompts, steps, guidance, score):
    return {n: score(with_generators(pipe, prompts, int(guidance), n), prompts) for n in steps}


def seed_of_the_steps(pipe, prompts, steps, guidance, score):
    return {n: score(with_generators(pipe, prompts, n, guidance, n), prompts) for n in steps}


def backwards(pipe, prompts, steps, guidance, score):
    marks = list(curve(pipe, prompts, steps, guidance, score).values())
    return dict(zip(steps, reversed(marks), strict=True))


def judged_once(pipe, prompts, steps, guidance, score):
    images = [with_generators(pipe, prompts, n, guidance) for n in steps]
    mark = score(images[-1], prompts)
    return dict.fromkeys(steps, mark)


def a_list(pipe, prompts, steps, guidance, score):
    return list(curve(pipe, prompts, steps, guidance, score).values())


def evaluations_as_keys(pipe, prompts, steps, guidance, score):
    return {2 * n: mark for n, mark in curve(pipe, prompts, steps, guidance, score).items()}


def unwritten(*_):
    raise NotImplementedError()


CURVE = [curve, curve_in_a_loop]
WRONG_CURVE = [
    (same_steps, "steps", "does not reach draw()"),
    (own_guidance, "steps", "Use the guidance that is given"),
    (steps_and_guidance_swapped, "steps", "Use the guidance that is given"),
    (seed_of_the_steps, "noise", "Keep the seed"),
    (backwards, "marks", "Marks and steps are mixed up"),
    (judged_once, "marks", "Marks and steps are mixed up"),
    (a_list, "runs", "Return a dictionary"),
    (evaluations_as_keys, "runs", "One for each of"),
    (unwritten, "runs", "Replace `raise"),
]

# steps_for(evaluations, guidance)


def steps_for(evaluations, guidance):
    steps = evaluations // (1 + (guidance > 1))
    if not steps:
        raise ValueError("less than one step")
    return steps


def steps_by_cases(evaluations, guidance):
    if guidance > 1:
        if evaluations < 2:
            raise ValueError("guidance needs two evaluations a step")
        return int(evaluations / 2)
    if evaluations >= 1:
        return evaluations
    raise ValueError("no evaluations, no picture")


def guidance_forgotten(evaluations, guidance):
    return steps_for(evaluations, 1.0)


def always_guided(evaluations, guidance):
    return steps_for(evaluations, 2.0)


def upside_down(evaluations, guidance):
    steps_for(evaluations, guidance)
    return evaluations * (2 if guidance > 1 else 1)


def a_fraction(evaluations, guidance):
    steps_for(evaluations, guidance)
    return evaluations / (2 if guidance > 1 else 1)


def rounded_up(evaluations, guidance):
    return -(-evaluations // 2) if guidance > 1 and evaluations > 1 else steps_for(evaluations, 1.0)


def from_one_on(evaluations, guidance):
    return steps_for(evaluations, 2.0 if guidance >= 1.01 or guidance < 1 else 1.0)


def at_least_one(evaluations, guidance):
    return max(1, evaluations // (2 if guidance > 1 else 1))


def nothing_refused(evaluations, guidance):
    return evaluations // (2 if guidance > 1 else 1)


def another_error(evaluations, guidance):
    steps = nothing_refused(evaluations, guidance)
    assert steps >= 1, "too few"
    return steps


def without_a_word(evaluations, guidance):
    if not nothing_refused(evaluations, guidance):
        raise ValueError
    return nothing_refused(evaluations, guidance)


STEPS = [steps_for, steps_by_cases]
WRONG_STEPS = [
    (guidance_forgotten, "with guidance", "goes through the U-Net twice a step"),
    (always_guided, "without guidance", "goes through the U-Net once a step"),
    (upside_down, "with guidance", "upside down"),
    (a_fraction, "without guidance|with guidance", "divide by //"),
    (rounded_up, "odd|too little", "round down"),
    (from_one_on, "limit", "guides where guidance_scale > 1"),
    (at_least_one, "too little", "refuse before you return"),
    (nothing_refused, "too little", "refuse before you return"),
    (another_error, "too little", "Raise ValueError"),
    (without_a_word, "too little", "Say what is wrong"),
    (unwritten, "without guidance|with guidance", "Replace `raise"),
]

# with_strength(pipe, strength, run)


def strength(pipe, strength, run):
    names = pipe.get_active_adapters()
    pipe.set_adapters(names, strength)
    try:
        return run()
    finally:
        pipe.set_adapters(names, 1.0)


def strength_by_peft(pipe, strength, run):
    layers = [m for m in pipe.unet.modules() if hasattr(m, "scale_layer")]
    before = [dict(m.scaling) for m in layers]
    for layer in layers:
        for name in layer.scaling:
            layer.scaling[name] *= strength
    try:
        result = run()
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling.update(scaling)
    return result


def never_set_back(pipe, strength, run):
    pipe.set_adapters(pipe.get_active_adapters(), strength)
    return run()


def not_set_back_after_an_error(pipe, strength, run):
    names = pipe.get_active_adapters()
    pipe.set_adapters(names, strength)
    result = run()
    pipe.set_adapters(names, 1.0)
    return result


def set_too_late(pipe, strength_, run):
    result = run()
    strength(pipe, strength_, lambda: None)
    return result


def squared(pipe, strength_, run):
    return strength(pipe, strength_**2, run)


def fused_on_top(pipe, strength, run):
    """diffusers' unfuse_lora does not take the scale back."""
    pipe.unet.fuse_lora(lora_scale=1 + strength)
    try:
        return run()
    finally:
        pipe.unfuse_lora()


def disabled_afterwards(pipe, strength, run):
    pipe.enable_lora()
    names = pipe.get_active_adapters()
    pipe.set_adapters(names, strength)
    try:
        return run()
    finally:
        pipe.disable_lora()


def disabled_meanwhile(pipe, strength, run):
    pipe.disable_lora()
    try:
        return run()
    finally:
        pipe.enable_lora()


def swallowed(pipe, strength_, run):
    try:
        return strength(pipe, strength_, run)
    except Exception:
        return None


def returns_nothing(pipe, strength_, run):
    strength(pipe, strength_, run)


def run_twice(pipe, strength_, run):
    run()
    return strength(pipe, strength_, run)


def torch_seed(pipe, strength_, run):
    torch.manual_seed(0)
    return strength(pipe, strength_, run)


STRENGTH = [strength, strength_by_peft, torch_seed]
WRONG_STRENGTH = [
    (never_set_back, "afterwards", "Set it back to 1 after run()"),
    (not_set_back_after_an_error, "error", "whatever happens"),
    (set_too_late, "strength", "not set before run()"),
    (squared, "strength", "set twice"),
    (fused_on_top, "strength|afterwards", "pipe.set_adapters(names, strength) sets it"),
    (disabled_afterwards, "afterwards", "set its strength to 1"),
    (disabled_meanwhile, "strength", "unloaded or disabled"),
    (swallowed, "error", "try ... finally, not except"),
    (returns_nothing, "runs", "Return what run() returns"),
    (run_twice, "runs", "Call run() once"),
    (unwritten, "runs", "Replace `raise"),
]
