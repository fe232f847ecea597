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
    TCDScheduler,
    UNet2DConditionModel,
)
from diffusers.utils import logging
from modarch_utils import claims, diagrams, measure, plots, profile, records, zoo
from modarch_utils.data import pairs
from modarch_utils.diagrams import Box, Column, Link
from modarch_utils.models import mini_sd, reader
from modarch_utils.studies import after_lcm, points
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

for library in (logging, transformers.logging):
    library.set_verbosity_error()
    library.disable_progress_bar()
# Two adapters in one network are just what we want.
warnings.filterwarnings("ignore", message="Already found a `peft_config`")
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
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
real, label = points.eight_gaussians(2000, rng)
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
# A diffusion model is a network that looks at $x_t$ and $t$ and predicts the noise $\varepsilon$ {cite:p}`ho2020ddpm`. Take a clean point, a time and some noise; mix them; ask for the
# noise; take the squared error:
#
# $$ L = \mathbb E_{x_0,\, t,\, \varepsilon}\, \lVert\, \varepsilon_\theta(\alpha_t x_0 + \sigma_t \varepsilon,\; t) - \varepsilon\, \rVert^2 $$
#
# That is the whole training of every diffusion model, in ten lines:

# %%
network, losses = points.PointNetwork(), []
optimizer = torch.optim.Adam(network.parameters(), 2e-3)
for _ in range(200):
    x0, _ = points.eight_gaussians(256, rng)
    t = torch.randint(1000, (256,), generator=rng)
    noise = torch.randn(x0.shape, generator=rng)
    predicted = network(schedule.add_noise(x0, noise, t), t)
    loss = (predicted - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print("the loss falls:", np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20]))

# %% [markdown]
# The network is an MLP with three hidden layers of 128; the time goes in as sines and cosines, and so does the point beside its coordinates, as small clusters are hard to see otherwise. Our
# teacher has 4,000 such steps, with a learning rate that rises and falls:

# %%
teacher = points.fit_teacher(config, steps=4000)
print(f"{sum(p.numel() for p in teacher.parameters()):,} parameters")

# %% [markdown]
# No network can predict the noise perfectly: many pairs of point and noise lead to the same $x_t$. The best possible answer is their mean,
# and with this data we can compute it, which nobody can with pictures. So for once a diffusion model can be marked:

# %%
t = torch.randint(1000, (len(real),), generator=rng)
noise = torch.randn(real.shape, generator=rng)
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
    x, at_t = schedule.add_noise(real, noise, t), torch.full((len(real),), t)
    with torch.no_grad():
        both = teacher(x, at_t), points.exact_noise(x, at_t, schedule)
    guesses[t] = [schedule.clean(x, epsilon, t) for epsilon in both]

# %% tags=["hide-input"]
figure, axes = plt.subplots(2, 4, figsize=(9.6, 5.2))
for column, (t, both) in zip(axes.T, guesses.items(), strict=True):
    for axis, x in zip(column, both, strict=True):
        axis.plot(*points.centres().T, "x", color=INK, ms=7, mew=1.5, zorder=5)
        scatter(axis, x[:1000], "", by_label[:1000])
    column[0].set_title(f"guesses from t = {t}", fontsize=10)
for axis, name in zip(axes[:, 0], ("the teacher", "the exact mean"), strict=True):
    axis.set_ylabel(name)
plots.show(
    figure,
    alt="Scatter plots of guesses of clean points from four times, the teacher's above, the exact mean below. The exact mean from 999 is a spot in the middle of the circle, "
    "the teacher's a wider cloud there; from 800 both lie around the middle, from 500 they fill the circle's inside, from 250 most lie near the eight centres and between them.",
    caption="The guess of the clean point, from four times; crosses are the true centres. From much noise the best guess is the mean of all that is possible, which is itself "
    "not possible.",
)

# %% [markdown]
# From $t = 999$ everything is still possible, and the mean of everything is the middle of the circle, where no data are. The guess
# is wrong as a sample, and yet it is right as a *direction*. (The teacher's cloud at 999 is wider than the exact one: dividing by $\alpha_{999} = 0.07$ makes each of its small
# errors fifteen times as large.)
#
# ## Fifty steps
#
# So take a small step in that direction, ask again, and correct. DDIM {cite:p}`song2021ddim` keeps the predicted noise and the predicted point and mixes them for
# an earlier time $s$:
#
# $$ x_s = \alpha_s\, \hat x_0 + \sigma_s\, \hat\varepsilon $$
#
# There is no chance in it. From one starting noise leads one path. In the limit of small steps it solves a differential equation, the *probability flow ODE*: in $\sigma_t / \alpha_t$,
# the noise for each unit of signal, the point moves as $\mathrm d (x / \alpha) = \varepsilon_\theta\, \mathrm d (\sigma / \alpha)$ {cite:p}`song2021ddim`. Here is the step, and the library's for comparison:

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
start_noise = torch.randn(2000, 2, generator=rng)
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
fresh = [points.eight_gaussians(2000, rng)[0] for _ in range(4)]
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
# $$ f(x, t) = c_{\text{skip}}(t)\, x + c_{\text{out}}(t)\, \hat x_0(x, t), \qquad c_{\text{skip}} = \frac{\sigma_d^2}{(\tau t)^2 + \sigma_d^2}, \qquad
# c_{\text{out}} = \frac{\tau t}{\sqrt{(\tau t)^2 + \sigma_d^2}} $$
#
# with $\sigma_d = 0.5$ and the scale $\tau = 10$. (The two factors come from {cite:t}`song2023consistency`, who asked for two things: 1 and 0 at the end of the path, and a mix that can be differentiated.) How long does
# $c_{\text{skip}}$ matter?

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
# a switch: *at $t = 0$ the answer is $x$, and everywhere else it is the network's*. We will see below what becomes of a student without this switch.
#
# ## The loss, term by term
#
# Nobody tells the student where paths end. It learns from neighbours: two points of one path, one teacher's step apart, must have the same
# answer. Three networks take part:

