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
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from diffusers import DDIMScheduler, LCMScheduler

from modarch_utils import claims, plots
from modarch_utils.training import consistency, points
from modarch_utils.training.consistency import ConsistencyConfig

plots.use_style(dpi=90)
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
ends = [f"t = {t}: signal {schedule.alphas[t]:.3f}, noise {schedule.sigmas[t]:.3f}" for t in noisy]
print(*ends, sep="\n")

# %% tags=["hide-input"]
COLORS = list(plots.PALETTE.values())
INK = plots.PALETTE["ink"]


def scatter(axis, x, title="", colors=plots.PALETTE["blue"], limit=2.3):
    """Points on a square that is the same in every figure."""
    axis.scatter(*x.T, s=3, c=colors, alpha=0.6, linewidths=0)
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
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
clipped = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
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
    scatter(axis, paths[n][-1][:1500], f"{n} step{'s' * (n > 1)}", "#CBD5E1", limit=2.6)
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
print("all six began at Gaussian 0; they end at more than one:", len(reached.unique()) > 1)

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
scatter(left, real, "", "#CBD5E1", limit=2.6)
for i in range(6):
    left.plot(*fan[:, i].T, lw=1.2, color=COLORS[reached[i]])
    left.plot(*fan[0, i], "s", ms=5, color=COLORS[reached[i]])
    left.plot(*fan[-1, i], "o", ms=5, color=COLORS[reached[i]])
left.plot(*one[0], "*", ms=15, color=INK, zorder=6)
left.set_title("one clean point, six noises")
scatter(right, real, "", "#CBD5E1", limit=2.6)
right.plot(*path.T, color=plots.PALETTE["sky"], alpha=0.5, lw=7, label="the path")
right.plot(*by_teacher.T, ".-", color=plots.PALETTE["orange"], lw=0.8, ms=5, label="guesses")
right.plot(*path[-1], "o", ms=7, color=INK, label="its end")
right.set_title("one path")
right.legend(loc="lower right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
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
axis.plot(fine, c_out, color=plots.PALETTE["orange"], label="c_out: how much of the guess")
whole = torch.arange(21)
for values, color in zip(consistency.scalings(whole, config), ("blue", "orange"), strict=True):
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
print("the package computes the same loss:", torch.allclose(outcome.loss, loss, atol=1e-6))
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
        points.energy_distance(subset, draw_samples(model.target, n, model.config)[:2000])
        for n in steps
    ]


