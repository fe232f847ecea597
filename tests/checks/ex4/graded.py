"""What exercise 4 asks for, and what answers give on inputs that are not the checks'."""

from types import SimpleNamespace

import torch
from diffusers import DDIMScheduler, PNDMScheduler

from modarch_utils.checks import ex4
from modarch_utils.checks.ex4 import clock, compare, count, draw, pipelines, stretch, tiny
from tests.checks.answers import Graded, outcome

SAMPLERS = (
    lambda: PNDMScheduler(**tiny.STABLE, skip_prk_steps=True),
    lambda: DDIMScheduler(beta_end=0.015, clip_sample=True, prediction_type="v_prediction"),
)


def latents(pipe):
    torch.manual_seed(0)
    return pipe(
        tiny.PROMPTS[:1],
        num_inference_steps=2,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images


def latents_of(function, seed, *more):
    """What a new pipeline and the given one draw, to three digits."""
    found = []
    with tiny.quiet():
        for sampler in SAMPLERS:
            pipe = tiny.pipeline(seed, sampler())
            made = outcome(function, pipe, *(each(seed) for each in more))
            for one in (made, pipe):
                images = outcome(lambda one=one: latents(tiny.silent(one)))
                found.append(images if isinstance(images, str) else images.round(decimals=2))
    return found


def drawn(function, seed):
    """Pictures' relations: the numbers of a noise are the student's choice."""
    found = []
    with tiny.quiet():
        for sampler, steps, scale in ((tiny.ddim, 1, 1.0), (tiny.lcm, 2, 3.0)):
            pipe = tiny.pipeline(seed, sampler(tiny.STABLE))
            args = tiny.PROMPTS[:2], steps, scale
            one, two, other = (outcome(function, pipe, *args, s) for s in (seed, seed, 3))
            found.append(type(one).__name__)
            if isinstance(one, torch.Tensor):
                same = [bool(tiny.same(one, each)) for each in (two, other, one.flip(0))]
                found += [*one.shape, *same, len(pipe.scheduler.timesteps), pipe.guidance_scale]
                found.append(bool(one.min() >= 0 and one.max() <= 1 and one.std() > 0.02))
    return found


def counted(function, seed):
    found = []
    for batch in (1, 3):
        pipe = type("Pipe", (), {"unet": torch.nn.Linear(4, 4)})()

        def run(pipe=pipe, batch=batch):
            for n in range(batch, batch + seed % 5 + 2):
                pipe.unet(torch.ones(n, 4))

        def fails(run=run):
            run()
            raise LookupError

        for task in (run, run, fails):
            found.append(outcome(function, pipe, task))
        found.append(len(pipe.unet._forward_pre_hooks) + len(pipe.unet._forward_hooks))
    return found


def times(function, seed):
    found = []
    for repeats in (3, 4):
        random, passed, order = torch.Generator().manual_seed(seed), [0.0], []

        def run(name, random=random, passed=passed, order=order):
            order.append(name)
            passed.append(passed[-1] + torch.rand((), generator=random).item())

        runs = {name: lambda name=name: run(name) for name in ("a", "b")}
        found += [outcome(function, runs, repeats, lambda passed=passed: passed[-1]), order]
    return found


class Stub:
    """A pipeline that draws nothing, and moves a clock by what its U-Net is given."""

    def __init__(self, times):
        self.unet, self.times = torch.nn.Identity(), times

    def __call__(self, prompts, num_inference_steps, guidance_scale, **options):
        batch = torch.zeros(len(prompts) * (1 + (guidance_scale > 1)), 3)
        for _ in range(num_inference_steps):
            self.unet(batch)
        self.times.append(self.times[-1] + len(batch) * num_inference_steps)
        return SimpleNamespace(images=batch[: len(prompts)])


def compared(function, seed):
    times = [0.0]
    settings = {"a": (seed % 3 + 4, 3.0), "b": (2, 1.0), "c": (3, 1.0)}
    methods = {name: (Stub(times), *how) for name, how in settings.items()}
    return [outcome(function, methods, ["x", "y"], lambda *_: 0.5, lambda: times[-1])]


def curves(function, seed):
    """The noise is the student's choice, so the mark tells of everything else."""
    with tiny.quiet():
        pipe = tiny.pipeline(seed, tiny.ddim(tiny.STABLE))

        def score(images, prompts):
            return len(pipe.scheduler.timesteps) + pipe.guidance_scale / 8 + len(prompts) / 64

        return [outcome(function, pipe, tiny.PROMPTS[:2], [3, 1], 2.0, score)]


def steps(function, seed):
    return [outcome(function, n + seed % 7, scale) for n in range(9) for scale in (0.0, 1.0, 1.5)]


def strong(function, seed):
    with tiny.quiet():
        pipe = tiny.pipeline(seed, tiny.lcm(tiny.STABLE))
        pipe.load_lora_weights(tiny.lora(seed))
        found = [outcome(function, pipe, s, lambda: latents(pipe)) for s in (0.3, 2.0)]
        found += [outcome(function, pipe, 0.3, lambda: 1 / 0), latents(pipe)]
    return [each.round(decimals=2) if isinstance(each, torch.Tensor) else each for each in found]


GRADED = {
    "ddim_pipeline": Graded(ex4.check_ddim_pipeline, latents_of, pipelines.ddim_pipeline),
    "lcm_pipeline": Graded(
        ex4.check_lcm_pipeline,
        lambda function, seed: latents_of(function, seed, tiny.lora),
        pipelines.lcm_pipeline,
    ),
    "draw": Graded(ex4.check_draw, drawn, draw.draw),
    "count_evaluations": Graded(ex4.check_count_evaluations, counted, count.count_evaluations),
    "timed": Graded(ex4.check_timed, times, clock.timed),
    "compare": Graded(ex4.check_compare, compared, compare.compare),
    "quality_curve": Graded(stretch.check_quality_curve, curves, stretch.quality_curve),
    "steps_for": Graded(stretch.check_steps_for, steps, stretch.steps_for),
    "with_strength": Graded(stretch.check_with_strength, strong, stretch.with_strength),
}
