"""Right answers to exercise 4, each written in another way."""

import copy
import statistics
import tempfile
import time
from functools import partial

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, LCMScheduler, StableDiffusionPipeline

# ddim_pipeline(pipe)


def ddim_from_parts(pipe):
    ddim = DDIMScheduler.from_config(
        pipe.scheduler.config, clip_sample=False, timestep_spacing="trailing"
    )
    parts = {**pipe.components, "scheduler": ddim}
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def ddim_then_scheduler(pipe):
    made = StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
    settings = {"timestep_spacing": "trailing", "clip_sample": False}
    made.scheduler = DDIMScheduler.from_config(dict(made.scheduler.config), **settings)
    return made


def ddim_of_a_copy(pipe):
    made = copy.deepcopy(pipe)
    made.scheduler = DDIMScheduler.from_config(
        made.scheduler.config, timestep_spacing="trailing", clip_sample=False
    )
    return made


def ddim_by_name(pipe):
    config = pipe.scheduler.config
    ddim = DDIMScheduler(
        num_train_timesteps=config.num_train_timesteps,
        beta_start=config["beta_start"],
        beta_end=config["beta_end"],
        beta_schedule=config["beta_schedule"],
        prediction_type=config.get("prediction_type", "epsilon"),
        set_alpha_to_one=config.get("set_alpha_to_one", True),
        steps_offset=config.get("steps_offset", 0),
        timestep_spacing="trailing",
        clip_sample=False,
    )
    return type(pipe)(
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        unet=pipe.unet,
        scheduler=ddim,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def ddim_by_from_pipe(pipe):
    made = StableDiffusionPipeline.from_pipe(pipe)
    made.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", clip_sample=False
    )
    return made


# lcm_pipeline(pipe, folder)


def lcm_from_parts(pipe, folder):
    lcm = LCMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    parts = pipe.components | {"scheduler": lcm, "unet": copy.deepcopy(pipe.unet)}
    made = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    made.load_lora_weights(folder)
    return made


def lcm_of_a_copy(pipe, folder):
    made = copy.deepcopy(pipe)
    made.scheduler = LCMScheduler.from_config(made.scheduler.config, clip_sample=False)
    made.load_lora_weights(str(folder), adapter_name="lcm")
    made.set_adapters(["lcm"], adapter_weights=[1.0])
    return made


def lcm_fused(pipe, folder):
    made = lcm_from_parts(pipe, folder)
    made.fuse_lora()
    return made


def lcm_fused_and_unloaded(pipe, folder):
    made = lcm_fused(pipe, folder)
    made.unload_lora_weights()
    return made


def lcm_with_a_unet_of_the_same_weights(pipe, folder):
    unet = type(pipe.unet).from_config(pipe.unet.config)
    unet.load_state_dict(pipe.unet.state_dict())
    parts = {name: part for name, part in pipe.components.items() if name != "unet"}
    parts["scheduler"] = LCMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    made = StableDiffusionPipeline(unet=unet.eval(), **parts, requires_safety_checker=False)
    made.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors")
    return made


def lcm_through_a_folder(pipe, folder):
    with tempfile.TemporaryDirectory() as place:
        pipe.save_pretrained(place)
        made = DiffusionPipeline.from_pretrained(place)
    made.load_lora_weights(folder)
    made.scheduler = LCMScheduler.from_config(made.scheduler.config, clip_sample=False)
    return made


# draw(pipe, prompts, steps, guidance, seed)


def with_generators(pipe, prompts, steps, guidance, seed=0):
    noises = [torch.Generator().manual_seed(100 * seed + i) for i in range(len(prompts))]
    return pipe(
        prompts,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=noises,
        output_type="pt",
    ).images


def with_one_generator(pipe, prompts, steps, guidance, seed=0):
    options = {"num_inference_steps": steps, "guidance_scale": guidance}
    noise = torch.Generator("cpu")
    noise.manual_seed(seed)
    return pipe(prompt=prompts, generator=noise, output_type="pt", **options)[0].cpu()


def with_torchs_own(pipe, prompts, steps, guidance, seed=0):
    torch.manual_seed(seed)
    return pipe(
        prompts, num_inference_steps=steps, guidance_scale=guidance, output_type="pt"
    ).images


def through_arrays(pipe, prompts, steps, guidance, seed=0):
    images = pipe(
        list(prompts),
        guidance_scale=guidance,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        return_dict=False,
    )[0]
    return torch.from_numpy(np.moveaxis(images, 3, 1))


def one_after_the_other(pipe, prompts, steps, guidance, seed=0):
    images = []
    for i, prompt in enumerate(prompts):
        rng = torch.Generator().manual_seed(seed * 1000 + i)
        images += pipe(
            prompt,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=rng,
            output_type="pt",
        ).images
    return torch.stack(images)


def with_latents(pipe, prompts, steps, guidance, seed=0):
    rng = torch.Generator().manual_seed(seed)
    config = pipe.unet.config
    shape = len(prompts), config.in_channels, config.sample_size, config.sample_size
    latents = torch.randn(shape, generator=rng)
    return pipe(
        prompts,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=latents,
        generator=rng,
        output_type="pt",
    ).images


# count_evaluations(pipe, run)


def by_pre_hook(pipe, run):
    sizes = []
    with pipe.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0]))):
        run()
    return sum(sizes)


def by_hook_and_finally(pipe, run):
    total = 0

    def count(module, inputs, output):
        nonlocal total
        total += inputs[0].shape[0]

    handle = pipe.unet.register_forward_hook(count)
    try:
        run()
    finally:
        handle.remove()
    return total


def by_first_layer(pipe, run):
    counter = torch.zeros((), dtype=torch.int64)

    def count(_, inputs):
        counter.add_(inputs[0].size(0))

    with pipe.unet.conv_in.register_forward_pre_hook(count):
        run()
    return counter


