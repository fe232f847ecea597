# %% [markdown]
# # Exercise 4: how much faster is LCM-LoRA?
#
# A colleague has run a script from the web. It draws one picture with "DDIM, 50 steps", loads LCM-LoRA {cite:p}`luo2023lcmlora`, draws one in 4 steps, and prints how many times
# as fast that was. The number looks splendid. You are asked whether it may stand in a report.
#
# It may not. The sampler was never set, so it was PNDM. Half of the U-Net's work was guidance, which the second picture went without. The first picture paid for
# everything that happens only once. There was no seed and no second try, and nobody looked at the pictures.
#
# **You need** chapter 05, "From points to pictures" to "Measured". **Time**: 60 to 75 minutes, the stretch parts 10 minutes each. On a laptop a check takes about
# a second, and everything after the checks about a minute.
#
# **You will practise** a comparison that somebody else can repeat: two pipelines that do not disturb each other, the same noise for both, work that is counted, times that can be trusted, and a
# mark for the pictures. Six short functions. The first five need nothing of each other; the sixth puts the last three together.

# %%
import copy
import statistics
import textwrap
import time
from functools import partial

import matplotlib.pyplot as plt
import torch
import transformers
from diffusers import DDIMScheduler, LCMScheduler, StableDiffusionPipeline
from diffusers.utils import logging
from IPython.display import display
from modarch_utils import plots, profile, records, zoo
from modarch_utils.checks import ex4
from modarch_utils.checks.ex4 import stretch
from modarch_utils.data import pairs
from modarch_utils.models import reader
from modarch_utils.training import reading
from timm.data import ImageNetInfo, resolve_model_data_config
from torch.nn import functional as F
from torchvision.transforms.v2.functional import normalize

plots.use_style(dpi=110)
for library in (logging, transformers.logging):
    library.set_verbosity_error()
    library.disable_progress_bar()
here = profile.current()

# %% [markdown]
# ## Part 1: a pipeline that samples with DDIM
#
# A pipeline comes with the sampler that it was saved with, in diffusers' word a *scheduler*: `pipe.scheduler`. Stable Diffusion 1.5 has PNDM, which calls the U-Net 51 times in "50 steps".
#
# Write `ddim_pipeline(pipe)`. It returns a **new** pipeline of the same networks that samples with DDIM:
#
# * the noise schedule, and all else that the networks were trained with, is that of `pipe`;
# * the steps begin at the last time, where there is nothing but noise: `timestep_spacing` is `"trailing"`;
# * latents are **not clipped**, whatever `pipe` was saved with;
# * `pipe` itself stays as it is. It will be tried with pipelines of several samplers.
#
# <details><summary>Hint 1: the sampler</summary>
# <code>DDIMScheduler.from_config(config, name=value, ...)</code> takes over a configuration, and changes what you name.
# </details>
#
# <details><summary>Hint 2: a new pipeline</summary>
#
# <code>pipe.components</code> is a dictionary of all parts, and <code>StableDiffusionPipeline(**parts, requires_safety_checker=False)</code> puts parts together. The networks are not
# copied by that.
# </details>


# %% tags=["solution:ddim-pipeline"]
def ddim_pipeline(pipe):
    """A pipeline of the same networks that samples with DDIM."""
    ### BEGIN SOLUTION
    changed = {"timestep_spacing": "trailing", "clip_sample": False}
    ddim = DDIMScheduler.from_config(pipe.scheduler.config, **changed)
    parts = pipe.components | {"scheduler": ddim}
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)
    ### END SOLUTION


# %% [markdown]
# The check of each part shows all that it found. Rows that say "not yet" wait for another row. The number below the table is your points.

# %% tags=["check:ddim-pipeline:3"]
report_1 = ex4.check_ddim_pipeline(ddim_pipeline)
display(report_1)
report_1.points(3)

# %% [markdown]
# ## Part 2: a pipeline with LCM-LoRA
#
# LCM-LoRA is two things: a difference of weights, and a sampler that knows what the changed network's answers mean.
#
# Write `lcm_pipeline(pipe, folder)`. It returns a **new** pipeline with the LoRA of `folder` in its U-Net, that samples with `LCMScheduler`; the noise schedule is that of `pipe`, and latents are not
# clipped. **`pipe` draws afterwards as it did before.** That is the difficult part: `load_lora_weights` writes into the U-Net, and two pipelines of the same parts have the same U-Net.
# (One pipeline that loads the LoRA and unloads it again would do as well, as long as every switch stays outside of the clock. Two of them cannot be confused.)
#
# <details><summary>Hint</summary>
# <code>copy.deepcopy</code> copies a network with its weights.
# </details>