# %% tags=["hide-input"]
STUDENT = Box("student", "linear", carries="$f(x_t, t)$")
TARGET = Box("target", "linear", carries="$f(\\hat x_s, s)$")
columns = [
    Column(
        [Box("$x_t$", "input"), None, STUDENT, Box("distance", "element")], "learns"
    ),
    Column([Box("teacher: one step", "scan")], "frozen", tail=False),
    Column(
        [None, None, TARGET, Box("no gradient", "element")], "its average", tail=False
    ),
]
links = [
    Link((0, 0), (1, 0), shift=None),
    Link((1, 0), (2, 2), "$\\hat x_s$"),
    Link((0, 2), (2, 2), "EMA of the weights", shift=None),
    Link((2, 3), (0, 3), shift=None),
]
plots.show(
    diagrams.draw(columns, links),
    alt="x at time t goes to the student and to the frozen teacher. The teacher makes one step, to x at time s, which goes to the target. The student's answer at t and the "
    "target's at s, through which no gradient passes, are compared; the target is an exponential moving average of the student's weights.",
    caption="One step of distillation. Only the student gets a gradient.",
)

# %% [markdown]
# First, points on paths at random times. The times are 19, 39, ..., 999: steps are $k = 20$ long.

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
# The loss is the distance between the two answers. The paper takes the square; we take the pseudo-Huber distance {cite:p}`song2024ict`, $\sqrt{\delta^2 + c^2} - c$, which is
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
# Summaries often have only two networks and call the average "the teacher". In the paper there are three. The *teacher* is the trained diffusion model: it knows
# the paths and moves a point along one. The *target* knows nothing that the student did not know a moment ago. The student learns from two things: the
# fixed answer at $t = 0$, and a step along the path, which here is the teacher's.
#
# (How much the average helps is another question. {cite:t}`song2024ict` found it a flaw when there is no teacher, and took the student itself, without a gradient; the authors' script for
# LCM-LoRA does so too. The pseudo-Huber distance is also theirs.)
# ```
#
# **Where does the knowledge come from?** From the end. At $t = 19$ the teacher's step leads to $s = 0$, where hardly any noise is left, and there the target's answer is $x_s$ itself, by the boundary
# condition. So the answer at 19 can be learned first; then, once that is good, the one at 39; and so on, like a rumour, up to 999. Does it go like that? We shall look.
#
# ## Distilling, live
#
# 2,000 steps of 256 points. As it goes we sample with 1, 2 and 4 steps and measure.


# %%
def draw_samples(network, steps, setting=config, seed=0):
    """As many samples as `start_noise` has noises; the noise between steps is the seed's."""
    noise_between = torch.Generator().manual_seed(seed)
    return consistency.sample(network, start_noise, steps, setting, noise_between)


def score(model, steps=(1, 2, 4)):
    """Energy distance of the target network's samples, for each number of steps."""
    return [
        points.energy_distance(real, draw_samples(model.target, n, model.config))
        for n in steps
    ]


def errors_by_time(model):
    """How far answers are from the paths' ends: the mean of 300 paths, at each of 50 times."""
    points_, ends_ = paths[50][:-1, :300], paths[50][-1, :300]
    with torch.no_grad():
        return [
            (consistency.denoise(model.target(x, t.expand(300)), x, t, config) - ends_)
            .norm(dim=1)
            .mean()
            .item()
            for x, t in zip(points_, torch.tensor(at), strict=True)
        ]


start = time.perf_counter()
lcm, watched = points.distil(
    teacher,
    config,
    steps=2000,
    watch=lambda model: (score(model), errors_by_time(model)),
)
lcm_minutes = (time.perf_counter() - start) / 60
curve = [(step, scores) for step, (scores, _) in watched]
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
axis.text(2000, ddim[50] * 0.86, "DDIM, 50 steps", ha="right", va="top", fontsize=9)
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
    "then slowly, and end near the line of DDIM with 50 steps. Final values: "
    + ", ".join(
        f"{n} steps {v:.4f}" for n, v in zip((1, 2, 4), curve[-1][1], strict=True)
    )
    + ".",
    caption="Quality of few-step samples while the student learns (logarithmic; lower is better).",
)

# %% [markdown]
# And the rumour? The same training, seen by time: how far from a path's end are the answers at $t$?

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 3.2))
shades = plt.cm.viridis_r(np.linspace(0.05, 0.95, 5))
for (step, (_, errors)), color in zip(
    [watched[i] for i in (0, 1, 2, 5, 10)], shades, strict=True
):
    axis.plot(at, errors, color=color, label=f"after {step:,} steps")
