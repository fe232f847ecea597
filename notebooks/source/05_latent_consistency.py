# %% [markdown]
# # Latent consistency: from fifty steps to four
#
# A diffusion model draws a picture by taking noise away a little at a time, some fifty times, and each time a large network
# runs. {cite:t}`luo2023lcm` need two to four runs. So the question of this chapter: **why does drawing take fifty steps, and can it take
# four?**
#
# The answer fits on a sheet of paper. We first work in two dimensions, where a "picture" is a point, a training takes
# seconds, and nothing is hidden: what the model learns, where its fifty steps lead, what the short cut is, and what breaks
# when a part of it is left out. The second half does the same with pictures.
#
# **After this chapter you can**
#
# * say what a diffusion model's steps are for, and why taking fewer of them fails;
# * state the consistency property correctly (most summaries do not) and write the loss that teaches it;
# * tell three networks apart, teacher, student and target, and say which of them learns;
# * sample in one to eight steps, with your own code and with diffusers, and get the same numbers.

# %%
import copy
import textwrap
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
import transformers
from diffusers import (
    DDIMScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging
from modarch_utils import claims, measure, plots, profile, records, zoo
from modarch_utils.data import pairs
from modarch_utils.models import mini_sd, reader
from modarch_utils.studies import points
from modarch_utils.training import autoencoder, consistency, reading
from modarch_utils.training.consistency import ConsistencyConfig
from modarch_utils.training.latent_consistency import (
    LatentDistillationConfig,
    LatentNetwork,
    add_lora,
    distil,
    encode_prompts,
    guidance_embedding,
)
from torchvision.utils import make_grid

for library in (logging, transformers.logging):
    library.set_verbosity_error()
    library.disable_progress_bar()
# Two adapters in one network are just what we want.
warnings.filterwarnings("ignore", message="Already found a `peft_config`")
plots.use_style(dpi=72)
# On tensors as small as a few thousand points, a second thread mostly waits for the first.
threads = torch.get_num_threads()
torch.set_num_threads(1)
config = ConsistencyConfig()
schedule = config.schedule
ledger = claims.Ledger("05_latent_consistency")
rng = torch.Generator().manual_seed(0)

# %% [markdown]
# ## The problem in two dimensions
#
# The data are points from eight Gaussians on a circle. To *generate* means: draw new points that nobody can tell from these.

# %%
real, label = points.eight_gaussians(3000, rng)
print("points:", tuple(real.shape), "Gaussians:", label.unique().tolist())

# %% [markdown]
# The forward process mixes a point with noise. At time $t$, from 0 to 999,
#
# $$ x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1), \qquad \alpha_t^2 + \sigma_t^2 = 1, $$
#
# and $\alpha_t$ falls from nearly 1 to nearly 0. We take Stable Diffusion's own schedule of $\alpha$ and $\sigma$:

# %%
noise = torch.randn(real.shape, generator=rng)
noisy = {t: schedule.add_noise(real, noise, t) for t in (0, 250, 500, 999)}
ends = [
    f"t = {t}: signal {schedule.alphas[t]:.3f}, noise {schedule.sigmas[t]:.3f}"
    for t in noisy
]
print(*ends, sep="\n")

# %% tags=["hide-input"]
COLORS = list(plots.PALETTE.values())
INK = plots.PALETTE["ink"]


def scatter(axis, x, title="", colors=plots.PALETTE["blue"], limit=2.3):
    """Points on a square that is the same in every figure."""
    axis.scatter(*x.T, s=3, c=colors, alpha=0.6, linewidths=0)
    axis.set(
        xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal"
    )
    axis.set_title(title, fontsize=10)


figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.75))
by_label = [COLORS[i] for i in label[:1500]]
for axis, (t, x) in zip(axes, noisy.items(), strict=True):
    scatter(axis, x[:1500], f"t = {t}", by_label, limit=3.2)
plots.show(
    figure,
    alt="Four scatter plots of the same points at times 0, 250, 500 and 999: eight tight clusters on a circle, then larger "
    "and overlapping clusters, and at the end one round cloud in which all colours are mixed.",
    caption="The forward process. Colours tell which Gaussian a point came from; at t = 999 nothing of it can be seen.",
)

# %% [markdown]
# ## A teacher that predicts the noise
#
# A diffusion model is a network that looks at $x_t$ and $t$ and predicts the noise $\varepsilon$ {cite:p}`ho2020ddpm`. Ours is an MLP with three hidden
# layers of 128. It trains now:

# %%
start = time.perf_counter()
teacher = points.fit_teacher(config, steps=4000)
teacher_minutes = (time.perf_counter() - start) / 60
print(f"{sum(p.numel() for p in teacher.parameters()):,} parameters")

# %% [markdown]
# No network can predict the noise perfectly: many pairs of point and noise lead to the same $x_t$. The best possible answer is their mean,
# and with this data we can compute it, which nobody can with pictures. So for once a diffusion model can be marked:

# %%
t = torch.randint(1000, (len(real),), generator=rng)
x = schedule.add_noise(real, noise, t)
exact = points.exact_noise(x, t, schedule)
with torch.no_grad():
    found = teacher(x, t)
best, ours = ((e - noise).square().mean().item() for e in (exact, found))
print("the loss cannot go below a value above zero:", best > 0.1)
print("the teacher is within 5 % of it:", ours < 1.05 * best)

# %% [markdown]
# The mean is also the reason why one step is not enough. From the predicted noise follows a guess of the clean point,
# $\hat x_0 = (x_t - \sigma_t \hat\varepsilon) / \alpha_t$. Look where the teacher's guesses are:

# %%
guesses = {}
for t in (999, 800, 500, 250):
    x = schedule.add_noise(real, noise, t)
    with torch.no_grad():
        guesses[t] = schedule.clean(x, teacher(x, torch.full((len(x),), t)), t)

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.75))
for axis, (t, x) in zip(axes, guesses.items(), strict=True):
    axis.plot(*points.centres().T, "x", color=INK, ms=7, mew=1.5, zorder=5)
    scatter(axis, x[:1500], f"guesses from t = {t}", by_label)
plots.show(
    figure,
    alt="Four scatter plots of the teacher's guesses of clean points. From times 999 and 800 they lie around the "
    "middle of the circle; from 500 they fill its inside; from 250 most lie along the circle, near the eight centres and between them.",
    caption="The teacher's guess of the clean point, from four times; crosses are the true centres. From much noise the "
    "guess is the mean of all that is possible, which is itself not possible.",
)

# %% [markdown]
# From $t = 999$ everything is still possible, and the mean of everything is the middle of the circle, where no data are. The guess
# is wrong as a sample, and yet it is right as a *direction*.
#
# ## Fifty steps
#
# So take a small step in that direction, ask again, and correct. DDIM {cite:p}`song2021ddim` keeps the predicted noise and the predicted point and mixes them for
# an earlier time $s$:
#
# $$ x_s = \alpha_s\, \hat x_0 + \sigma_s\, \hat\varepsilon $$
#
# There is no chance in it. From one starting noise leads one path, the solution of a differential equation, the *probability flow
# ODE*, and small steps follow it closely. Here is the step, and the library's for comparison:

# %%
x = torch.randn(5, 2, generator=rng)
with torch.no_grad():
    epsilon = teacher(x, torch.full((5,), 999))
clean = (x - schedule.sigmas[999] * epsilon) / schedule.alphas[999]
stepped = schedule.alphas[979] * clean + schedule.sigmas[979] * epsilon

library = DDIMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
)
library.set_timesteps(50)
same = torch.allclose(library.step(epsilon, 999, x).prev_sample, stepped, atol=1e-5)
print("diffusers' DDIMScheduler makes the same step:", same)

# %% [markdown]
# ```{admonition} A trap in the library
# :class: warning
# Leave out `clip_sample=False` and diffusers clips every $\hat x_0$ to [-1, 1]: right for pixels, wrong for anything else, and silent.
# Our circle has the radius 1.41; latents go further still.
# ```

# %%
clipped = DDIMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
)
clipped.set_timesteps(50)
point, t = torch.tensor([[1.41, 0.0]]), 19
x = schedule.add_noise(point, torch.zeros(1, 2), t)
for name, scheduler in (("clip_sample=False", library), ("default", clipped)):
    right = scheduler.step(torch.zeros(1, 2), t, x).prev_sample
    print(f"{name:18} the point at 1.41 is sent to {right[0, 0]:.2f}")

# %% [markdown]
# Now whole paths, from the same noises in 50, 4, 2 and 1 steps:

# %%
start_noise = torch.randn(3000, 2, generator=rng)
paths = {n: consistency.ddim(teacher, start_noise, n, config) for n in (1, 2, 4, 8, 50)}
print({n: tuple(path.shape) for n, path in paths.items()})

# %% tags=["hide-input"]
nearest = torch.cdist(paths[50][-1], points.centres()).argmin(1)
some = torch.cat([(nearest == i).nonzero()[:4, 0] for i in range(8)])
figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.75))
for axis, n in zip(axes, (50, 4, 2, 1), strict=True):
    scatter(
        axis,
        paths[n][-1][:1500],
        f"{n} step{'s' * (n > 1)}",
        plots.PALETTE["pale"],
        limit=2.6,
    )
    for i in some:
        color = COLORS[nearest[i]]
        axis.plot(*paths[n][:, i].T, color=color, lw=1.1)
        axis.plot(*paths[n][-1, i], "o", color=color, ms=3.5)