# %% tags=["solution:lcm-pipeline"]
def lcm_pipeline(pipe, folder):
    """A pipeline with the LoRA of a folder in a U-Net of its own, and LCM's sampler."""
    ### BEGIN SOLUTION
    lcm = LCMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    parts = pipe.components | {"unet": copy.deepcopy(pipe.unet), "scheduler": lcm}
    fast = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    fast.load_lora_weights(folder)
    return fast
    ### END SOLUTION


# %% tags=["check:lcm-pipeline:3"]
report_2 = ex4.check_lcm_pipeline(lcm_pipeline)
display(report_2)
report_2.points(3)

# %% [markdown]
# ## Part 3: draw, so that it can be repeated
#
# Write `draw(pipe, prompts, steps, guidance, seed)`. It returns one picture for each prompt of the list, as one tensor `(N, 3, H, W)` with numbers from 0 to 1.
#
# * **The same arguments give the same pictures**, whatever was drawn before and whichever pipeline has drawn it.
# * Another seed gives other noise. Each picture has a noise of its own.
# * DDIM and LCM begin **with the same noise**, so that their pictures can be compared one by one.
# * Where there is a GPU, the pictures come back to the CPU: `.cpu()`. This also waits until the GPU has finished, which a clock would otherwise not see. (The check has no GPU and cannot look.)
#
# <details><summary>Hint 1: noise</summary>
# A pipeline takes <code>generator=</code>, one <code>torch.Generator</code> or a list of them, one for each prompt. <code>torch.Generator().manual_seed(n)</code> makes a new one.
# </details>
#
# <details><summary>Hint 2: the tensor</summary>
# <code>output_type="pt"</code>, and the field <code>images</code> of what comes back.
# </details>


# %% tags=["solution:draw"]
def draw(pipe, prompts, steps, guidance, seed=0):
    """One picture for each prompt, (N, 3, H, W) in [0, 1]."""
    ### BEGIN SOLUTION
    noises = [
        torch.Generator().manual_seed(1000 * seed + i) for i in range(len(prompts))
    ]
    options = {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "output_type": "pt",
    }
    return pipe(prompts, generator=noises, **options).images.cpu()
    ### END SOLUTION


# %% tags=["check:draw:4"]
report_3 = ex4.check_draw(draw)
display(report_3)
report_3.points(4)

# %% [markdown]
# ## Part 4: count the work
#
# Nearly all of the time goes into the U-Net. How often does a picture go through it? Before you count, guess it for the script: "50 steps" with a guidance scale of 7.5, then 4 steps with 1.0.
#
# Write `count_evaluations(pipe, run)`. It calls `run()` once, which draws with `pipe`, and returns how many **pictures** `pipe.unet` has worked on meanwhile: a call with a batch of N counts N. Count what
# the U-Net is given; assume nothing about steps and guidance. Afterwards the U-Net is as it was, also if `run()` raises an error, which goes on to the caller.
#
# <details><summary>Hint</summary>
# <code>module.register_forward_pre_hook(f)</code> has <code>f(module, inputs)</code> called before every call, with the positional arguments as a tuple. What it returns can be used in a <code>with</code>
# statement, at whose end the hook is gone.
# </details>


# %% tags=["solution:count-evaluations"]
def count_evaluations(pipe, run):
    """How many pictures go through the U-Net while run() runs."""
    ### BEGIN SOLUTION
    batches = []
    hook = pipe.unet.register_forward_pre_hook(
        lambda _, inputs: batches.append(len(inputs[0]))
    )
    with hook:
        run()
    return sum(batches)
    ### END SOLUTION


# %% tags=["check:count-evaluations:3"]
report_4 = ex4.check_count_evaluations(count_evaluations)
display(report_4)
report_4.points(3)

# %% [markdown]
# <details><summary>And the script's?</summary>
# 102 for the "50 steps": PNDM makes 51 calls, and guidance puts each picture in twice. 4 for the other. A ratio of 25.5, of which the LoRA has earned 12.5; the rest is guidance switched off, and a sampler that is not
# the one in the title.
# </details>
#
# ## Part 5: take the time
#
# Write `timed(runs, repeats, clock)`. `runs` is a dictionary from names to functions without arguments. It returns a dictionary from the same names to seconds:
#
# 1. **Warm up**: each is called once, and that is not counted. A first call fetches memory and chooses kernels.
# 2. Then `repeats` rounds. In each round **they take turns**: every run is called once, timed by itself. A machine that slows down meanwhile then harms all of them.
# 3. The **median** of each. One slow moment does not move it, as it moves a mean.
#
# `clock()` gives the seconds of a clock. Use it and no other: the check brings one of its own, and waits for nothing.