axis.set(
    xlabel="time t of the points asked", ylabel="distance from the end", ylim=(0, None)
)
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
plots.show(
    figure,
    alt="Mean distance between answers and the ends of their paths, against time, at five moments of the training: "
    + "; ".join(
        f"after {step} steps {e[-5]:.2f} at t = {at[-5]}, {e[25]:.2f} at {at[25]}, {e[0]:.2f} at {at[0]}"
        for step, (_, e) in (watched[i] for i in (0, 1, 2, 5, 10))
    )
    + ".",
    caption="300 paths; before the first step the student is the teacher.",
)

# %% [markdown]
# It does go like that. After 200 steps the answers at small $t$ are right, and those at 999 hardly better than at the start; after 400 the good news has reached the middle; after 1,000 it has arrived. What is left at the end is twice as much at 999 as at 99: something adds up on the way, but far less than
# 50 equal errors would. (At small $t$ the teacher's guess was right from the start, and training gains nothing there.)
#
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
# They stay near the end. What remains is an error of about a cluster's width.
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
#
# At which times? The first is 999; of the 50 times of distillation, those at equal distances follow. Four steps: 999, 759, 499, 259.

# %%
hops, x = [start_noise[follow]], start_noise[[follow]]
for t in consistency.sampling_times(4, config):
    if t < 999:
        x = schedule.add_noise(x, torch.randn(x.shape, generator=rng), t)
        hops.append(x[0])
    with torch.no_grad():
        x = consistency.denoise(lcm.target(x, torch.tensor([t])), x, t, config)
    hops.append(x[0])
print(len(hops), "points: four jumps, and three times new noise between them")

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.9))
for axis, name in zip(axes, ("DDIM", "LCM"), strict=True):
    scatter(axis, real, f"four steps of {name}", plots.PALETTE["pale"], limit=2.6)
axes[0].plot(*paths[4][:, follow].T, "o-", color=plots.PALETTE["blue"], lw=1.3, ms=5)
for i, (a, b) in enumerate(zip(hops, hops[1:], strict=False)):
    jump = i % 2 == 0
    axes[1].annotate(
        "",
        b.tolist(),
        a.tolist(),
        arrowprops=dict(
            arrowstyle="-|>",
            lw=1.5,
            ls="-" if jump else ":",
            color=plots.PALETTE["blue" if jump else "orange"],
        ),
    )
for axis in axes:
    axis.plot(*hops[0], "s", color=INK, ms=6, zorder=4)
axes[1].plot(*torch.stack(hops[1::2]).T, "o", color=plots.PALETTE["blue"], ms=5)
plots.show(
    figure,
    alt="Left: four DDIM steps from one noise, a broken line to the circle. Right: from the same noise LCM jumps to the circle, is thrown off by new noise, and jumps again, "
    "four jumps in all.",
    caption="From one starting noise (square). Solid: jumps to the end; dotted: new noise, less each time.",
)

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
    caption="What a sample costs and how good it is, 2,000 points of each.",
)

# %% [markdown]
# At one and two steps the difference is more than tenfold. More steps help the student, too, if less and less: each jump makes its errors anew. (Whether it reaches its teacher's fifty steps, one run cannot tell; we come back to it with five.) Look at the samples, too: the energy distance mostly asks whether the points are in the right
# region, and it forgives the student the points *between* the clusters, which the eye does not.
#
# Why are they there? Two noises that are nearly the same may lead to two neighbouring clusters. So $f$ has cliffs, and a network is smooth: at a cliff it answers with something in between. More
# training makes the cliffs steeper and never vertical. (A loss that compares *distributions* punishes such points; below is one.)

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("scheduler", holds=largest < 1e-4)
better = all(reached[n] < ddim[n] / 3 for n in (1, 2, 4))
distances = dict(lcm=reached, ddim=ddim, floor=floor)
ledger.add("few_steps", **distances, minutes=lcm_minutes, holds=better)

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
# turn comes. The price of a large $k$ is a coarser teacher: a perfect student's single jump ends where DDIM with 50 steps ends, errors included. The paper's $k = 20$
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
# ## Guidance: more of what was asked for
#
# So far we took any point. Now *ask*: "a point of Gaussian 2, please". The network gets the number as a *condition* $c$, a prompt of one word. In training it is told the right one, but one time in
# ten it is told nothing ($\varnothing$), so that one network learns both predictions. That makes *classifier-free guidance* possible {cite:p}`ho2022guidance`:
#
# $$ \tilde\varepsilon = (1 + \omega)\, \varepsilon(x_t, t, c) - \omega\, \varepsilon(x_t, t, \varnothing) $$
#
# Why subtract? The prediction without a condition leads to where points are, the one with it to where *such* points are. Their difference leads to where $c$ is the likeliest label, and $\omega$ says how
# far beyond the honest answer to go that way. Each step calls the network twice.

# %%
told = points.fit_teacher(config, steps=2000, conditional=True)


def guided_points(omega, wanted=2, n=600):
    """End points of 50 guided steps, all asked for one Gaussian."""
    c, nothing = torch.full((n,), wanted), torch.full((n,), points.ANY)

    def network(x, t, condition):
        scale = torch.full((n,), omega)
        return consistency.guided(told(x, t, c), told(x, t, nothing), scale)

    return consistency.ddim(network, start_noise[:n], 50, config)[-1]