def by_wrapped_forward(pipe, run):
    forward, sizes = pipe.unet.forward, []

    def counted(sample, *args, **kwargs):
        sizes.append(len(sample))
        return forward(sample, *args, **kwargs)

    pipe.unet.forward = counted
    try:
        run()
    finally:
        del pipe.unet.forward
    return int(np.sum(sizes))


# timed(runs, repeats, clock)


def by_lists(runs, repeats=3, clock=time.perf_counter):
    for run in runs.values():
        run()
    taken = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            taken[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in taken.items()}


def first_round_thrown_away(runs, repeats=3, clock=time.perf_counter):
    rounds = []
    for _ in range(repeats + 1):
        row = []
        for run in runs.values():
            before = clock()
            run()
            after = clock()
            row.append(after - before)
        rounds.append(row)
    return dict(zip(runs, np.median(rounds[1:], axis=0), strict=True))


def in_changing_order(runs, repeats=3, clock=time.perf_counter):
    names, seconds = list(runs), {}
    for name in names * 2:  # warm-up
        runs[name]()
    for i in range(repeats):
        for name in names if i % 2 else names[::-1]:
            t = -clock()
            runs[name]()
            seconds.setdefault(name, []).append(t + clock())
    return {n: torch.tensor(s, dtype=torch.float64).median() for n, s in seconds.items()}


def sorted_by_hand(runs, repeats=3, clock=time.perf_counter):
    [run() for run in runs.values()]

    def one(run):
        start = clock()
        run()
        return clock() - start

    table = [{name: one(run) for name, run in runs.items()} for _ in range(repeats)]
    return {name: sorted(row[name] for row in table)[repeats // 2] for name in runs}


# compare(methods, prompts, score, clock)


def by_partial(methods, prompts, score, clock=time.perf_counter):
    runs = {
        name: partial(with_generators, pipe, prompts, n, scale)
        for name, (pipe, n, scale) in methods.items()
    }
    seconds = by_lists(runs, 3, clock)
    table, first = {}, list(seconds.values())[0]
    for name, run in runs.items():
        table[name] = {
            "follows": score(run(), prompts),
            "evaluations": by_pre_hook(methods[name][0], run) / len(prompts),
            "seconds": seconds[name] / len(prompts),
            "speedup": first / seconds[name],
        }
    return table


def pictures_kept_from_timing(methods, prompts, score, clock=time.perf_counter):
    kept, runs = {}, {}
    for name, (pipe, steps, guidance) in methods.items():

        def run(name=name, pipe=pipe, steps=steps, guidance=guidance):
            kept[name] = with_one_generator(pipe, prompts, steps, guidance, 0)

        runs[name] = run
    took = first_round_thrown_away(runs, 3, clock)
    table = {}
    for name in methods:
        pipe = methods[name][0]
        row = {"seconds": took[name] / len(prompts)}
        row["evaluations"] = by_hook_and_finally(pipe, runs[name]) / len(kept[name])
        row["follows"] = score(kept[name], prompts)
        table[name] = row
    first = next(iter(table))
    for row in table.values():
        row["speedup"] = table[first]["seconds"] / row["seconds"]
    return table


def picture_by_picture(methods, prompts, score, clock=time.perf_counter):
    table = {}
    runs = {
        name: (lambda s=setting: one_after_the_other(s[0], prompts, s[1], s[2], 0))
        for name, setting in methods.items()
    }
    counts, marks = {}, {}
    for name, run in runs.items():
        box = []
        counts[name] = by_pre_hook(methods[name][0], lambda run=run, box=box: box.append(run()))
        marks[name] = score(box[0], prompts)
    seconds = in_changing_order(runs, 3, clock)
    n, base = len(prompts), seconds[next(iter(methods))]
    for name in methods:
        table[name] = dict(
            evaluations=counts[name] / n,
            seconds=seconds[name] / n,
            speedup=(base / seconds[name]).item(),
            follows=marks[name],
        )
    return table


# quality_curve(pipe, prompts, steps, guidance, score)


def curve_in_a_loop(pipe, prompts, steps, guidance, score):
    marks = {}
    for number in steps:
        images = with_one_generator(pipe, prompts, number, guidance, seed=3)
        marks[number] = float(score(images, prompts))
    return marks


# steps_for(evaluations, guidance)


def steps_by_cases(evaluations, guidance):
    if guidance > 1:
        if evaluations < 2:
            raise ValueError("guidance needs two evaluations a step")
        return int(evaluations / 2)
    if evaluations >= 1:
        return evaluations
    raise ValueError("no evaluations, no picture")


# with_strength(pipe, strength, run)


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


ANSWERS = {
    "ddim_pipeline": [
        ddim_from_parts,
        ddim_then_scheduler,
        ddim_of_a_copy,
        ddim_by_name,
        ddim_by_from_pipe,
    ],
    "lcm_pipeline": [
        lcm_from_parts,
        lcm_of_a_copy,
        lcm_fused,
        lcm_fused_and_unloaded,
        lcm_with_a_unet_of_the_same_weights,
        lcm_through_a_folder,
    ],
    "draw": [
        with_generators,
        with_one_generator,
        with_torchs_own,
        through_arrays,
        one_after_the_other,
        with_latents,
    ],
    "count_evaluations": [by_pre_hook, by_hook_and_finally, by_first_layer, by_wrapped_forward],
    "timed": [by_lists, first_round_thrown_away, in_changing_order, sorted_by_hand],
    "compare": [by_partial, pictures_kept_from_timing, picture_by_picture],
    "quality_curve": [curve_in_a_loop],
    "steps_for": [steps_by_cases],
    "with_strength": [strength_by_peft],
}