# %% tags=["solution:timed"]
def timed(runs, repeats=3, clock=time.perf_counter):
    """The median seconds of each run."""
    ### BEGIN SOLUTION
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}
    ### END SOLUTION


# %% tags=["check:timed:3"]
report_5 = ex4.check_timed(timed)
display(report_5)
report_5.points(3)

# %% [markdown]
# ## Part 6: compare
#
# Write `compare(methods, prompts, score, clock)`, with the functions of parts 3 to 5.
#
# * `methods` is a dictionary from a name to `(pipe, steps, guidance)`. Every method draws all prompts in one batch, with the seed 0.
# * `score(images, prompts)` tells from 0 to 1 how far pictures follow their prompts.
# * `clock` is for `timed`, with 3 repeats.
#
# It returns a dictionary from each name, in the order of `methods`, to a row, which is a dictionary with four numbers:
#
# | key | number |
# |---|---|
# | `evaluations` | of the U-Net, for **one picture** |
# | `seconds` | for **one picture** |
# | `speedup` | how many times as fast as the **first** method: its seconds divided by this one's |
# | `follows` | what `score` says of the pictures: the very ones that were timed, with these steps, this guidance and this noise |
#
# <details><summary>Hint</summary>
# <code>lambda: draw(pipe, ...)</code> in a loop sees the loop's <em>last</em> <code>pipe</code>. <code>functools.partial(draw, pipe, ...)</code> and a default argument,
# <code>lambda pipe=pipe: ...</code>, keep each its own.
# </details>


# %% tags=["solution:compare"]
def compare(methods, prompts, score, clock=time.perf_counter):
    """A row of evaluations, seconds, speedup and follows for each method."""
    ### BEGIN SOLUTION
    runs = {
        name: partial(draw, pipe, prompts, *how, 0)
        for name, (pipe, *how) in methods.items()
    }
    seconds = timed(runs, 3, clock)
    n, first = len(prompts), next(iter(seconds.values()))
    compared, images = {}, []
    for name, run in runs.items():
        count = count_evaluations(
            methods[name][0], lambda run=run: images.append(run())
        )
        row = {"evaluations": count / n, "seconds": seconds[name] / n}
        row |= {"speedup": first / seconds[name], "follows": score(images[-1], prompts)}
        compared[name] = row
    return compared
    ### END SOLUTION


# %% tags=["check:compare:5"]
report_6 = ex4.check_compare(compare)
display(report_6)
report_6.points(5)

# %% [markdown]
# ## All six together
#
# Four methods, so that the two savings can be told apart: DDIM in 50 steps with guidance and without, DDIM in 4 steps, and LCM-LoRA in 4. On a laptop they draw with the course's `mini-sd`, and a network that was trained to
# read renderings marks the pictures: one that shows both shapes, both colours, the sides and the ground as its prompt asks is right. With `MODARCH_PROFILE=gpu` it is Stable Diffusion 1.5 with its own LCM-LoRA; the prompts
# are then classes of ImageNet, and a picture is right if the profile's classifier sees the class that was asked for.
#
# Write your guess down first. If a picture by guided DDIM in 50 steps takes a second, how long does one by each of the others? And how many of eight are right? The table comes as soon as all six checks pass.

# %% tags=["hide-input"]
if here.text_to_image == "mini-sd":
    usual = 3.0
    prompts = pairs.load(8, seed=31).captions()
    judge = reader.load(zoo.folder("mini-reader"))

    def score(images, prompts):
        """The share of pictures in which everything is as asked: shapes, colours, sides, ground."""
        return reading.score(judge, images, prompts)["all_right"]