by_omega = {omega: guided_points(omega) for omega in (-1.0, 0.0, 0.5, 2.0)}
wanted = points.centres()[2]
middle = {omega: (x.mean(0) - wanted).norm().item() for omega, x in by_omega.items()}
near = torch.cdist(by_omega[0.0], points.centres()).argmin(1) == 2
print("asked, without guidance: most are there:", near.float().mean().item() > 0.9)
print("guided by 2, their middle is further out:", middle[2.0] > middle[0.0])

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.75))
for axis, (omega, x) in zip(axes, by_omega.items(), strict=True):
    scatter(axis, real[:800], f"ω = {omega:g}", plots.PALETTE["pale"], limit=2.6)
    scatter(axis, x, axis.get_title(loc="left"), plots.PALETTE["blue"], limit=2.6)
    axis.plot(*wanted, "x", color=INK, ms=9, mew=2, zorder=5)
plots.show(
    figure,
    alt="Samples at four strengths of guidance. At -1 they cover all eight clusters; at 0 the one that was asked for; at 0.5 and 2 they move outwards, away from the others, and out of the data.",
    caption="Asked for the Gaussian at the cross, in 50 steps. ω = -1 asks for nothing, 0 is the honest answer (pale: all the data).",
)

# %% [markdown]
# A little guidance moves the points away from all *other* Gaussians, a lot of it out of the data altogether. With pictures it is the same: some makes them clearer, much makes them garish.
#
# diffusers' `guidance_scale` is $1 + \omega$. A student can be *told* $\omega$ and learn the guided step's answer, so that one call does. That is a second saving, and it has nothing to do with the number
# of steps; with pictures we keep the two apart.
#
# ## What came after, on the same eight Gaussians
#
# LCM appeared in October 2023, and few-step drawing has been a crowded field since. The ideas are few, though. Four of them, each in a line and live. (`after_lcm` has all four in 300 lines.)
#
# **1. Straighten the paths.** A *rectified flow* {cite:p}`liu2023rectified` mixes evenly, $x_t = (1 - t)\,x_0 + t\,\varepsilon$ with $t$ from 0 to 1, and its network predicts the *velocity* $v = \varepsilon - x_0$. Its paths are curved, since
# lines from different noises to different points cross and a flow cannot cross itself. So follow it once, keep each noise $\varepsilon$ with the end $\hat x_0$ that it reached, and train again on these pairs:
#
# $$ L = \mathbb E\, \lVert v_\theta(x_t, t) - (\varepsilon - \hat x_0) \rVert^2 $$
#
# Lines between such pairs do not cross (nearly), so the new paths are straight, and one step is as good as many. That is called *reflow*.

# %%
flow = after_lcm.fit_flow(3000)
straight = after_lcm.straighten(flow, 2000)
for name, network in (("flow", flow), ("straightened", straight)):
    ends = {n: after_lcm.euler(network, start_noise, n) for n in (1, 50)}
    moved = (ends[1] - ends[50]).norm(dim=1).median().item()
    print(f"{name:12} one step ends where fifty end: {moved < points.SPREAD}")

# %% [markdown]
# **2. Learn the mean velocity.** *MeanFlow* {cite:p}`geng2025meanflow` needs no teacher and no first flow. It learns the *mean* velocity $u$ between two times $r < t$: one step of it, $x_r = x_t - (t - r)\,u$, is exact. But how to train it, if nobody
# can integrate? Let $v$ be the flow's velocity, the mean of $\varepsilon - x_0$ over all pairs that lead to $x_t$. Take the derivative of $(t - r)\,u = \int_r^t v\, \mathrm d\tau$ with respect to $t$, along the path and with $r$ fixed, and a condition at a single point remains:
#
# $$ u = v - (t - r)\, \frac{\mathrm d u}{\mathrm d t}, \qquad L = \mathbb E\, \lVert u_\theta(x_t, r, t) - \mathrm{sg}\big[ v - (t - r)\, \tfrac{\mathrm d u_\theta}{\mathrm d t} \big] \rVert^2 $$
#
# The derivative along the path, $v \cdot \nabla_x u + \partial_t u$, is one *Jacobian-vector product*, sg lets no gradient pass, and in the loss the pair's own $\varepsilon - x_0$ stands for $v$. (It is the consistency condition for infinitely near neighbours.)

# %%
mean = after_lcm.mean_flow(2500)
once = points.energy_distance(real, after_lcm.jump(mean, start_noise, 1))
print("without a teacher, one step beats four of DDIM:", once < ddim[4])

# %% [markdown]
# **3. Not only the end.** LCM answers where a path ends, so more steps have to throw noise in. *Trajectory consistency* (TCD, {cite:t}`zheng2024tcd`) learns to get from any $t$ to *any* earlier $s$, and neighbours shall agree about all of them:
#
# $$ L = \mathbb E\; d\big( f_\theta(x_t,\, t \to s),\; f_{\theta^-}(\hat x_{t-k},\, t-k \to s) \big) $$
#
# Its sampler is in diffusers as `TCDScheduler`; a number γ says how much new noise each step brings, from none (DDIM's way) to all (LCM's).

# %%
tcd = after_lcm.trajectory(teacher, config, lr=2e-3)
library = TCDScheduler()
library.set_timesteps(4)
x, between = start_noise, torch.Generator().manual_seed(0)
for t in library.timesteps:
    with torch.no_grad():
        epsilon = tcd(x, t.expand(len(x)))
    x = library.step(epsilon, t, x, eta=0.3, generator=between).prev_sample
between = torch.Generator().manual_seed(0)
ours = after_lcm.strategic(tcd, start_noise, 4, config, between)
print("our sampler equals diffusers' TCDScheduler:", torch.allclose(ours, x, atol=1e-4))