plots.show(
    figure,
    alt="Paths of DDIM from the same 32 noises. In 50 steps they curve smoothly into eight clusters. In 4 steps they are broken lines "
    "that end in a ragged ring, in 2 steps in a disc within the circle, in 1 step in a cloud around the middle.",
    caption="DDIM from noise to samples (pale: 1,500 ends). The colour of a path is the Gaussian that it reaches in "
    "50 steps.",
)

# %% [markdown]
# To put a number on it we use the **energy distance** {cite:p}`szekely2013energy`,
#
# $$ 2\,\mathbb E\,\|a - b\| - \mathbb E\,\|a - a'\| - \mathbb E\,\|b - b'\|, $$
#
# which is zero only if samples $a$ and data $b$ have the same distribution. It cannot be smaller, in practice, than between two *real*
# samples; that is the floor.

# %%
fresh = [points.eight_gaussians(3000, rng)[0] for _ in range(4)]
floor = np.mean([points.energy_distance(real, x) for x in fresh])
ddim = {n: points.energy_distance(real, path[-1]) for n, path in paths.items()}
print("more steps always help:", all(np.diff(list(ddim.values())) < 0))
print("50 steps come within four times the floor:", ddim[50] < 4 * floor)
print("4 steps are more than twenty times above it:", ddim[4] > 20 * floor)

# %% [markdown]
# ## The consistency function
#
# A path is determined by any of its points. So there is a function that knows, at any point $x_t$ of a path, where that path ends:
#
# $$ f(x_t, t) = \text{the end of the path through } x_t, \qquad \text{hence} \quad f(x_t, t) = f(x_s, s) \text{ for two points of one path.} $$
#
# The second equation is *consistency* {cite:p}`song2023consistency`. If we had $f$, one evaluation would replace the fifty steps.
#
# ```{admonition} Common mistake: "all noisy versions map to the same clean sample"
# :class: warning
# Summaries often write $f(x_t, t) = f(x_{t'}, t')$ "for any $t, t'$", so that all noisy latents get one answer. That holds along **one path** only. Two noises
# added to the same clean point usually lie on different paths, and these may end in different places.
# ```
#
# Check it: one clean point, six noises, the same $t$, and the path from each:

# %%
one = real[label == 0][:1].expand(6, 2)
several = schedule.add_noise(one, torch.randn(6, 2, generator=rng), 799)
at = consistency.sampling_times(50, config)
times = [t for t in at if t <= 799] + [consistency.CLEAN]
fan = [several]
for t, s in zip(times, times[1:], strict=False):
    with torch.no_grad():
        epsilon = teacher(fan[-1], torch.full((6,), t))
    fan.append(schedule.ddim_step(fan[-1], epsilon, t, s))
fan = torch.stack(fan)
reached = torch.cdist(fan[-1], points.centres()).argmin(1)
print(
    "all six began at Gaussian 0; they end at more than one:", len(reached.unique()) > 1
)

# %% [markdown]
# And along one path? The teacher's own guesses are not consistent at all. They wander from the middle of the circle to the end:

# %%
length = (paths[50][0] - paths[50][-1]).norm(dim=1)[some]
inside = paths[50][0][some].abs().amax(1) < 2.4  # of the figure
arrived = torch.cdist(paths[50][-1][some], points.centres()).amin(1) < points.SPREAD
follow = int(some[(length * inside * arrived).argmax()])  # a long path
path = paths[50][:, follow]


def along(answer):
    """Answers at the 50 points of one path, from t = 999 down."""
    with torch.no_grad():
        return torch.cat(
            [answer(x[None], torch.tensor([t])) for x, t in zip(path, at, strict=False)]
        )


by_teacher = along(lambda x, t: schedule.clean(x, teacher(x, t), t))

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.9))
scatter(left, real, "", plots.PALETTE["pale"], limit=2.6)
for i in range(6):
    left.plot(*fan[:, i].T, lw=1.2, color=COLORS[reached[i]])
    left.plot(*fan[0, i], "s", ms=5, color=COLORS[reached[i]])
    left.plot(*fan[-1, i], "o", ms=5, color=COLORS[reached[i]])
left.plot(*one[0], "*", ms=15, color=INK, zorder=6)
left.set_title("one clean point, six noises")
scatter(right, real, "", plots.PALETTE["pale"], limit=2.6)
right.plot(*path.T, color=plots.PALETTE["sky"], alpha=0.5, lw=7, label="the path")
right.plot(
    *by_teacher.T, ".-", color=plots.PALETTE["orange"], lw=0.8, ms=5, label="guesses"
)
right.plot(*path[-1], "o", ms=7, color=INK, label="its end")
right.set_title("one path")
right.legend(
    loc="lower right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none"
)
plots.show(
    figure,
    alt="Left: six squares, noisy versions of one starred point on the right of the circle, and the paths that lead from them; "
    "they end in different clusters. Right: one path from noise to a cluster, and the teacher's guesses along it, which begin near "
    "the middle of the circle and reach the cluster only late.",
    caption="Left: noisy versions (squares, t = 799) of one clean point (star) do not lead back to it. Right: the teacher's guesses from the 50 "
    "points of one path; a consistency function would give the same answer at all of them.",
)

# %% [markdown]
# ## Writing f as a network
#
# We want $f(x, 0) = x$: at the end of a path, the path ends here. This **boundary condition** is built in:
#
# $$ f(x, t) = c_{\text{skip}}(t)\, x + c_{\text{out}}(t)\, \hat x_0(x, t), \qquad c_{\text{skip}} = \frac{\sigma_d^2}{(s t)^2 + \sigma_d^2}, \qquad
# c_{\text{out}} = \frac{s t}{\sqrt{(s t)^2 + \sigma_d^2}} $$
#
# with $\sigma_d = 0.5$ and the scale $s = 10$. How long does $c_{\text{skip}}$ matter?

# %%
for t in (0, 1, 19, 999):
    c_skip, c_out = consistency.scalings(t, config)
    print(f"t = {t:3}: c_skip {c_skip:.1e}, c_out {c_out:.6f}")

# %% tags=["hide-input"]
fine = torch.cat((torch.linspace(0, 1, 300), torch.linspace(1, 20, 300)))
c_skip, c_out = consistency.scalings(fine, config)
figure, axis = plt.subplots(figsize=(6.4, 2.7))
axis.plot(fine, c_skip, color=plots.PALETTE["blue"], label="c_skip: how much of x")
axis.plot(
    fine, c_out, color=plots.PALETTE["orange"], label="c_out: how much of the guess"
)
whole = torch.arange(21)
for values, color in zip(
    consistency.scalings(whole, config), ("blue", "orange"), strict=True
):
    axis.plot(whole, values, "o", ms=4, color=plots.PALETTE[color])
axis.set_xscale("symlog", linthresh=1)
axis.set_xticks([0, 0.25, 0.5, 1, 5, 19], ["0", "¼", "½", "1", "5", "19"])
axis.minorticks_off()
axis.set(xlabel="time t", ylim=(-0.05, 1.05))
axis.legend(loc="center right")
plots.show(
    figure,
    alt="Two curves against time: c_skip falls from 1 at time 0 to almost 0 at time 1, c_out rises from 0 to almost 1 in "
    "the same stretch.",
    caption="The two factors; dots are the whole numbers, the only times that exist. Apart from t = 0 the network has the "
    "word from the first step on.",
)

# %% [markdown]
# At $t = 1$ it is a quarter of a percent, at $t = 19$, the first time that distillation uses, seven millionths. The formula looks like a gentle fade and acts like
# a switch: *at $t = 0$ the answer is $x$, and everywhere else it is the network's*. We will see below that this switch carries the whole training.
#
# ## The loss, term by term
#
# Nobody tells the student where paths end. It learns from neighbours: two points of one path, one teacher's step apart, must have the same
# answer. First, points on paths at random times. The times are 19, 39, ..., 999: steps are $k = 20$ long.

# %%
x0, _ = points.eight_gaussians(256, rng)
step = consistency.draw(x0, config, rng)
t = step.t
alpha, sigma = schedule.at(t, x0)
x_t = alpha * x0 + sigma * step.noise
print("times:", config.times[:3].tolist(), "...", config.times[-1].item())

# %% [markdown]
# **The teacher**, frozen, makes one DDIM step of length $k$ from $x_t$. This is the only thing it ever does:

# %%
s = (t - config.skip).clamp(min=0)
alpha_s, sigma_s = schedule.at(s, x0)
with torch.no_grad():
    epsilon = teacher(x_t, t)
x_s = alpha_s * (x_t - sigma * epsilon) / alpha + sigma_s * epsilon

# %% [markdown]
# **The student** answers at $x_t$. It starts as a copy of the teacher and is the only one of the three that learns:

# %%
student = copy.deepcopy(teacher).requires_grad_(True)
c_skip, c_out = (c[:, None] for c in consistency.scalings(t, config))
prediction = c_skip * x_t + c_out * (x_t - sigma * student(x_t, t)) / alpha

# %% [markdown]
# **The target network** answers at $x_s$. It is an exponential moving average (EMA) of earlier students, and no gradient passes:

# %%
target = copy.deepcopy(student)
c_skip, c_out = (c[:, None] for c in consistency.scalings(s, config))
with torch.no_grad():
    answer = c_skip * x_s + c_out * (x_s - sigma_s * target(x_s, s)) / alpha_s

# %% [markdown]
# The loss is the distance between the two answers. The paper takes the square; diffusers recommends the pseudo-Huber distance $\sqrt{\delta^2 + c^2} - c$, which is
# nearly $|\delta|$, so that a few large errors do not drown the rest:

# %%
delta = prediction - answer
loss = ((delta.square() + config.huber_c**2).sqrt() - config.huber_c).mean()

model = consistency.ConsistencyDistillation(teacher, student, config)
outcome = model(x0, step)
print(
    "the package computes the same loss:", torch.allclose(outcome.loss, loss, atol=1e-6)
)
loss.backward()
three = {"teacher": teacher, "student": student, "target": target}
for name, network in three.items():
    learns = any(p.grad is not None for p in network.parameters())
    print(f"{name:8} {'has a gradient' if learns else 'has none'}")

# %% [markdown]
# After each step of the optimiser, the target follows: $\theta^- \leftarrow \mu\, \theta^- + (1 - \mu)\, \theta$.
#
# ```{admonition} Common mistake: two teachers in one
# :class: warning
# Summaries often have only two networks and call the average "the teacher". There are three. The *teacher* is the trained diffusion model: it knows
# the paths and moves a point along one. The *target* knows nothing that the student did not know a moment ago. Without the teacher's step there would be
# nothing to learn from.
# ```
#
# **Where does the knowledge come from?** From the end. At $t = 19$ the teacher's step leads to $s = 0$, and there the target's answer is $x_s$ itself, by the boundary
# condition. So the student learns the answer at 19 first; then, because its answer at 19 is good, at 39; and so on, like a rumour, up to 999.
#
# **And guidance?** With a prompt $c$, the teacher's step uses $(1 + \omega)\,\varepsilon(x_t, t, c) - \omega\,\varepsilon(x_t, t, \varnothing)$: two evaluations. The student is
# told $\omega$ and makes do with one. That is a second saving, and it has nothing to do with the number of steps; we keep the two apart when we measure pictures. Here
# there is no prompt and no guidance.
#
# ## Distilling, live
#
# 2,000 steps of 256 points. As it goes we sample with 1, 2 and 4 steps and measure.

# %%
subset = real[:2000]


def draw_samples(network, steps, setting=config, seed=0):
    """As many samples as `start_noise` has noises; the noise between steps is the seed's."""
    noise_between = torch.Generator().manual_seed(seed)
    return consistency.sample(network, start_noise, steps, setting, noise_between)


def score(model, steps=(1, 2, 4)):
    """Energy distance of the target network's samples, for each number of steps."""
    return [
        points.energy_distance(
            subset, draw_samples(model.target, n, model.config)[:2000]
        )
        for n in steps
    ]


start = time.perf_counter()
lcm, curve = points.distil(teacher, config, steps=2000, watch=score)
lcm_minutes = (time.perf_counter() - start) / 60
print(
    "one step, before and after: better than tenfold:",
    curve[0][1][0] > 10 * curve[-1][1][0],
)

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 3))
for i, n in enumerate((1, 2, 4)):
    axis.plot(
        [s for s, _ in curve],
        [v[i] for _, v in curve],
        "o-",
        ms=4,
        lw=1.5,
        label=f"{n} step{'s' * (n > 1)}",
    )
axis.axhline(ddim[50], color=INK, lw=1.2, ls="--")
axis.text(2000, ddim[50] * 1.12, "DDIM, 50 steps", ha="right", fontsize=9)
axis.axhline(floor, color=plots.PALETTE["grey"], lw=1.2, ls=":")
axis.text(
    0,
    floor * 0.86,
    "two real samples",
    va="top",
    fontsize=9,
    color=plots.PALETTE["grey"],
)
axis.set(
    yscale="log",
    ylim=(floor / 1.8, 1),
    xlabel="steps of distillation",
    ylabel="energy distance",
)
axis.legend(loc="upper right", ncols=3)
plots.show(
    figure,
    alt="Energy distance against steps of distillation, for samples in 1, 2 and 4 steps; all fall steeply within the first thousand steps and "
    "then slowly, and end above the line of DDIM with 50 steps. Final values: "
    + ", ".join(
        f"{n} steps {v:.4f}" for n, v in zip((1, 2, 4), curve[-1][1], strict=True)
    )
    + ".",
    caption="Quality of few-step samples while the student learns (logarithmic; lower is better).",
)

# %% [markdown]
# Is it a consistency function now? The same path as before, and one question for each of its 50 points:

# %%
by_lcm = along(lambda x, t: consistency.denoise(lcm.target(x, t), x, t, config))
off = {
    name: (answers - path[-1]).norm(dim=1).numpy()
    for name, answers in (("teacher's guess", by_teacher), ("student's answer", by_lcm))
}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.6), width_ratios=(1, 1.2))
scatter(left, real, "", plots.PALETTE["pale"], limit=2.6)
left.plot(*path.T, color=INK, lw=1.5)
for (name, answers), color in zip(
    (("teacher's guess", by_teacher), ("student's answer", by_lcm)),
    ("orange", "blue"),
    strict=True,
):
    left.plot(*answers.T, ".", ms=6, color=plots.PALETTE[color])
    right.plot(
        at, off[name], "o-", ms=3, lw=1.3, color=plots.PALETTE[color], label=name
    )
left.set_title("one path")
right.set(
    xlabel="time t of the point asked",
    ylabel="distance from the path's end",
    ylim=(0, None),
)
right.legend(loc="upper left")
plots.show(
    figure,
    alt="Left: the path, the teacher's guesses strewn from the middle of the circle to the cluster, and the student's answers, which "
    "stay near the path's end. Right: their distances from the end against time; the student's stay low where the teacher's "
    "grow to more than one.",
    caption="Answers from the 50 points of one path, after distillation: the student's stay near the path's end.",
)

# %% [markdown]
# They stay near the end, and the small drift is the error that remains: each answer was learnt from a neighbour's, and errors add up along the rumour.
#
# ## Sampling: jump, add noise, jump
#
# One evaluation gives a sample. To improve it, add *new* noise, down to a smaller $t$, and jump again:
#
# $$ x \leftarrow f(x, 999) \quad\to\quad x \leftarrow f(\alpha_{t}\, x + \sigma_{t}\, \varepsilon,\; t) \quad\to\; \cdots $$
#
# ```{admonition} Common mistake: "few steps of an ODE solver"
# :class: warning
# This is not DDIM with fewer steps. DDIM stays on its path and its noise is fixed at the start; here every round leaves the path and draws fresh noise, and two runs from the same
# start end in different places.
# ```

# %%
twice = [draw_samples(lcm.target, 4, seed=seed) for seed in (0, 1)]
print("4 steps of LCM, two runs, same start: the same samples:", torch.equal(*twice))
again = consistency.ddim(teacher, start_noise, 4, config)[-1]
print(
    "4 steps of DDIM, two runs, same start: the same samples:",
    torch.equal(again, paths[4][-1]),
)

# %% [markdown]
# diffusers' `LCMScheduler` runs the same loop. Give it our student and the same noise:

# %%
for steps in (1, 2, 4, 8):
    library = LCMScheduler()  # its defaults are Stable Diffusion's schedule
    library.set_timesteps(steps)
    x, noise_between = start_noise, torch.Generator().manual_seed(0)
    for t in library.timesteps:
        with torch.no_grad():
            epsilon = lcm.target(x, t.expand(len(x)))
        x = library.step(epsilon, t, x, generator=noise_between).prev_sample
    largest = (x - draw_samples(lcm.target, steps)).abs().max().item()
    print(f"{library.timesteps.tolist()}: equal to diffusers: {largest < 1e-4}")

# %%
samples = {n: draw_samples(lcm.target, n) for n in (1, 2, 4, 8)}
reached = {n: points.energy_distance(real, x) for n, x in samples.items()}

# %% tags=["hide-input"]
figure, axes = plt.subplots(2, 5, figsize=(9.8, 4.5))
for column, n in enumerate((1, 2, 4, 8)):
    title = f"{n} step{'s' * (n > 1)}"
    scatter(axes[0, column], paths[n][-1][:1500], title, plots.PALETTE["grey"])
    scatter(axes[1, column], samples[n][:1500], "", plots.PALETTE["blue"])
scatter(axes[0, 4], paths[50][-1][:1500], "50 steps", plots.PALETTE["grey"])
scatter(axes[1, 4], real[:1500], "real", INK)
axes[0, 0].set_ylabel("DDIM")
axes[1, 0].set_ylabel("LCM")
plots.show(
    figure,
    alt="Scatter plots: DDIM in 1, 2, 4, 8 and 50 steps above, LCM in 1, 2, 4 and 8 steps and real points below. DDIM is a cloud in the middle, a disc, "
    "a filled ring, a ring, then eight clusters with some points between them. LCM is a ring of the right size at one step already, crowded near the eight centres.",
    caption="1,500 samples each, from the same starting noises.",
)

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 3.2))
for values, color, name in (
    (ddim, "grey", "DDIM (teacher)"),
    (reached, "blue", "LCM (student)"),
):
    axis.plot(
        list(values),
        list(values.values()),
        "o-",
        color=plots.PALETTE[color],
        label=name,
    )