else:
    usual = 7.5
    imagenet = ImageNetInfo()
    wanted = (9, 130, 207, 291, 340, 404, 817, 980)
    classes = {
        f"{imagenet.index_to_description(k).split(',')[0]}, photograph": k
        for k in wanted
    }
    prompts = list(classes)
    judge = zoo.load_timm(here.classifier).eval()
    inputs = resolve_model_data_config(judge)

    @torch.no_grad()
    def score(images, prompts):
        """The share of pictures in which the class that was asked for is the first of 1,000."""
        asked = torch.tensor([classes[prompt] for prompt in prompts])
        sized = F.interpolate(images.float(), inputs["input_size"][1:], mode="area")
        found = judge(normalize(sized, inputs["mean"], inputs["std"])).argmax(1)
        return (found == asked).float().mean().item()


# %% tags=["profile-dependent"]
reports = report_1, report_2, report_3, report_4, report_5, report_6
all_right = all(report.passed for report in reports)
if all_right:
    pipe = zoo.load_pipeline(here.text_to_image).to(here.device)
    slow, fast = ddim_pipeline(pipe), lcm_pipeline(pipe, zoo.folder(here.lcm_lora))
    for each in (slow, fast):
        each.set_progress_bar_config(disable=True)
    methods = {
        "DDIM, 50 steps, guided": (slow, 50, usual),
        "DDIM, 50 steps": (slow, 50, 1.0),
        "DDIM, 4 steps, guided": (slow, 4, usual),
        "LCM-LoRA, 4 steps": (fast, 4, 1.0),
    }
    table = compare(methods, prompts, score)
    for name, row in table.items():
        print(
            f"{name:24}{row['evaluations']:5.0f} evaluations of the U-Net for a picture"
        )
else:
    print("The comparison comes as soon as all rows above are right.")

# %% tags=["nbval-ignore-output"]
if all_right:
    print(f"{'for one picture':24}{'seconds':>9}{'times as fast':>15}{'right':>8}")
    for name, row in table.items():
        print(
            f"{name:24}{row['seconds']:9.3f}{row['speedup']:15.1f}{100 * row['follows']:7.0f}%"
        )

# %% tags=["hide-input", "profile-dependent"]
if all_right:
    few = prompts[:5]
    titles = [textwrap.fill(text, 20) for text in few]
    rows = {
        name.replace(", ", "\n"): draw(of, few, n, scale, 0)
        for name, (of, n, scale) in methods.items()
    }
    plots.show(
        plots.strip(rows, titles),
        alt="Five prompts in columns, the four methods in rows: DDIM in 50 steps with guidance and without it, DDIM in 4 steps, and LCM-LoRA in 4 steps.",
        caption="The same prompts and the same noises by all four methods.",
    )

# %% [markdown]
# The script's one number was two savings in one. Here is each by itself, as a factor of work, a factor of time, and the right pictures before and after. The last line is what anybody may do without any training.

# %% tags=["nbval-ignore-output"]
if all_right:
    guided, plain, short, quick = table.values()
    savings = {
        "guidance off": (guided, plain),
        "then LCM-LoRA, 4 steps for 50": (plain, quick),
        "both": (guided, quick),
        "4 steps for 50, guided": (guided, short),
    }
    print(f"{'':31}{'work':>6}{'time':>7}{'right':>14}")
    for what, (before, after) in savings.items():
        work, seconds = (before[key] / after[key] for key in ("evaluations", "seconds"))
        right = [f"{100 * row['follows']:.0f}" for row in (before, after)]
        print(f"{what:31}{work:6.1f}{seconds:7.1f}{' → '.join(right) + ' %':>14}")

# %% [markdown]
# Do the first two factors make the third? Which factors of time fall short of those of work, and why? And what does each saving cost in right pictures?
#
# Eight pictures answer the last question badly: one picture more or less is 12 %. On a laptop, ask chapter 05's record too. It has 256 prompts and three noises for each method, and the Fréchet distance to real
# renderings, which is smaller for pictures that look more like them. (There is no such record of Stable Diffusion 1.5.)

# %% tags=["profile-dependent"]
if all_right and here.text_to_image == "mini-sd":
    record = records.load("few_steps")
    cases = {
        "DDIM, 50 steps, guided": ("ddim", usual, 50),
        "DDIM, 50 steps": ("ddim", 1.0, 50),
        "DDIM, 4 steps, guided": ("ddim", usual, 4),
        "DDIM, 2 steps, guided": ("ddim", usual, 2),
        "LCM-LoRA, 4 steps": ("lcm_lora", 1.0, 4),
        "LCM-LoRA, 2 steps": ("lcm_lora", 1.0, 2),
    }
    print(f"{'':24}{'evaluations':>11}{'right':>9}{'Fréchet':>9}")
    for name, (method, guidance, steps) in cases.items():
        work, right, away = (
            records.select(
                record, what, method=method, guidance=guidance, steps=steps
            ).mean()
            for what in ("evaluations", "all_right", "frechet")
        )
        print(f"{name:24}{work:11.0f}{100 * right:8.1f}%{away:9.0f}")