# %% [markdown]
# **4. Forget the paths.** The three above follow paths, a teacher's or a flow's. *Distribution matching* (DMD, {cite:t}`yin2024dmd`) asks that the samples, *as a crowd*, look like the teacher's. (The first paper also copied some of the teacher's own pairs of noise and picture; its successor dropped that, and so do we.) Add noise to a sample and let two networks guess the clean point: the
# teacher, who knows real data, and a *fake* one, which is trained all the while on what the student makes. Where they differ lies the way from "made" to "real":
#
# $$ \text{move } x = G_\theta(z) \text{ along } \; \hat x_0^{\,\text{teacher}}(x_t, t) - \hat x_0^{\,\text{fake}}(x_t, t) $$
#
# A point between two clusters is unlikely under the teacher, so it is pushed outwards. And since nobody copies paths, the student is not bound by the teacher's errors along them: with a discriminator on real data added, the authors report that theirs *passes* its teacher {cite:p}`yin2024dmd2`.

# %%
dmd = after_lcm.match_distributions(teacher, config, 1000)
once = points.energy_distance(
    real, after_lcm.generate(dmd, start_noise, 1, config, torch.Generator())
)
print("one step beats four of the teacher's DDIM:", once < ddim[4])

# %% [markdown]
# All five from the same noises. Two numbers for each: the energy distance, and the *strays*, points further than three deviations from every Gaussian.

# %%
WAYS = {
    "LCM": lambda n: draw_samples(lcm.target, n),
    "reflow": lambda n: after_lcm.euler(straight, start_noise, n),
    "MeanFlow": lambda n: after_lcm.jump(mean, start_noise, n),
    "TCD": lambda n: after_lcm.strategic(
        tcd, start_noise, n, config, torch.Generator().manual_seed(0)
    ),
    "DMD": lambda n: after_lcm.generate(dmd, start_noise, n, config, torch.Generator()),
}
crowd = {
    name: {n: way(n) for n in ((1,) if name == "DMD" else (1, 4))}
    for name, way in WAYS.items()
}

# %% tags=["hide-input"]
figure, axes = plt.subplots(2, 5, figsize=(9.8, 4.5))
for column, (name, drawn) in zip(axes.T, crowd.items(), strict=True):
    for axis, (n, x) in zip(column, drawn.items(), strict=False):
        scatter(axis, x[:1000], name if n == 1 else "")
axes[1, 4].axis("off")
axes[0, 0].set_ylabel("1 step")
axes[1, 0].set_ylabel("4 steps")
plots.show(
    figure,
    alt="Scatter plots of five methods in one step and in four. Strays in one step: "
    + ", ".join(
        f"{name} {100 * points.strays(x[1]):.0f} %" for name, x in crowd.items()
    )
    + "; in four: "
    + ", ".join(
        f"{name} {100 * points.strays(x[4]):.0f} %"
        for name, x in crowd.items()
        if 4 in x
    )
    + ".",
    caption="1,000 samples of each, seed 0, trained just now, with fewer steps than in the record. (DMD's four steps need a training of their own; the record has it.)",
)

# %% [markdown]
# One seed proves little. The record has five, each with a teacher of its own, and for each way the best of at least three learning rates (`python -m recipes.few_step_points`):

# %% tags=["hide-input"]
after = records.load("few_step_points")


def over_seeds(what: str, name: str) -> np.ndarray:
    """One value for each seed, at the way's chosen rate."""
    return records.select(after, what, name=name)


NAMES = {"ddim": "DDIM (teacher)", **{name: name for name in WAYS}}
for what, title, form in (
    ("distance", "energy distance × 1,000", "{:5.1f} ± {:4.1f}"),
    ("strays", "strays (%)", "{:5.1f} ± {:4.1f}"),
):
    print(f"{title:25}" + "".join(f"{f'{n} steps':>14}" for n in (1, 2, 4, 50)))
    for name, shown_as in NAMES.items():
        cells = []
        for n in (1, 2, 4, 50)[: 4 if name == "ddim" else 3]:
            scale = 1000 if what == "distance" else 1
            value = claims.mean(scale * over_seeds(f"{what}_{n}", name))
            cells.append(f"{form.format(value.value, value.half):>14}")
        print(f"{shown_as:25}" + "".join(cells))
    print()
print(f"two real samples: {1000 * over_seeds('floor', 'ddim').mean():.1f};", end=" ")
print(f"strays among real points: {over_seeds('strays_real', 'ddim').mean():.1f} %")

# %% [markdown]
# (± is half of an interval at 95 % over the seeds. Distances are smaller than those of the live runs above partly because there are twice as many points.)
#
# * **Reflow** has the lowest mean distance, in one step already, and more steps hardly change it: straight paths leave little to do. Its price is that the flow has to be followed for every pair first, and its pairs are the flow's samples, not data.
# * **MeanFlow** needs neither teacher nor pairs, and in one step it cannot be told from LCM. More steps make it *worse* in distance while strays get fewer, as they would if its clusters shrank; we did not measure that. (Its loss has a weight, not shown above, that counts large errors less.)
# * **TCD** is made for several steps. Its one network answers for every $s$ with one prediction, a compromise in which a single step to the end is far off; in four steps it is near LCM.
# * **DMD** in one step has fewer strays than LCM, by little: its generator is one smooth map, too, and one point in eight still strays. In distance the claims find it behind fifty steps of its teacher. (The authors' student passes its teacher, with the discriminator that we left out.)
# * **LCM** has the rate that was best here, 16 times the one used above. Whether four steps of it reach fifty of the teacher's is undecided.
#
# Eight Gaussians are no pictures: what wins here may lose there. What carries over is what each loss asks for.