axis.axhline(floor, color=INK, ls=":", lw=1.2)
axis.text(1, floor * 0.86, "two real samples", va="top", fontsize=9)
axis.set(
    xscale="log",
    yscale="log",
    ylim=(floor / 1.8, 1),
    xlabel="network evaluations per sample",
    ylabel="energy distance",
)
axis.set_xticks([1, 2, 4, 8, 50], ["1", "2", "4", "8", "50"])
axis.minorticks_off()
axis.legend()
plots.show(
    figure,
    alt="Energy distance against evaluations, both logarithmic. DDIM: "
    + ", ".join(f"{v:.4f} at {n}" for n, v in ddim.items())
    + ". LCM: "
    + ", ".join(f"{v:.4f} at {n}" for n, v in reached.items())
    + f". Two real samples: {floor:.4f}.",
    caption="What a sample costs and how good it is, on the 3,000 points of this run.",
)

# %% [markdown]
# At one and two steps the difference is more than tenfold. At fifty, DDIM is better than the student ever gets: the student imitates a teacher and makes errors
# of its own, and its extra steps help little. Look at the samples, too: the energy distance mostly asks whether the points are in the right
# region, and it forgives the student the points *between* the clusters, which the eye does not.

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("scheduler", holds=largest < 1e-4)
better = all(reached[n] < ddim[n] / 3 for n in (1, 2, 4))
distances = dict(lcm=reached, ddim=ddim, floor=floor)
ledger.add("few_steps", **distances, minutes=lcm_minutes, holds=better)
best, taken = min(reached.values()), teacher_minutes + lcm_minutes
ledger.add("teacher", best=best, ddim=ddim, minutes=taken, holds=best > ddim[50])

# %% [markdown]
# ## Why skip twenty?
#
# With $k = 1$ the teacher's steps are as exact as can be. Is that not better? Same budget, same everything, $k = 1$:

# %%
start = time.perf_counter()
close = ConsistencyConfig(skip=1)
neighbours, curve_close = points.distil(teacher, close, steps=2000, watch=score)
close_minutes = (time.perf_counter() - start) / 60
print(
    "after the same 2,000 steps k = 20 is better in one step:",
    curve[-1][1][0] < curve_close[-1][1][0],
)

# %% tags=["hide-input"]
figure, (axis, left, right) = plt.subplots(
    1, 3, figsize=(9.8, 3), width_ratios=(1.7, 1, 1)
)
for k, found, color in ((20, curve, "blue"), (1, curve_close, "orange")):
    axis.plot(
        [s for s, _ in found],
        [v[0] for _, v in found],
        "o-",
        ms=4,
        color=plots.PALETTE[color],
        label=f"k = {k}",
    )
axis.set(
    yscale="log",
    ylim=(floor / 1.8, 1),
    xlabel="steps of distillation",
    ylabel="energy distance, 1 step",
)
axis.axhline(floor, color=plots.PALETTE["grey"], lw=1.2, ls=":")
axis.legend()
scatter(left, samples[1][:1500], "k = 20, 1 step")
scatter(
    right,
    draw_samples(neighbours.target, 1, close)[:1500],
    "k = 1, 1 step",
    plots.PALETTE["orange"],
)
plots.show(
    figure,
    alt="Left: energy distance of one-step samples while distilling; the curve of k = 20 falls quickly, that of k = 1 not in these steps, from "
    f"{curve[0][1][0]:.2f} to {curve[-1][1][0]:.3f} and to {curve_close[-1][1][0]:.3f}. Right: samples; a ring crowded near eight places for k = 20, a cloud in the middle for k = 1.",
    caption="The same budget with steps of 20 and of 1 (one seed).",
)

# %% [markdown]
# Think of the rumour: with $k = 20$ the truth has to pass through 50 hands from $t = 0$ to $t = 999$, with $k = 1$ through 1,000, and each is corrected only when its
# turn comes. The price of a large $k$ is a coarser teacher: a student of 50 steps cannot be better than DDIM with 50 steps. The paper's $k = 20$
# takes the deal.

# %% tags=["hide-input", "nbval-ignore-output"]
ends, taken = [c[-1][1][0] for c in (curve, curve_close)], lcm_minutes + close_minutes
ledger.add("skipping", ends=ends, minutes=taken, holds=ends[1] > 3 * ends[0])

# %% [markdown]
# ## Without the boundary condition
#
# The loss only asks that neighbours agree. The easiest way to agree is to always say the same. What prevents it?
#
# To see it, give the student full freedom: a new network that returns the clean point directly, not through a predicted noise. Once with
# $c_{\text{skip}}$ and $c_{\text{out}}$, once without. (It starts from random weights, so we shorten the way: $k = 50$.)

# %%
bound = ConsistencyConfig(prediction="sample", skip=50)
free = ConsistencyConfig(prediction="sample", skip=50, boundary=False)
held_out = consistency.draw(x0, bound, rng)
pair = {}
for name, setting in (("with", bound), ("without", free)):
    student, losses = points.distil(
        teacher,
        setting,
        steps=800,
        lr=3e-3,
        watch=lambda model: model(x0, held_out).loss.item(),
        every=100,
    )
    pair[name] = draw_samples(student.target, 1, setting), losses
spread = {name: x.std(0).norm().item() for name, (x, _) in pair.items()}
print(
    "without it, the loss is lower:", pair["without"][1][-1][1] < pair["with"][1][-1][1]
)
print(
    "and the samples have lost their spread:", spread["without"] < 0.2 * spread["with"]
)

# %% tags=["hide-input"]
figure, (axis, left, right) = plt.subplots(
    1, 3, figsize=(9.8, 3), width_ratios=(1.7, 1, 1)
)
for name, color in (("with", "blue"), ("without", "orange")):
    found = pair[name][1]
    axis.plot(
        [s for s, _ in found],
        [v for _, v in found],
        "o-",
        ms=4,
        color=plots.PALETTE[color],
        label=f"{name} c_skip, c_out",
    )
axis.set(yscale="log", xlabel="steps of distillation", ylabel="loss")
axis.legend()
scatter(left, pair["with"][0][:1500], "with, 1 step")
scatter(right, pair["without"][0][:1500], "without, 1 step", plots.PALETTE["orange"])
plots.show(
    figure,
    alt="Left: the loss while distilling a network that is free to return any point; without the boundary condition it is lower throughout. Right: samples; with "
    "the condition they spread over the circle, without it they shrink to a spot.",
    caption="A student that returns the clean point itself. Without the boundary condition it finds the cheap answer: the "
    "same one for everybody.",
)

# %% [markdown]
# The loss is *lower* and the result worthless: a loss that compares a model with itself does not tell success from collapse. (Chapter 04 met the same in DINO.) With the condition, one
# answer is fixed from outside, at $t = 0$, and all others have to agree with it.
#
# A student that predicts the *noise*, as ours did above, is safer: at $t = 0$ there is hardly any noise to subtract, so its answer is
# $x$ nearly whatever it says. The library keeps the factors anyway, and so do we.

# %% tags=["hide-input", "nbval-ignore-output"]
loss = {name: pair[name][1][-1][1] for name in ("with", "without")}
collapsed = spread["without"] < 0.2 * spread["with"] and loss["without"] < loss["with"]
ledger.add("boundary", spreads=spread, losses=loss, holds=collapsed)

# %% [markdown]
# ### Predict first, then unfold
#
# **1.** You replace the teacher's step by the true one: instead of $\hat x_s$ you use $\alpha_s x_0 + \sigma_s \varepsilon$ with the same $x_0$ and $\varepsilon$ that made $x_t$. No teacher
# is needed. Does it still learn?
#
# <details><summary>Answer</summary>
# Yes. This is <em>consistency training</em>: on average over all pairs that lead to the same x<sub>t</sub>, that step is the teacher's. A single pair
# is noisier than the mean. And without a teacher there is no guidance to build in.
# </details>
#
# **2.** A student is distilled with k = 20. Somebody asks for samples in 100 steps. What happens?
#
# <details><summary>Answer</summary>
# There are only 50 times at which it was trained. Our sampler and diffusers' both refuse.
# </details>
#
# **3.** Why does LCM stop getting better with more steps, while DDIM goes on?
#
# <details><summary>Answer</summary>
# DDIM's error is that of its steps, and goes away as they shrink. The student's is an error of what it learnt: every jump makes it anew, and
# the last jump, from a small t, leaves what it cannot do at small t.
# </details>
#
# **4.** Somebody sets $\sigma_d = 500$ instead of 0.5 "to make the boundary condition stronger". What does the student answer at $t = 19$?
#
# <details><summary>Answer</summary>
# Mostly x itself: c_skip is then 250,000 / (190² + 250,000) = 0.87. The condition is exact at t = 0 for any σ<sub>d</sub>; a larger one only keeps the network
# from doing its work at the times that follow.
# </details>