# %% [markdown]
# Write the report in three sentences: what guidance costs and gives, what the LoRA saves, and what 4 steps of guided DDIM would have saved without it.
#
# <details><summary>One that the laptop's record bears out</summary>
# Switching guidance off halves the work, and more pictures go wrong; LCM-LoRA goes without it because guidance is in its weights. Against 50 unguided steps the LoRA saves a factor of 12.5 of the work. But with
# <code>mini-sd</code> 4 steps of guided DDIM do what was asked about as often as 4 of LCM-LoRA, and look about as real (both less so than 50 guided steps), so against these the LoRA saves a factor of 2. It is at four
# evaluations and fewer that the LoRA draws what DDIM cannot: compare 2 steps of guided DDIM with 4 of LCM-LoRA. Whether that holds for a larger network is a question for the gpu profile.
# </details>
#
# ## Stretch: quality against steps
#
# One pair of numbers of steps is one point of a curve. Write `quality_curve(pipe, prompts, steps, guidance, score)`: from a list of numbers of steps to a dictionary, number of steps to `score` of
# the pictures. All from the noise of seed 0; `draw` does the drawing.


# %% tags=["solution:quality-curve"]
def quality_curve(pipe, prompts, steps, guidance, score):
    """What score says of pictures in each number of steps."""
    ### BEGIN SOLUTION
    return {n: score(draw(pipe, prompts, n, guidance, 0), prompts) for n in steps}
    ### END SOLUTION


# %%
report_7 = stretch.check_quality_curve(quality_curve)
report_7

# %% tags=["hide-input", "profile-dependent"]
if all_right and report_7.passed:
    few_steps, lines = (
        [1, 2, 4, 8],
        (("LCM-LoRA", fast, 1.0), ("DDIM, guided", slow, usual)),
    )
    figure, axis = plt.subplots(figsize=(6.4, 3.6))
    said = []
    for (name, of, scale), color in zip(lines, ("blue", "orange"), strict=True):
        curve = quality_curve(of, prompts, few_steps, scale, score)
        values = [100 * value for value in curve.values()]
        axis.plot(few_steps, values, "o-", color=plots.PALETTE[color], label=name)
        said.append(f"{name} {', '.join(f'{value:.0f}' for value in values)}")
        if here.text_to_image == "mini-sd":
            case = {"method": "lcm_lora" if of is fast else "ddim", "guidance": scale}
            known = [
                100 * records.select(record, "all_right_two", steps=n, **case).mean()
                for n in few_steps
            ]
            axis.plot(
                few_steps,
                known,
                "--",
                color=plots.PALETTE[color],
                label="of 128 prompts",
            )
    best = 100 * table["DDIM, 50 steps, guided"]["follows"]
    axis.axhline(
        best, color=plots.PALETTE["grey"], ls=":", label="DDIM, guided, 50 steps"
    )
    axis.set_xscale("log", base=2)
    axis.set_xticks(few_steps, few_steps)
    axis.set(xlabel="steps", ylabel="right pictures (%)", ylim=(-4, 104))
    axis.legend(fontsize=8, loc="lower right")
    plots.show(
        figure,
        alt=f"Right pictures in percent, in 1, 2, 4 and 8 steps: {'; '.join(said)}. A dotted line marks 50 steps of guided DDIM at {best:.0f}.",
        caption=f"Right pictures of {len(prompts)} against steps. A guided step of DDIM costs two evaluations, one of LCM-LoRA one. Dashed, for mini-sd: "
        "chapter 05's record, 128 prompts with two objects and three noises.",
    )

# %% [markdown]
# Where does your curve leave the record's? So far off can eight pictures be. At which number of steps does it matter which method you take?
#
# ## Stretch: the same work for both
#
# Steps are not what you pay; evaluations are. Write `steps_for(evaluations, guidance)`: how many whole steps can a picture have for so many evaluations of the U-Net, at diffusers' guidance scale? If it is not a single one,
# it raises `ValueError` with a sentence that helps. (`guidance` of 1 or below is none.)