# %% tags=["hide-input", "nbval-ignore-output"]
minutes = after["minutes"]
one = {name: over_seeds("distance_1", name) for name in WAYS}
four = over_seeds("distance_4", "ddim")
effect = claims.contrast(np.log(four), np.log(one["MeanFlow"]))
ledger.add("meanflow", effect=effect, minutes=minutes)
fifty = over_seeds("distance_50", "ddim")
effect = claims.contrast(np.log(over_seeds("distance_4", "LCM")), np.log(fifty))
ledger.add("teacher", effect=effect)
effect = claims.contrast(np.log(over_seeds("distance_1", "DMD")), np.log(fifty))
ledger.add("dmd", effect=effect)
effect = claims.contrast(over_seeds("strays_1", "LCM"), over_seeds("strays_1", "DMD"))
ledger.add("dmd_strays", effect=effect)

# %% [markdown]
# The family, as far as this chapter goes:

# %% tags=["hide-input"]
ROWS = ("paths: where do they end?", "flows: straight, or averaged", "distributions")
TREE = {  # first posted: year and month
    "Consistency Models": (2023 + 2 / 12, 0, None),
    "LCM": (2023 + 9 / 12, 0, "Consistency Models"),
    "TCD": (2024 + 1 / 12, 0, "LCM"),
    "sCM": (2024 + 9 / 12, 0, "Consistency Models"),
    "SANA-Sprint": (2025 + 2 / 12, 0, "sCM"),
    "Rectified Flow": (2022 + 8 / 12, 1, None),
    "MeanFlow": (2025 + 4 / 12, 1, "Rectified Flow"),
    "improved MeanFlow": (2025 + 11 / 12, 1, "MeanFlow"),
    "ADD": (2023 + 10 / 12, 2, None),
    "DMD": (2023 + 10 / 12, 2.6, None),
    "DMD2": (2024 + 4 / 12, 2.6, "DMD"),
}
figure, axis = plt.subplots(figsize=(8.6, 3.2))
for name, (when, row, parent) in TREE.items():
    height = -row - (0.3 if name in ("LCM", "TCD") else 0)
    TREE[name] = when, row, parent, height
    axis.annotate(name, (when, height), ha="left", va="center", fontsize=9.5, zorder=3)
for when, row, parent, height in TREE.values():
    axis.plot(when - 0.05, height, "o", ms=5, color=COLORS[int(row)], zorder=3)
    if parent:
        start_at = TREE[parent]
        axis.plot(
            (start_at[0] - 0.05, when - 0.05),
            (start_at[3], height),
            color=COLORS[int(row)],
            lw=1,
            alpha=0.5,
        )
axis.set(xlim=(2022.4, 2026.8), ylim=(-3.1, 0.5), xticks=range(2023, 2027), yticks=[])
for i, text in enumerate(ROWS):
    axis.text(2022.45, -i + 0.28, text, fontsize=9, color=COLORS[i], fontweight="bold")
axis.spines["left"].set_visible(False)
axis.grid(False, axis="y")
plots.show(
    figure,
    alt="A timeline in three rows. Paths: Consistency Models, 2023, lead to LCM and TCD and to sCM and SANA-Sprint, 2025. Flows: Rectified Flow, 2022, leads to MeanFlow and improved "
    "MeanFlow, 2025. Distributions: ADD and DMD, 2023, and DMD2, 2024.",
    caption="By the month in which each was first posted. Today's systems mix them: SANA-Sprint trains with sCM's loss and a discriminator.",
)

# %% [markdown]
# The names that the section did not use: *sCM* {cite:p}`lu2024scm` is consistency in continuous time, as MeanFlow is, made stable; *SANA-Sprint* {cite:p}`chen2025sana` distils a text-to-image model with it; *ADD* {cite:p}`sauer2023add`, known as SDXL-Turbo, lets a discriminator judge single steps; *improved MeanFlow*
# {cite:p}`geng2025imf` makes the guidance scale an input, as LCM does, so that guidance needs no teacher either.
#
# ### Predict first, then unfold
#
# **1.** You replace the teacher's step by the true one: instead of $\hat x_s$ you use $\alpha_s x_0 + \sigma_s \varepsilon$ with the same $x_0$ and $\varepsilon$ that made $x_t$. No teacher
# is needed. Does it still learn?
#
# <details><summary>Answer</summary>
# Yes. This is <em>consistency training</em>: on average over all pairs that lead to the same x<sub>t</sub>, that step is the teacher's. A single pair
# is noisier than the mean.
# </details>
#
# **2.** A student is distilled with k = 20. Somebody asks for samples in 100 steps. What happens?
#
# <details><summary>Answer</summary>
# There are only 50 times at which it was trained. Our sampler and diffusers' both refuse.
# </details>
#
# **3.** Why does LCM gain less and less from more steps, while DDIM goes on?
#
# <details><summary>Answer</summary>
# DDIM's error is that of its steps, and goes away as they shrink. The student's is an error of what it learnt: every jump makes it anew, and
# the last jump, from a small t, leaves what it cannot do at small t.
# </details>