# %% [markdown]
# ## From points to pictures
#
# Now the same with pictures, and with words. A picture of 64×64 pixels is 12,288 numbers instead of two, and a *latent diffusion model* {cite:p}`rombach2022ldm`
# splits the work in three: a text model reads the prompt, an autoencoder packs pictures into small *latents* and back, and a U-Net does the diffusion there.
# Stable Diffusion is such a model, of a billion parameters. The course has trained one of three million, `mini-sd`, on rendered scenes with one object or two. It is
# stored in diffusers' format, so these are the lines that load the big one:

# %%
torch.set_num_threads(threads)  # pictures are large enough for all of them
pipe = zoo.load_pipeline("mini-sd")
for name in ("text_encoder", "unet", "vae"):
    part = getattr(pipe, name)
    print(
        f"{name:13}{type(part).__name__:21}{measure.count_params(part):10,} parameters"
    )

# %%
PROMPTS = [
    "a red torus on a checkerboard floor",
    "a blue star on grass",
    "a yellow pyramid on a wooden floor",
    "a white cylinder on a tiled floor",
    "a red cube left of a blue sphere on grass",
    "a blue cube left of a red sphere on grass",
    "an orange cone left of a purple capsule on a wooden floor",
    "a green torus left of a yellow star on a tiled floor",
]
GUIDANCE = 3.0


def draw(pipe, prompts, steps, guidance=GUIDANCE, seed=0, **options):
    """One picture for each prompt, (N, 3, H, W) in [0, 1]; a seed stands for a starting noise."""
    noises = [
        torch.Generator().manual_seed(1000 * seed + i) for i in range(len(prompts))
    ]
    return pipe(
        prompts,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=noises,
        output_type="pt",
        **options,
    ).images


pipe.scheduler = DDIMScheduler.from_config(
    pipe.scheduler.config, timestep_spacing="trailing"
)
fifty = draw(pipe, PROMPTS, steps=50)

# %% tags=["hide-input"]
figure = plots.image_grid(
    fifty, [textwrap.fill(text, 22) for text in PROMPTS], ncols=4, size=1.7
)
plots.show(
    figure,
    alt="Eight pictures by mini-sd, each under its prompt: " + "; ".join(PROMPTS) + ".",
    caption="Drawn by mini-sd in 50 steps of DDIM. The fifth and the sixth prompt have the same words in another order.",
)

# %% [markdown]
# It has never seen a word that is not in its captions, and it would not say so by itself. The course's vocabulary check does:

# %%
print(mini_sd.vocabulary_warning("a green dragon on grass", pipe.tokenizer))

# %% [markdown]
# ### What the U-Net sees
#
# Diffusion does not happen in pixels. The autoencoder turns a picture into 16×16 positions with four numbers each, and a decoder turns these back:

# %%
scene = pairs.load(64, seed=5).images[:1]
latent = autoencoder.encode(pipe.vae, scene).mean * pipe.vae.config.scaling_factor
back = pipe.vae.decode(latent / pipe.vae.config.scaling_factor).sample
print(f"{scene[0].numel():,} numbers in pixels, {latent[0].numel():,} in latents")
print("a deviation near 1, as the noise has:", 0.5 < latent.std().item() < 2)

# %% tags=["hide-input"]
noise = torch.randn(latent.shape, generator=rng)


def decode(latents):
    """Pictures (N, 3, H, W) in [0, 1] of scaled latents."""
    with torch.no_grad():
        return (
            pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample / 2 + 0.5
        )


TIMES = (0, 250, 500, 750, 999)
figure, axes = plt.subplots(2, 6, figsize=(9.6, 3.5))
axes[0, 0].imshow(plots.to_image(scene[0]))
axes[0, 0].set_title("picture", fontsize=9)
for channel in range(4):
    axes[0, channel + 1].imshow(latent[0, channel], cmap="gray")
    axes[0, channel + 1].set_title(f"latent {channel}", fontsize=9)
axes[0, 5].imshow(plots.to_image((back[0] / 2 + 0.5).detach()))
axes[0, 5].set_title("decoded", fontsize=9)
for axis, t in zip(axes[1], TIMES, strict=False):
    axis.imshow(plots.to_image(decode(schedule.add_noise(latent, noise, t))[0]))
    axis.set_title(f"t = {t}", fontsize=9)
for axis in axes.flat:
    axis.axis("off")
plots.show(
    figure,
    alt="Above: a rendered scene, its four latent channels as small grey pictures in which the objects can be recognised, and the decoded picture, "
    "slightly softer. Below: the decoded latents at times 0, 250, 500, 750 and 999, from the scene to pale scribbles without any order.",
    caption="Above: a scene, its latents, and what the decoder makes of them. Below: latents with more and more noise, decoded.",
)

# %% [markdown]
# ### The same code
#
# The functions of the first half never asked what `x` is. With `mini-sd`'s U-Net as the network, the sampler that drew points draws pictures. It needs guidance now, the
# teacher's step with two evaluations:
#
# $$ \tilde\varepsilon = (1 + \omega)\, \varepsilon(x_t, t, c) - \omega\, \varepsilon(x_t, t, \varnothing) $$
#
# (diffusers' `guidance_scale` is $1 + \omega$: 1 is no guidance.)

# %%
with torch.no_grad():
    text, nothing = pipe.encode_prompt(PROMPTS, "cpu", 1, True)
unet = LatentNetwork(pipe.unet)


def guided_teacher(x, t, condition, omega=None):
    """The noise, guided with mini-sd's usual scale."""
    omega = torch.full((len(x),), GUIDANCE - 1)
    return consistency.guided(unet(x, t, condition), unet(x, t, nothing), omega)


start_latents = torch.randn(len(PROMPTS), *latent.shape[1:], generator=rng)
ours = consistency.ddim(guided_teacher, start_latents, 25, config, text)[-1]

ends_clean = {"timestep_spacing": "trailing", "set_alpha_to_one": True}
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, **ends_clean)
theirs = pipe(
    PROMPTS,
    num_inference_steps=25,
    guidance_scale=GUIDANCE,
    latents=start_latents,
    output_type="latent",
).images
print(
    "25 steps of ours equal diffusers' pipeline:",
    torch.allclose(ours, theirs, atol=1e-3),
)

# %% [markdown]
# ### How many steps, and with or without guidance
#
# Two savings are possible, fewer steps and one evaluation a step instead of two, so let us look at both. One starting noise for each prompt, the same in every column:

# %%
STEPS = (1, 2, 4, 8, 25, 50)
few = [PROMPTS[i] for i in (0, 4, 6)]
pipe.scheduler = DDIMScheduler.from_config(
    pipe.scheduler.config, set_alpha_to_one=False
)
strips = {
    scale: torch.stack([draw(pipe, few, n, guidance=scale) for n in STEPS], dim=1)
    for scale in (1.0, GUIDANCE)
}


# %% tags=["hide-input"]
def steps_name(n):
    """As in: 1 step, 4 steps."""
    return f"{n} step{'s' * (n > 1)}"


rows = {
    f"{textwrap.fill(text, 18)}\n{'with' if scale > 1 else 'without'} guidance": images[
        i
    ]
    for i, text in enumerate(few)
    for scale, images in strips.items()
}
plots.show(
    plots.strip(rows, [steps_name(n) for n in STEPS], size=1.0),
    alt="Three prompts, each without and with guidance, drawn by DDIM in 1, 2, 4, 8, 25 and 50 steps. One step gives coloured blobs on the right ground, two "
    "steps soft objects; from four steps on they are sharp and change little, and with guidance their colours are stronger.",
    caption="DDIM from the same noises. Rows: three prompts, each without guidance and with it.",
)

# %% [markdown]
# ```{admonition} A trap: clip_sample comes back
# :class: warning
# `SOMETHING.from_config(pipe.scheduler.config)` takes over *all* settings, and `DDPMScheduler`'s and `DDIMScheduler`'s default is `clip_sample=True`. A pipeline
# that was saved with it hands it on to every sampler you try later. Latents reach beyond [-1, 1], so clipping ruins the picture, without any message.
# ```

# %%
clipping = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=True)
right, pipe.scheduler = pipe.scheduler, clipping
clipped = draw(pipe, few, steps=50)
pipe.scheduler = right
print(
    "clip_sample should be False here, and it is:",
    not pipe.scheduler.config.clip_sample,
)

# %% tags=["hide-input"]
plots.show(
    plots.strip(
        {
            "clip_sample\n= False": strips[GUIDANCE][:, -1],
            "clip_sample\n= True": clipped,
        },
        [textwrap.fill(text, 20) for text in few],
        size=1.35,
    ),
    alt="Three prompts drawn in 50 steps. Without clipping three sharp scenes, with clipping pale patterns of stripes in which hardly anything can be recognised.",
    caption="The same noises and 50 steps; below, every guess of the clean latents is clipped to [-1, 1].",
)

# %% [markdown]
# ## Distilling `mini-sd`
#
# The loss is the one from the first half, word for word; `training/consistency.py` computes both. Three things are new.
#
# **The teacher's step is guided.** It costs two evaluations, while training. The student makes one, so it learns the guided answer and guidance becomes free. A student of
# its own may be *told* the scale $\omega$, as an embedding like the time's; or one scale may be *baked in*.
#
# **The student starts from the teacher's weights.** It has to change what it answers, not what it knows about shapes and colours.
#
# **Not all weights need to change.** *LoRA* {cite:p}`hu2022lora` leaves each weight matrix $W$ as it is and adds a product of two thin ones,
#
# $$ W x + B A x, \qquad A: r \times \text{inputs}, \quad B: \text{outputs} \times r, $$
#
# with $B = 0$ at the start, so that the student *is* the teacher. How many weights are that?