# %% tags=["solution:steps-for"]
def steps_for(evaluations, guidance):
    """Steps that a number of U-Net evaluations pays for; ValueError for less than one."""
    ### BEGIN SOLUTION
    whole = evaluations // (2 if guidance > 1 else 1)
    if whole < 1:
        raise ValueError(
            f"{evaluations} evaluations are less than one step: allow for more."
        )
    return whole
    ### END SOLUTION


# %%
report_8 = stretch.check_steps_for(steps_for)
report_8

# %% [markdown]
# Four evaluations for each picture, as many as LCM-LoRA's four steps cost. What do you expect: is guidance worth half of the steps?

# %% tags=["nbval-ignore-output"]
if all_right and report_8.passed:
    offers = {
        "DDIM": (slow, 1.0),
        "DDIM, guided": (slow, usual),
        "LCM-LoRA": (fast, 1.0),
        "LCM-LoRA, guided 1.5": (fast, 1.5),
    }
    for name, (of, scale) in offers.items():
        n = steps_for(4, scale)
        mark = score(draw(of, prompts, n, scale, 0), prompts)
        print(f"{name:22}{n} steps: {100 * mark:3.0f} % right")

# %% [markdown]
# ## Stretch: how much of the LoRA?
#
# The network before training and after are two ends of a line: a LoRA is a difference of weights, and a difference can be multiplied. What lies between, and what beyond? Write `with_strength(pipe, strength, run)`. It returns what `run()` returns while the LoRA in `pipe` is multiplied by `strength`;
# **afterwards it is at 1 again**, also if `run()` raises.
#
# <details><summary>Hint</summary>
# <code>pipe.get_active_adapters()</code> gives the LoRA's name in a list, <code>pipe.set_adapters(names, strength)</code> sets its strength. <code>try</code> and <code>finally</code> do the rest.
# </details>


# %% tags=["solution:with-strength"]
def with_strength(pipe, strength, run):
    """What run() returns while the pipeline's LoRA has another strength."""
    ### BEGIN SOLUTION
    names = pipe.get_active_adapters()
    pipe.set_adapters(names, strength)
    try:  # run() may fail
        return run()
    finally:  # also after an error
        pipe.set_adapters(names, 1.0)
    ### END SOLUTION


# %%
report_9 = stretch.check_with_strength(with_strength)
report_9

# %% tags=["hide-input", "profile-dependent"]
if all_right and report_9.passed:
    strengths = (0.0, 0.5, 1.0, 1.5)
    rows = {
        f"strength {s:g}": with_strength(fast, s, lambda: draw(fast, few, 4, 1.0, 0))
        for s in strengths
    }
    plots.show(
        plots.strip(rows, titles),
        alt="Five prompts in four steps of LCM's sampler, with 0, 0.5, 1 and 1.5 times the LoRA.",
        caption="Four steps of LCM's sampler with more and more of the LoRA. At 0 it is the teacher's U-Net, asked for what it never learned.",
    )

# %% [markdown]
# ## Predict, then unfold
#
# **1.** A colleague loads the LoRA and forgets the scheduler: DDIM in 4 steps, without guidance. No error comes. What does the network say, and what does DDIM make of it?
#
# <details><summary>Answer</summary>
# The network's answer, from any time, leads to the <em>end</em> of its path. DDIM takes it for a direction: it moves a part of the way and keeps the predicted noise. The predictions agree along a path, so this is
# not nonsense. But LCM was taught to be asked at noises that are fresh each time.
# </details>
#
# **2.** Somebody keeps the guidance scale of 7.5 with LCM-LoRA, "to be fair". What happens to work and pictures?
#
# <details><summary>Answer</summary>
# Each step costs two evaluations again. And the pictures are guided twice: guidance was built into the student when it was distilled. diffusers' authors recommend 1 to 2.
# </details>
#
# **3.** Both times include reading the prompt and decoding the latents. The U-Net's work falls from 100 evaluations to 4. Can the speedup be 25?
#
# <details><summary>Answer</summary>
# Not quite: what no sampler can save stays. If prompt and decoder cost as much as one evaluation, it is (100 + 1) / (4 + 1), about 20. The fewer the steps, the more the rest counts. Your own table says how much it is on
# this machine.
# </details>
#
# **4.** Your times are medians of three, taken in turns, and warm. Would you expect the same speedup on another machine?
#
# <details><summary>Answer</summary>
# The count of evaluations, yes: it is the same everywhere. The ratio of seconds, roughly. How well a machine does with a batch of N against one of 2 N, and how fast its decoder is, differ.
# </details>