# %% [markdown]
# ## From points to pictures
#
# Now the same with pictures, and with words. A picture of 64×64 pixels is 12,288 numbers instead of two, and a *latent diffusion model* {cite:p}`rombach2022ldm`
# splits the work in three: a text model reads the prompt, an autoencoder packs pictures into small *latents* and back, and a U-Net does the diffusion there.
# Stable Diffusion is such a model, of a billion parameters. The course has trained one of three million, `mini-sd`, on rendered scenes with one object or two. It is
# stored in diffusers' format.

# %% tags=["hide-input"]
columns = [
    Column(
        [Box("prompt", "input"), Box("text model", "attention")], "once", tail=False
    ),
    Column(
        [
            Box("noise", "input", carries="4×16×16"),
            Box("U-Net", "conv", carries="its noise"),
            Box("sampler's step", "element"),
        ],
        "each step, again",
        tail=False,
    ),
    Column(
        [
            None,
            None,
            Box("decoder", "conv", carries="3×64×64"),
            Box("picture", "input"),
        ],
        "once",
        tail=False,
    ),
]
links = [
    Link((0, 1), (1, 1), "attends to words", shift=None),
    Link((1, 2), (2, 2), "latents", shift=None),
]
plots.show(
    diagrams.draw(columns, links, room=1.2),
    alt="The prompt goes through the text model once. The U-Net looks at its words and at the noisy latents and predicts their noise; the sampler takes a step; both are "
    "repeated. At the end the decoder turns latents into a picture, once.",
    caption="A latent diffusion model. Only the middle column is repeated, so its calls are what we count.",
)

# %% [markdown]
# These are the lines that load it, and the big one:

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
# The functions of the first half never asked what `x` is. With `mini-sd`'s U-Net as the network, the sampler that drew points draws pictures, with the guidance of the first half. (Two settings make
# diffusers' pipeline take our steps: `trailing` counts its times down from 999, where its own default starts a step below it, and `set_alpha_to_one` ends in a picture without any noise, as our `CLEAN` does.)

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
few = [PROMPTS[i] for i in (0, 4)]
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
    alt="Two prompts, each without and with guidance, drawn by DDIM in 1, 2, 4, 8, 25 and 50 steps. One step gives coloured blobs on the right ground, two "
    "steps soft objects; from four steps on they are sharp and change little, and with guidance their colours are stronger.",
    caption="DDIM from the same noises. Rows: two prompts, each without guidance and with it.",
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
    alt="Two prompts drawn in 50 steps. Without clipping two sharp scenes, with clipping pale patterns of stripes in which hardly anything can be recognised.",
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
ledger.add(
    "lora_share",
    count=trained / 1e6,
    share=trained / full,
    within=abs(trained / 67.5e6 - 1),
)

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


def right(images):
    """Of each picture of `asked`, 1 if it is all right, else 0."""
    shown = reading.read(judge, images.float() * 2 - 1)
    found = reading.follows(shown, reading.asked(asked))
    return found.all_right.double().numpy()


def few_step_quality(model):
    """Which pictures are all right, in 1, 2 and 4 steps."""
    fast = StableDiffusionPipeline(
        **pipe.components | {"unet": model.target.unet}, requires_safety_checker=False
    )
    fast.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    fast.set_progress_bar_config(disable=True)
    return [right(draw(fast, asked, steps=n, guidance=1.0)) for n in (1, 2, 4)]


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
    print(f"{row.step:5}", *(f"{100 * each.mean():5.0f} %" for each in row.value))
baseline = [right(draw(pipe, asked, steps=n)) for n in (1, 2, 4)]
print("guid.", *(f"{100 * each.mean():5.0f} %" for each in baseline))

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 3))
for i, n in enumerate((1, 2, 4)):
    axis.plot(
        [row.step for row in curve],
        [100 * row.value[i].mean() for row in curve],
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
        f"in {steps_name(n)} from {100 * curve[0].value[i].mean():.0f} to {100 * curve[-1].value[i].mean():.0f} percent"
        for i, n in enumerate((1, 2, 4))
    )
    + ".",
    caption="Few-step quality while a LoRA is distilled; 64 prompts with two objects.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
told = ", ".join(
    f"{100 * old.mean():.0f} and {100 * new.mean():.0f} % in {steps_name(n)}"
    for n, old, new in zip((1, 2, 4), baseline, curve[-1].value, strict=True)
)
taken = sum(row.seconds for row in curve) / 60
effect = claims.contrast(100 * curve[-1].value[0], 100 * baseline[0])
ledger.add("a_minute", told=told, minutes=taken, effect=effect)