# %%
for rank in (4, 8, 16):
    small = add_lora(copy.deepcopy(pipe.unet), rank)
    share = measure.count_params(small, trainable=True) / measure.count_params(
        pipe.unet
    )
    print(f"mini-sd,              rank {rank:2}: {100 * share:4.1f} % of the U-Net")
with torch.device("meta"):
    large = UNet2DConditionModel(
        cross_attention_dim=768
    )  # Stable Diffusion 1.5: all defaults
    full = measure.count_params(large)
    trained = measure.count_params(add_lora(large, 64), trainable=True)
print(
    f"Stable Diffusion 1.5, rank 64: {100 * trained / full:4.1f} % ({trained / 1e6:.1f} M)"
)

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("lora_share", share=trained / full, holds=0.056 <= trained / full <= 0.08)

# %% [markdown]
# ```{admonition} Common mistake: "LoRA trains 1 to 5 % of the weights"
# :class: warning
# For LCM-LoRA it is more. {cite:t}`luo2023lcmlora` give 67.5 million of 0.98 billion, 105 of 1,300 and 197 of 3,500: 5.6 to 8 %. The count above is for the U-Net alone.
# ```
#
# ### One minute of it, live
#
# The real thing: adapters for `mini-sd`'s U-Net, real latents, the guided teacher. Now and then it draws 64 pictures with two objects, in 1, 2 and 4 steps, and a small network that was
# trained to *read* renderings (and has never seen a generated picture) says what they show. A picture counts when everything in it is as its prompt asked: both shapes, both colours,
# the sides, and the ground.
#
# A minute is short, so the teacher's steps are long, $k = 50$, and the learning rate is high.

# %%
captioned = pairs.load(1500, seed=0)
captions = captioned.captions("left")
latents = (
    autoencoder.encode(pipe.vae, captioned.images).mean * pipe.vae.config.scaling_factor
)
ids, empty = (mini_sd.token_ids(pipe.tokenizer, text) for text in (captions, [""]))
told = encode_prompts(pipe.text_encoder, ids, empty[0])

judge = reader.load(zoo.folder("mini-reader"))
asked = pairs.load(64, seed=32).captions("left")


def few_step_quality(model):
    """Share of pictures that are all right, in 1, 2 and 4 steps."""
    fast = StableDiffusionPipeline(
        **pipe.components | {"unet": model.target.unet}, requires_safety_checker=False
    )
    fast.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    fast.set_progress_bar_config(disable=True)
    drawn = (draw(fast, asked, steps=n, guidance=1.0) for n in (1, 2, 4))
    return [reading.score(judge, images, asked)["all_right"] for images in drawn]


# %% tags=["nbval-ignore-output"]
recipe = LatentDistillationConfig(
    steps=120,
    lr=6e-3,
    batch_size=8,
    warmup=5,
    objective=ConsistencyConfig(omega=(GUIDANCE - 1, GUIDANCE - 1), skip=50),
)
student = add_lora(copy.deepcopy(pipe.unet), rank=8)
live, curve = distil(
    pipe.unet,
    student,
    latents,
    told,
    recipe,
    watch=few_step_quality,
    every=30,
    progress=False,
)
print(f"{sum(row.seconds for row in curve):.0f} seconds of training")
print("steps of distillation, and pictures all right in 1, 2 and 4 steps:")
for row in curve:
    print(f"{row.step:5}", *(f"{100 * share:5.0f} %" for share in row.value))

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 3))
for i, n in enumerate((1, 2, 4)):
    axis.plot(
        [row.step for row in curve],
        [100 * row.value[i] for row in curve],
        "o-",
        label=steps_name(n),
    )
axis.set(xlabel="steps of distillation", ylabel="all right (%)", ylim=(0, 100))
axis.set_xticks([row.step for row in curve])
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    figure,
    alt="Share of pictures that are all right against steps of distillation: "
    + "; ".join(
        f"in {steps_name(n)} from {100 * curve[0].value[i]:.0f} to {100 * curve[-1].value[i]:.0f} percent"
        for i, n in enumerate((1, 2, 4))
    )
    + ".",
    caption="Few-step quality while a LoRA is distilled; 64 prompts with two objects.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
before, after = (np.array(row.value) for row in (curve[0], curve[-1]))
told = ", ".join(
    f"{100 * old:.0f} → {100 * new:.0f} % all right in {steps_name(n)}"
    for n, old, new in zip((1, 2, 4), before, after, strict=True)
)
taken = sum(row.seconds for row in curve) / 60
ledger.add("a_minute", ours=told, minutes=taken, holds=(after > before).all())

# %% [markdown]
# ### The whole of it
#
# The same recipe with more steps, larger batches and the average's weights is `python -m recipes.mini_lcm_lora`, and its result comes with the course. These are the lines that make
# Stable Diffusion fast; only the names of the folders differ:

# %%
lora = zoo.load_pipeline("mini-sd")
lora.load_lora_weights(zoo.folder("mini-lcm-lora"))
zoo.whole(lora.unet, zoo.folder("mini-lcm-lora"))  # it took every tensor
lora.scheduler = LCMScheduler.from_config(lora.scheduler.config)

# %% [markdown]
# And the full LCM, distilled by the paper's own recipe: all weights trained, and $\omega$ drawn anew for each picture and told to the network. diffusers asks for its own pipeline, which feeds the scale in as
# `timestep_cond`:

# %%
folder = zoo.folder("mini-lcm")
told_unet = zoo.whole(UNet2DConditionModel.from_pretrained(folder), folder)
parts = lora.components | {"unet": told_unet}
lcm = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
lcm.set_progress_bar_config(disable=True)
omega = torch.tensor([GUIDANCE - 1])
library = lcm.get_guidance_scale_embedding(omega, embedding_dim=256)
print(
    "our embedding equals diffusers':",
    torch.equal(guidance_embedding(omega, 256), library),
)

# %% [markdown]
# Steps across, methods down, one starting noise for all:

# %%
FEW = (1, 2, 4, 8)
one = PROMPTS[4]
methods = {
    "DDIM": (pipe, 1.0),
    "DDIM,\nguided": (pipe, GUIDANCE),
    "LCM-LoRA": (lora, 1.0),
    "LCM": (lcm, GUIDANCE),
}
shown = {
    name: torch.cat([draw(model, [one], n, guidance=scale) for n in FEW])
    for name, (model, scale) in methods.items()
}

# %% tags=["hide-input"]
plots.show(
    plots.strip(shown, [steps_name(n) for n in FEW], size=1.25),
    alt=f"“{one}” by DDIM without and with guidance, LCM-LoRA and LCM, in 1, 2, 4 and 8 steps. In one step DDIM gives blobs, garish ones with guidance, and the distilled "
    "models a cube and an unfinished sphere; from four steps on all rows show a cube and a sphere.",
    caption=f"“{one}”, from one noise. Guided DDIM calls the U-Net twice a step, the others once.",
)

# %% [markdown]
# Is the LCM really one network for all scales? Four steps each, and only the number that it is told changes:

# %%
SCALES = (1.0, GUIDANCE, 6.0)
dial = {scale: draw(lcm, PROMPTS, 4, guidance=scale) for scale in SCALES}
its_teachers = {scale: draw(pipe, PROMPTS, 25, guidance=scale) for scale in SCALES}

# %% tags=["hide-input"]
some = [PROMPTS.index(text) for text in few]
plots.show(
    plots.strip(
        {
            textwrap.fill(PROMPTS[i], 18): torch.stack([dial[s][i] for s in SCALES])
            for i in some
        },
        [f"scale {scale:g}" for scale in SCALES],
        size=1.2,
    ),
    alt="Three prompts in four steps of LCM, told the guidance scales 1, 3 and 6. From left to right colours and shadows become a little stronger; the shapes hardly change.",
    caption="LCM in four steps; the guidance scale is an input.",
)

# %% tags=["nbval-ignore-output"]
contrast, moved = {}, {}
for name, drawn in (("LCM, 4 steps", dial), ("DDIM, 25 steps", its_teachers)):
    contrast[name] = [drawn[scale].std().item() for scale in SCALES]
    moved[name] = (drawn[SCALES[-1]] - drawn[SCALES[0]]).abs().mean().item()
    print(
        f"{name:14} contrast",
        ", ".join(f"{c:.3f}" for c in contrast[name]),
        f"at scales 1, 3, 6; from 1 to 6 a pixel changes by {moved[name]:.3f}",
    )

# %%
for name, values in contrast.items():
    print(f"{name}, more contrast with a higher scale:", sorted(values) == values)
print(
    "the LCM is moved less than its teacher:",
    moved["LCM, 4 steps"] < moved["DDIM, 25 steps"],
)

# %% [markdown]
# It listens, if not as well as one would wish: as with DDIM, a higher scale gives more contrast, but it moves these pictures by less than half as much. Our training had 1,000 steps, the
# paper's 100,000. And it needed help to hear. The layer that reads the scale is new and begins at zero, beside weights that are trained already, so it learns at 30 times the rate of
# the others. Three trainings that differ in this alone (`python -m recipes.guidance_rate`), judged on 64 prompts:

# %%
for row in records.load("guidance_rate")["results"]:
    print(
        f"{row['rate']:2g} times the rate: from 1 to 6 the pictures move {row['moved']:.2f} times as far as "
        f"the teacher's, contrast {row['contrast'][0]:.3f} to {row['contrast'][-1]:.3f}"
    )
print(
    f"the teacher's contrast: {row['teacher_contrast'][0]:.3f} to {row['teacher_contrast'][-1]:.3f}"
)

# %% [markdown]
# With one rate for all layers the student hears the scale faintly, and draws nearly what is right *on average* over the scales from 1 to 6. With ten times the rate the scale moves its pictures more
# than twice as far. Thirty times moves them no further; its range of contrast is a little wider, which after one training each may be chance. That an input is there does not say how well a network
# listens to it; one has to try it to know.

# %% [markdown]
# ## Measured
#
# One picture proves nothing. So: 256 prompts (half of them with two objects), three starting noises for each, every method from the same noises. Two questions.
# *Does the picture show what was asked for?* The reading network answers. *Do the pictures, as a set, look like real ones?* The Fréchet distance between their features
# and those of real renderings, in the features of a network trained on ImageNet; two sets of real renderings give the floor.
# (`python -m recipes.few_steps` repeats it, in about half an hour.)

# %%
record = records.load("few_steps")


def measured(what, method, guidance=0.0, steps=0):
    """One value for each starting noise."""
    return records.select(record, what, method=method, guidance=guidance, steps=steps)


CASES = {
    ("ddim", 1.0): "DDIM",
    ("ddim", GUIDANCE): "DDIM, guided",
    ("ddim_leading", GUIDANCE): "DDIM, guided, from t < T - 1",
    ("dpm++", 1.0): "DPM++",
    ("dpm++", GUIDANCE): "DPM++, guided",
    ("lcm_lora", 1.0): "LCM-LoRA",
    ("lcm_lora", 1.5): "LCM-LoRA, guided by 1.5",
    ("lcm", 1.0): "LCM, told 1",
    ("lcm", GUIDANCE): f"LCM, told {GUIDANCE:g}",
}
ALL_STEPS = (1, 2, 4, 8, 25, 50)
taken = {case: [] for case in CASES}
for row in record["results"]:
    case = row["method"], row["guidance"]
    if case in taken and row["steps"] not in taken[case]:
        taken[case].append(row["steps"])

QUALITIES = {
    "follows": ("of what was asked, right (%)", 100),
    "all_right": ("pictures without a mistake (%)", 100),
    "frechet": ("Fréchet distance", 1),
}
for what, (title, scale) in QUALITIES.items():
    print(f"{title:31}{'calls':>6}" + "".join(f"{n:7}" for n in ALL_STEPS))
    for case, name in CASES.items():
        calls = measured("evaluations", *case, 4).mean() / 4
        values = [
            f"{scale * measured(what, *case, n).mean():7.1f}"
            if n in taken[case]
            else 7 * " "
            for n in ALL_STEPS
        ]
        print(f"{name:31}{calls:6.0f}" + "".join(values).rstrip())
    for name in ("autoencoder", "real"):
        print(f"{name:31}{'':6}{scale * measured(what, name).mean():7.1f}")
    print()

# %% [markdown]
# Steps across; *calls* is how often each of them calls the U-Net. DPM++ has no number for one step, as its first step is DDIM's. One row starts where Stable Diffusion's own settings start: its single
# step is taken at t = 1, from pure noise, which is no fault of few steps (it was drawn once, all others three times). *autoencoder* and *real* are real renderings, with and without a trip through the autoencoder.

# %% tags=["hide-input"]
LOOKS = {
    ("ddim", 1.0): ("grey", "--"),
    ("ddim", GUIDANCE): ("grey", "-"),
    ("dpm++", GUIDANCE): ("amber", "-"),
    ("lcm_lora", 1.0): ("blue", "-"),
    ("lcm", GUIDANCE): ("orange", "-"),
}
floor = measured("frechet", "real").mean()
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6))
for axis, what, scale in zip(axes, ("follows", "frechet"), (100, 1), strict=True):
    for case, (color, line) in LOOKS.items():
        values = [scale * measured(what, *case, n) for n in taken[case]]
        axis.errorbar(
            [measured("evaluations", *case, n).mean() for n in taken[case]],
            [v.mean() for v in values],
            yerr=[claims.mean(v).half for v in values],
            fmt="o" + line,
            ms=4,
            lw=1.5,
            color=plots.PALETTE[color],
            label=CASES[case],
        )
    axis.axhline(scale * measured(what, "real").mean(), color=INK, ls=":", lw=1.2)
    axis.set(xscale="log", xlabel="U-Net evaluations per picture")
    axis.set_xticks([1, 2, 4, 8, 16, 50, 100], ["1", "2", "4", "8", "16", "50", "100"])
    axis.minorticks_off()
axes[0].set(ylabel="prompt followed (%)", title="Does it show what was asked for?")
axes[1].set(ylabel="Fréchet distance", title="Does it look real?", yscale="log")
plots.plain_numbers(axes[1].yaxis)
axes[0].legend(loc="lower right", fontsize=8)
axes[1].text(1, floor * 1.05, "two real samples", fontsize=8, va="bottom")
plots.show(
    figure,
    alt="Two plots against U-Net evaluations, logarithmic. Left, prompts followed: LCM-LoRA and LCM are at 97 percent with one evaluation already; guided DDIM and DPM++ "
    "meet them near the top at eight; DDIM without guidance stays below. Right, Fréchet distance: the distilled models are lowest up to four evaluations, DPM++ and "
    "guided DDIM end lower, and two real samples lie far below all.",
    caption="256 prompts, three noises each; error bars are intervals at 95 % over the noises. Dotted: real renderings.",
)

# %% [markdown]
# Read the two plots slowly; they do not say the same.
#
# **Left.** Four guided steps of DDIM show nearly all that was asked for, as fifty do: for scenes as simple as these no distillation is needed to get down to four. The gap is at one and two
# steps. A single evaluation of LCM-LoRA does better than one guided step of DDIM by far, and about as well as two. Without guidance DDIM never gets as far, however many steps it takes: steps do not
# replace guidance. The LCM says the same in another way: told a scale of 1 it is behind itself told 3 in every column, at the same number of calls.
#
# **Right.** How real the pictures look still changes where the left plot is flat. Step for step, the distilled models are ahead of guided DDIM at one and two, and level with it at four,
# for half of the evaluations. From there on DDIM and DPM++ go further: the students imitate, and an imitation has errors of its own. All of them stay far from the floor, and that is the U-Net's doing:
# what the autoencoder leaves of real pictures is near it.
#
# With Stable Diffusion, at 512 pixels, the gap is wider and lasts longer: the paper's FID of DDIM is 22.4 in four steps and 13.8 in eight, that of LCM 11.1 in four, and *worse* in eight
# (11.8) {cite:p}`luo2023lcm`. The more there is to draw, the more steps there are to save.

# %% [markdown]
# ### And in seconds
#
# On your machine, now. 16 pictures each; the two take turns, and the median counts. Both include reading the prompt and decoding the latents, which no sampler can save.

# %% tags=["nbval-ignore-output"]
sixteen = [*PROMPTS, *asked[:8]]
speed = measure.compare(
    lambda: draw(lora, sixteen, 4, guidance=1.0),
    lambda: draw(pipe, sixteen, 50),
    warmup=1,
    repeats=3,
)
print(f"LCM-LoRA in 4 steps against guided DDIM in 50: {speed}")

# %% [markdown]
# The record holds the times of all methods, taken in turns on one thread. Two savings multiply: fewer steps, and one evaluation a step instead of two.

# %%
turns = {case: np.array(v) for case, v in record["settings"]["timing"]["turns"].items()}
guided, single, quick = (
    turns[c] for c in (f"ddim {GUIDANCE:g} 50", "ddim 1 50", "lcm_lora 1 4")
)
for what, ratio in (
    ("no guidance", guided / single),
    ("4 steps, not 50", single / quick),
    ("both", guided / quick),
):
    print(f"{what:16} {np.median(ratio):5.1f} times as fast")

# %% tags=["hide-input", "nbval-ignore-output"]
teacher50 = measured("follows", "ddim", GUIDANCE, 50)
lora4 = measured("follows", "lcm_lora", 1.0, 4)
minutes = record["minutes"]


def percent(values):
    """Mean, and half of its interval over the starting noises."""
    return f"{100 * values.mean():.1f} ± {100 * claims.mean(values).half:.1f} %"


ledger.add("mini_sd", told=percent(teacher50), minutes=minutes, beyond=teacher50.mean())
both, share = [percent(v) for v in (lora4, teacher50)], lora4.mean() / teacher50.mean()
ledger.add("lora_follows", both=both, beyond=share)
times, n = guided / quick, turns["lcm_lora 1 4"].size
ledger.add("lora_fast", times=np.median(times), turns=n, beyond=times.min())
for row, case, n in (
    ("lora_1", ("lcm_lora", 1.0), 1),
    ("lora_2", ("lcm_lora", 1.0), 2),
    ("lcm_1", ("lcm", GUIDANCE), 1),
    ("lcm_2", ("lcm", GUIDANCE), 2),
):
    fast, slow = (measured("frechet", *each, n) for each in (case, ("ddim", GUIDANCE)))
    ledger.add(row, fast=fast.mean(), slow=slow.mean(), holds=fast.max() < slow.min())