start = time.perf_counter()
lcm, curve = points.distil(teacher, config, steps=2000, watch=score)
lcm_minutes = (time.perf_counter() - start) / 60
print("one step, before and after: better than tenfold:", curve[0][1][0] > 10 * curve[-1][1][0])

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
axis.text(0, floor * 0.86, "two real samples", va="top", fontsize=9, color=plots.PALETTE["grey"])
axis.set(
    yscale="log", ylim=(floor / 1.8, 1), xlabel="steps of distillation", ylabel="energy distance"
)
axis.legend(loc="upper right", ncols=3)
plots.show(
    figure,
    alt="Energy distance against steps of distillation, for samples in 1, 2 and 4 steps; all fall steeply within the first thousand steps and "
    "then slowly, and end above the line of DDIM with 50 steps. Final values: "
    + ", ".join(f"{n} steps {v:.4f}" for n, v in zip((1, 2, 4), curve[-1][1], strict=True))
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
scatter(left, real, "", "#CBD5E1", limit=2.6)
left.plot(*path.T, color=INK, lw=1.5)
for (name, answers), color in zip(
    (("teacher's guess", by_teacher), ("student's answer", by_lcm)), ("orange", "blue"), strict=True
):
    left.plot(*answers.T, ".", ms=6, color=plots.PALETTE[color])
    right.plot(at, off[name], "o-", ms=3, lw=1.3, color=plots.PALETTE[color], label=name)
left.set_title("one path")
right.set(xlabel="time t of the point asked", ylabel="distance from the path's end", ylim=(0, None))
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
print("4 steps of DDIM, two runs, same start: the same samples:", torch.equal(again, paths[4][-1]))

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
for values, color, name in ((ddim, "grey", "DDIM (teacher)"), (reached, "blue", "LCM (student)")):
    axis.plot(list(values), list(values.values()), "o-", color=plots.PALETTE[color], label=name)
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

# %% tags=["nbval-ignore-output"]
ledger.add(
    "Our sampling loop equals diffusers' LCMScheduler, number for number",
    ours="1, 2, 4 and 8 steps",
    holds=largest < 1e-4,
    tolerance="1e-4 in every coordinate",
)
ledger.add(
    "A few steps of a distilled model beat as many of DDIM",
    ours=f"2-D, energy distance LCM against DDIM: {reached[1]:.4f} / {ddim[1]:.4f} in 1 step, "
    f"{reached[2]:.4f} / {ddim[2]:.4f} in 2, {reached[4]:.4f} / {ddim[4]:.4f} in 4",
    source="luo2023lcm",
    holds=all(reached[n] < ddim[n] / 3 for n in (1, 2, 4)),
    tolerance="a third or less, in 1, 2 and 4 steps",
    seeds="0",
    minutes=lcm_minutes,
    note=f"eight Gaussians; two real samples are {floor:.4f} apart",
)
_ = ledger.add(
    "In two dimensions the student does not reach its teacher's fifty steps",
    ours=f"best {min(reached.values()):.4f} against {ddim[50]:.4f}",
    holds=min(reached.values()) > ddim[50],
    seeds="0",
    minutes=teacher_minutes + lcm_minutes,
    note="eight Gaussians",
)

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
figure, (axis, left, right) = plt.subplots(1, 3, figsize=(9.8, 3), width_ratios=(1.7, 1, 1))
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
    alt="Left: energy distance of one-step samples while distilling; the curve of k = 20 falls quickly, that of k = 1 slowly, from "
    f"{curve[0][1][0]:.2f} to {curve[-1][1][0]:.3f} and to {curve_close[-1][1][0]:.3f}. Right: samples; a ring crowded near eight places for k = 20, a cloud in the middle for k = 1.",
    caption="The same budget with steps of 20 and of 1 (one seed).",
)

# %% [markdown]
# Think of the rumour: with $k = 20$ the truth has to pass through 50 hands from $t = 0$ to $t = 999$, with $k = 1$ through 1,000, and each is corrected only when its
# turn comes. The price of a large $k$ is a coarser teacher: a student of 50 steps cannot be better than DDIM with 50 steps. The paper's $k = 20$
# takes the deal.

# %% tags=["nbval-ignore-output"]
_ = ledger.add(
    "Skipping steps (k = 20) makes distillation converge sooner than k = 1",
    ours=f"1-step energy distance after 2,000 steps: {curve[-1][1][0]:.4f} (k = 20), {curve_close[-1][1][0]:.4f} (k = 1)",
    source="luo2023lcm",
    holds=curve_close[-1][1][0] > 3 * curve[-1][1][0],
    tolerance="a third or less",
    seeds="0",
    minutes=lcm_minutes + close_minutes,
    note="eight Gaussians, equal steps",
)

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
print("without it, the loss is lower:", pair["without"][1][-1][1] < pair["with"][1][-1][1])
print("and the samples have lost their spread:", spread["without"] < 0.2 * spread["with"])

# %% tags=["hide-input"]
figure, (axis, left, right) = plt.subplots(1, 3, figsize=(9.8, 3), width_ratios=(1.7, 1, 1))
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

# %% tags=["nbval-ignore-output"]
_ = ledger.add(
    "Without the boundary condition a free student collapses, at a lower loss",
    ours=f"spread of 1-step samples {spread['with']:.2f} → {spread['without']:.2f}; loss "
    f"{pair['with'][1][-1][1]:.4f} → {pair['without'][1][-1][1]:.4f}",
    holds=spread["without"] < 0.2 * spread["with"]
    and pair["without"][1][-1][1] < pair["with"][1][-1][1],
    tolerance="less than a fifth of the spread",
    seeds="0",
    note="eight Gaussians, a network that predicts the clean point, k = 50, 800 steps",
)

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

# %%
ledger.verdicts()