# %% [markdown]
# Row 0 is the teacher without guidance, in LCM's sampler. So what is gained is guidance and fewer steps together. The fair rival is the last row, the teacher *with* guidance, in as many steps (and twice as many calls). In one step the minute of training beats it;
# in four there is nothing to gain, as guided DDIM is as good. (64 pictures: a share of one half has a standard error of six points.)
#
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
# And the full LCM, as in the paper: all weights trained, and $\omega$ drawn anew for each picture and told to the network. (Not all is the paper's: it draws $\omega$ from 2 to 14 and ours from 0 to 5, it has squared errors, a target with a momentum of 0.999943, and 100,000 steps; ours are 1,000.) diffusers asks
# for its own pipeline, which feeds the scale in as `timestep_cond`:

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
    alt="Two prompts in four steps of LCM, told the guidance scales 1, 3 and 6. From left to right colours and shadows become a little stronger; the shapes hardly change.",
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
# It listens, if not as well as one would wish: as with DDIM, a higher scale gives more contrast, but it moves these eight pictures by less than half as much. And it needed help to hear. The layer that reads the scale is new, beside weights that are trained already. Ours begins at zero, so that the student begins as
# the teacher (the authors' scripts leave it at its random start), and it learns at 30 times the rate of the others. Three trainings that differ in this alone (`python -m recipes.guidance_rate`), judged on 64 prompts:

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
# *Does the picture show what was asked for?* The reading network answers. *Do the pictures, as a set, look like real ones?* The *Fréchet distance* {cite:p}`heusel2017fid` answers: describe each set's features by their mean and covariance, and measure how far the two normal distributions are apart. The features are
# those of a network trained on ImageNet; two sets of real renderings give the floor. *DPM++* {cite:p}`lu2022dpm` is a solver of higher order: it takes the last step's prediction into account, too.
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
    ("dpm++", 1.0): ("amber", "--"),
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
    "meet them near the top at eight; without guidance DDIM and DPM++ stay below. Right, Fréchet distance: the distilled models are lowest at one and two evaluations; at four "
    "DPM++ without guidance is level with them, and beyond it is lowest; two real samples lie far below all.",
    caption="256 prompts, three noises each; error bars are intervals at 95 % over the noises, for these prompts. Dotted: real renderings.",
)

# %% [markdown]
# Read the two plots slowly; they do not say the same.
#
# **Left.** Four guided steps of DDIM show nearly all that was asked for, as fifty do: for scenes as simple as these no distillation is needed to get down to four. The gap is at one and two
# steps. A single evaluation of LCM-LoRA does better than one guided step of DDIM by far, and about as well as two. Without guidance DDIM never gets as far, however many steps it takes: steps do not
# replace guidance. The LCM says the same in another way: told a scale of 1 it is behind itself told 3 in every column, at the same number of calls.
#
# **Right.** How real the pictures look still changes where the left plot is flat. At one and two evaluations the distilled models are ahead of everything. At four, DPM++ *without guidance* is level with them, and it was not trained at all; beyond, it goes further. So LCM's gain at four evaluations is not realism but the **prompt**: DPM++ without guidance
# leaves one picture in eight wrong there, LCM one in forty. All of them stay far from the floor, and what the autoencoder leaves of real pictures is near it. (One doubt: the autoencoder was trained with the same network's features, so on them it looks better than on others.)
#
# With Stable Diffusion, at 512 pixels, the gap is wider and lasts longer: by notes on {cite:t}`luo2023lcm` (we have not seen its table ourselves), DDIM has an FID of 22.4 in four steps and 13.8 in eight, LCM 11.1 in four, and *worse* in eight (11.8). The more there is to draw, the more steps there are to save.

# %% [markdown]
# ### And in seconds
#
# On your machine, now. 16 pictures each; the two take turns, and the median counts. Both include reading the prompt and decoding the latents, which no sampler can save.

# %% tags=["nbval-ignore-output"]
sixteen = [*PROMPTS, *asked[:8]]
for name in ("beside", "fused"):
    if name == "fused":
        lora.fuse_lora()
    speed = measure.compare(
        lambda: draw(lora, sixteen, 4, guidance=1.0),
        lambda: draw(pipe, sixteen, 50),
        warmup=1,
        repeats=3,
    )
    print(f"LCM-LoRA in 4 steps, {name}, against guided DDIM in 50: {speed}")
lora.unfuse_lora()

# %% [markdown]
# The record holds the times of all methods, taken in turns on one thread. Two savings multiply: fewer steps, and one evaluation a step instead of two. But *fifty* steps are a generous rival: on these scenes guided DDIM needs four. So the last row, speed at equal quality:

# %%
turns = {case: np.array(v) for case, v in record["settings"]["timing"]["turns"].items()}
guided, single, quick = (
    turns[c] for c in (f"ddim {GUIDANCE:g} 50", "ddim 1 50", "lcm_lora 1 4")
)
for what, ratio in (
    ("no guidance", guided / single),
    ("4 steps, not 50", single / quick),
    ("both", guided / quick),
    ("guided DDIM in 4", turns[f"ddim {GUIDANCE:g} 4"] / quick),
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
# colours and shapes go wrong. With both adapters sketches come out in four steps, of a style that was never distilled. Count the objects, though: of two that were asked for, one is sometimes missing or in the wrong place. How often is **not measured here**.
#
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
# **3.** Fifty steps of PNDM with guidance 7.5 against four of LCM-LoRA, which has such a guidance built in (and its pipeline's turned off). Somebody reports a speed-up of 12.5. How many evaluations is it really?
#
# <details><summary>Answer</summary>
# PNDM calls the U-Net 51 times for 50 steps, each time for two halves: 102. LCM-LoRA with its guidance built in: 4. That is 25.5 times fewer, of which a factor of 2 is guidance.
# </details>
#
# **4.** Why is a speed-up in seconds smaller than that in evaluations?
#
# <details><summary>Answer</summary>
# The text model and the decoder run once per picture, whatever the sampler. The fewer steps, the larger their share. And an adapter that is not fused is computed beside its weights: <code>pipe.fuse_lora()</code> adds the product B A to W once, and a step costs what
# it did without.
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