# %% [markdown]
# ## A style on top
#
# A LoRA is a difference of weights, and differences can be added. `mini-pencil` is one that was trained by the ordinary diffusion loss on scenes redrawn with a
# pencil. It knows nothing of few steps, and `mini-lcm-lora` knows nothing of pencils:

# %%
lora.unload_lora_weights()
for adapter, name in {"lcm": "mini-lcm-lora", "pencil": "mini-pencil"}.items():
    lora.load_lora_weights(zoo.folder(name), adapter_name=adapter)
    zoo.whole(lora.unet, zoo.folder(name))
subjects = PROMPTS[2:]
sketches = [f"a pencil sketch of {text}" for text in subjects]
drawn = {}
for weights in ([1.0, 0.0], [1.0, 0.4], [1.0, 0.8], [0.0, 0.8]):
    lora.set_adapters(["lcm", "pencil"], adapter_weights=weights)
    name = f"LCM {weights[0]:g},\npencil {weights[1]:g}"
    drawn[name] = draw(lora, sketches, 4, guidance=1.0)

# %% tags=["hide-input"]
plots.show(
    plots.strip(drawn, [textwrap.fill(text, 14) for text in subjects], size=1.1),
    alt="Six prompts, each behind “a pencil sketch of”, in four steps. Without the pencil's adapter coloured scenes, several of them in wrong colours and shapes; at 0.4 "
    "of its strength grey pictures with dark hatching; at 0.8 pencil sketches; and without LCM's adapter blurred ones.",
    caption="Four steps; the weights of the two adapters change from row to row.",
)

# %% [markdown]
# The first row is a warning. The style's adapter is off, but the prompts still say “pencil sketch of”, words that `mini-sd` never saw. Such words do not do nothing: they push the prompt aside, and
# colours and shapes go wrong. With the adapter they get their meaning, and four steps suffice for a style that was never distilled.
#
# ## The trajectories, once more
#
# In two dimensions we drew paths. Of pictures we can draw the *guesses* along them: what the U-Net believes the clean picture to be, at each step.

# %%
lora.set_adapters(["lcm"], adapter_weights=[1.0])
fast = LatentNetwork(lora.unet)
path = consistency.ddim(guided_teacher, start_latents, 24, config, text)
believed = []
for x, t in zip(path, consistency.sampling_times(24, config), strict=False):
    now = torch.full((len(x),), t)
    with torch.no_grad():
        believed.append(decode(schedule.clean(x, guided_teacher(x, now, text), t)))

x, jumps = start_latents, []
for t in consistency.sampling_times(4, config):
    if jumps:
        x = schedule.add_noise(x, torch.randn(x.shape, generator=rng), t)
    with torch.no_grad():
        x = consistency.denoise(fast(x, torch.full((len(x),), t), text), x, t, config)
    jumps.append(decode(x))

# %% tags=["hide-input"]
frames = []
for i in (0, 4, 8, 13, 18, 23):
    pair = torch.cat((believed[i][-2:], jumps[i // 6][-2:]))
    frames.append(make_grid(pair, nrow=2, padding=2, pad_value=1))
plots.show_animation(
    frames,
    seconds=0.7,
    zoom=2,
    alt="Two rows of two pictures that change. Above, DDIM's guesses over 24 steps: grey blurs that slowly turn into scenes. Below, LCM's four answers: scenes from the "
    "first, whose details change at each of three jumps.",
    caption="What each sampler believes the picture to be. Above 24 steps of guided DDIM, below 4 of LCM-LoRA, from the same noises.",
)

# %% [markdown]
# ## At paper scale
#
# The same lines with Stable Diffusion 1.5. In the laptop profile they run with `mini-sd`; with `MODARCH_PROFILE=gpu` they fetch the real one, at fixed revisions. Three things differ:
#
# * Its default sampler is PNDM, not DDIM, and 50 steps of it call the U-Net 51 times. Who compares with "DDIM" has to set it.
# * It comes with a *safety checker*, which blackens pictures that it takes for unsafe. Its licence forbids certain uses, so the course leaves the checker on.
# * `LCM_Dreamshaper_v7` is a full LCM of another checkpoint. Its guidance scale is an embedding, for which its authors use 8 {cite:p}`luo2023lcm`; setting it to 1, as is often advised, asks for a scale outside its training range.

# %% tags=["profile-dependent"]
here = profile.current()
base = zoo.load_pipeline(here.text_to_image).to(here.device)
print(type(base).__name__, "samples with", type(base.scheduler).__name__)
print("checks its pictures:", base.safety_checker is not None)

# %%
if here.text_to_image == "mini-sd":
    wishes, usual = PROMPTS[4:8], GUIDANCE
else:
    wishes, usual = (
        ["an astronaut riding a horse, oil painting", "a bowl of ramen, photograph"],
        7.5,
    )
base.scheduler = DDIMScheduler.from_config(
    base.scheduler.config, timestep_spacing="trailing"
)
slow = draw(base, wishes, 50, guidance=usual)
base.load_lora_weights(zoo.folder(here.lcm_lora))
zoo.whole(base.unet, zoo.folder(here.lcm_lora))
base.scheduler = LCMScheduler.from_config(base.scheduler.config)
quick = draw(base, wishes, 4, guidance=1.0)
whole_name = profile.pick(laptop=None, gpu="lcm-dreamshaper-v7")
full = zoo.load_pipeline(whole_name).to(here.device) if whole_name else lcm
whole = draw(full, wishes, 4, guidance=8.0 if whole_name else GUIDANCE)

# %% tags=["hide-input"]
plots.show(
    plots.strip(
        {
            "DDIM\n50 steps": slow.float().cpu(),
            "LCM-LoRA\n4 steps": quick.float().cpu(),
            "full LCM\n4 steps": whole.float().cpu(),
        },
        [textwrap.fill(text, 20) for text in wishes],
        size=1.35,
    ),
    alt="Pictures of the same prompts by DDIM in 50 steps, LCM-LoRA in 4 and a full LCM in 4, one method to a row.",
    caption="The profile's models: 50 steps against 4.",
)

# %% [markdown]
# ### Predict first, then unfold
#
# **1.** You load `mini-lcm-lora` into a plain `StableDiffusionPipeline` and leave `guidance_scale` at its default, 7.5. What do the pictures look like, and how many U-Net evaluations are four steps?
#
# <details><summary>Answer</summary>
# Garish: guidance is built into the adapters already, and the pipeline guides a second time. And eight, as each step asks twice. 1.0 turns the pipeline's own guidance off; with SD 1.5 up to
# 2 is usual.
# </details>
#
# **2.** The same question for the full LCM, which takes the scale as an embedding. What does `guidance_scale=1.0` mean there?
#
# <details><summary>Answer</summary>
# Not "off", but ω = 0, a scale like any other, if it was trained on that. Ours was (1 to 6). The paper trains with ω from 2, that is, a scale from 3. A negative prompt does nothing, since
# no second evaluation is made.
# </details>
#
# **3.** Fifty steps of PNDM against four of LCM-LoRA, both "with guidance 7.5". Somebody reports a speed-up of 12.5. How many evaluations is it really?
#
# <details><summary>Answer</summary>
# PNDM calls the U-Net 51 times for 50 steps, each time for two halves: 102. LCM-LoRA with its guidance built in: 4. That is 25.5 times fewer, of which a factor of 2 is guidance.
# </details>
#
# **4.** Why is a speed-up in seconds smaller than that in evaluations?
#
# <details><summary>Answer</summary>
# The text model and the decoder run once per picture, whatever the sampler. The fewer steps, the larger their share.
# </details>
#
# **5.** `mini-pencil` was never distilled. Why do its sketches come out in four steps?
#
# <details><summary>Answer</summary>
# Both adapters are differences from the same weights, and they change different things: one how far a step goes, the other what is drawn. To first order such differences add. Nothing
# guarantees it; look at the pictures.
# </details>
#
# ## Summary
#
# * Fifty steps are there because the guess of the clean picture is a mean of all that is possible, and a mean is no picture.
# * Consistency: all points of **one** path have the same end. The student learns it from neighbours on the path, and the boundary condition is where the truth comes in.
# * Three networks: a frozen teacher makes one step of length k, the student learns, the target is the student's average.
# * Sampling is jump, add new noise, jump. It is no ODE solver, and more than a few jumps gain little.
# * Two savings, steps and guidance, and they multiply. Say which one you mean.
# * Write `clip_sample=False`, name the sampler, warm up, take medians.
#
# ### Claims

# %% tags=["nbval-ignore-output"]
ledger

# %%
ledger.verdicts()

# %% [markdown]
# ## What to read
#
# * {cite:t}`song2023consistency`, sections 2 to 5, for the idea; {cite:t}`luo2023lcm`, section 4, for latents, guidance and skipping; {cite:t}`luo2023lcmlora` for adapters.
# * `modarch_utils/training/consistency.py`: all of the method in one file; `latent_consistency.py` beside it puts diffusers' U-Nets in.
# * The model cards in `modarch_utils/weights/`, which say how `mini-sd` and its students were trained and what they are not.
