# %% [markdown]
# # Start here
#
# **What does a network see when it looks at a cat, and how would you check that it is true?**
#
# This course is about the networks that learned to look between 2015 and 2023, and what came after. It does not ask you to believe
# anything about them. Each chapter builds one, runs it in front of you, and sets what came out beside what its
# paper says.
#
# This first chapter takes a minute to run. After it you will
#
# * know what the course promises, and how to work with it;
# * know that your machine is ready;
# * have met the pictures that every chapter trains on;
# * have seen real ImageNet weights name a cat and a cup of coffee, with the network cable pulled.

# %%
from modarch_utils import claims, plots, profile, zoo
from modarch_utils.data import photos, scenes

plots.use_style()
ledger = claims.Ledger("00_start_here")

# %% [markdown]
# ## Sixty-four small worlds
#
# Training needs thousands of labelled pictures, and a download is the first thing to fail in a classroom. So the
# course draws its own. They are called `scenes`: one object, in one of eight shapes and one of eight colours, on one of
# four grounds, under a sun and a sky. Here are 512 of them, framed close (more on that below).

# %%
sheet = scenes.load(512, size=64, seed=0, framing="close")
shapes, colours = len(scenes.SHAPES), len(scenes.COLOURS)
print(len(sheet), "scenes,", shapes, "shapes,", colours, "colours")

# %% [markdown]
# Which of them should we look at? The first one of each pair of shape and colour.

# %%
first = {}
for i, pair in enumerate(zip(sheet.shape.tolist(), sheet.colour.tolist(), strict=True)):
    first.setdefault(pair, i)
print("pairs found:", len(first), "of", shapes * colours)

# %% [markdown]
# Lay them out as a contact sheet: a row for each shape, a column for each colour.

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np

TILE, GAP = 64, 4
side = 8 * TILE + 7 * GAP
paper = np.full((side, side, 3), 255, np.uint8)
for (row, column), i in first.items():
    top, left = row * (TILE + GAP), column * (TILE + GAP)
    paper[top : top + TILE, left : left + TILE] = plots.to_image(sheet.images[i])

centres = [k * (TILE + GAP) + TILE / 2 for k in range(8)]
figure = plt.figure(figsize=(5.4, 4.95), layout="none")
axis = figure.add_axes((0.135, 0.01, 0.855, 0.933))  # room for the names
axis.imshow(paper)
axis.set_xticks(centres, scenes.COLOURS)
axis.set_yticks(centres, scenes.SHAPES)
axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
axis.grid(False)
axis.spines[:].set_visible(False)
plots.show(
    figure,
    alt="A grid of 64 small rendered pictures. Rows are the shapes sphere, cube, cylinder, cone, torus, "
    "pyramid, capsule and star; columns are the colours red, orange, yellow, green, cyan, blue, purple and "
    "white. Grounds, light and camera differ from picture to picture.",
    caption="The contact sheet of scenes: the first sample of each shape and colour, 64 × 64 pixels, "
    "framed close.",
)

# %% [markdown]
# Nothing else is held fixed. The sun moves, the camera moves, the ground changes, things turn around. A network
# that wants to know the *shape* has to look past all of that: this is what makes a rendered cube a real question. (The next cell notes what we
# found in the chapter's *ledger*, which is explained below.)

# %%
ledger.add("pairs", pairs=len(first), holds=len(first) == 64)

# %% [markdown]
# ## Everything about a picture is known
#
# A photograph comes with a name at best. A rendered picture comes with all of its truth: which pixels belong
# to the object (the *mask*), how far away each of them is (the *depth*), and a sentence that describes
# it (the *caption*). Later chapters use each of these to test what a network has understood.
#
# Scenes are framed in two ways. *Close* is how people photograph things; *wide* leaves the thing small in its
# surroundings.

# %%
samples = {
    framing: scenes.render(1, size=192, seed=0, framing=framing, start=11)
    for framing in ("wide", "close")
}
for framing, scene in samples.items():
    print(f"{framing}: {scene.captions[0]}")

# %% tags=["hide-input"]
figure, axes = plt.subplots(2, 3, figsize=(5.4, 3.9))
for row, (framing, scene) in zip(axes, samples.items(), strict=True):
    row[0].imshow(plots.to_image(scene.images[0]))
    row[1].imshow(scene.mask[0], cmap="gray", interpolation="nearest")
    depth = scene.depth[0].clone()
    depth[depth.isinf()] = float("nan")  # the sky has no depth: leave it blank
    distance = row[2].imshow(depth, cmap="viridis_r", norm="log")
    bar = figure.colorbar(distance, ax=row[2], fraction=0.046, ticks=[])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label("near  →  far", fontsize=9)
    row[0].set_ylabel(framing, fontsize=11, fontweight="bold")
    row[0].set_xlabel(f"“{scene.captions[0]}”", fontsize=9, style="italic", loc="left")
for axis, title in zip(axes[0], ("image", "mask", "depth"), strict=True):
    axis.set_title(title)
for axis in axes.flat:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
plots.show(
    figure,
    alt="Two rows of three pictures: a scene framed wide and one framed close. Beside each image stand its mask, "
    "white where the object is, and its depth, from near in yellow to far in dark purple; a strip of sky is blank.",
    caption="One scene framed wide (top) and close (bottom) with the labels it comes with. Depth is on a "
    "logarithmic scale; the sky has none.",
)

# %% [markdown]
# ### The same picture, every time
#
# If your pictures differed from mine by a pixel, our numbers could not be compared. So scene 300 is the
# same scene, byte for byte, whether it is drawn alone or together with 511 others. We can look.

# %%
alone = scenes.render(1, size=64, seed=0, framing="close", start=300).images[0]
differ = (alone != sheet.images[300]).sum().item()
print("scene 300, alone and in the batch, same bytes:", differ == 0)
ledger.add("same_bytes", differ=differ, size=alone.numel(), holds=differ == 0)

# %% [markdown]
# How fast does your machine draw? The next cell measures it. Expect some tens to some hundreds of pictures a second; a set
# that was drawn once is kept on disk and is there at once the next time.

# %% tags=["nbval-ignore-output"]
import time

began = time.perf_counter()
scenes.render(256, size=64, seed=1, framing="close")
seconds = time.perf_counter() - began
print(f"{256 / seconds:.0f} scenes a second at 64 × 64")

# %% [markdown]
# ## Is your machine ready?
#
# Two things have to be right: the version of Python, and the packages.

# %%
import importlib
import sys

PACKAGES = ["torch", "torchvision", "timm", "transformers", "diffusers", "peft"]
PACKAGES += ["accelerate", "sklearn", "skimage", "matplotlib"]
missing = []
for package in PACKAGES:
    try:
        importlib.import_module(package)
    except ImportError:
        missing.append(package)  # install the course again, as the README says
print("Python 3.11 or newer:", sys.version_info >= (3, 11))
print("packages that do not import:", missing or "none")

# %% [markdown]
# These are the versions it found. They may differ from the ones stored on this page, and that is all right.

# %% tags=["nbval-ignore-output"]
import platform
from importlib.metadata import version

for package in ("torch", "torchvision", "timm", "transformers", "diffusers"):
    print(f"{package:<14}{version(package)}")
print(f"{'Python':<14}{platform.python_version()}")
print(f"{'device':<14}{profile.current().device}")

# %% [markdown]
# ### Laptop or GPU: the profile
#
# No notebook asks how big your machine is. It asks the *profile*, and there are two.
#
# | profile | for whom | pictures | weights | network |
# |---|---|---|---|---|
# | `laptop` (you get it without asking) | two CPU cores and a few minutes | `scenes`, photographs that come with packages | small ones, and ImageNet weights from a pip package | not needed |
# | `gpu` | one GPU and some patience | CIFAR-10 and other real data sets | the full-size ones of the papers | needed the first time |
#
# The cells are the same in both; only the numbers in the profile change. `MODARCH_PROFILE=gpu make lab`
# switches. A laptop that happens to have a GPU uses it in either profile.

# %% tags=["profile-dependent"]
settings = profile.current()
print("profile:", settings.name)
print("data set to classify:", settings.classification)
print("training images of a live run:", settings.train_images)
print("needs the network:", settings.name != "laptop")

# %% [markdown]
# ## A cat, a coffee, and no network
#
# Now to the question at the top. Meet Chelsea, a cat whose photograph is part of scikit-image, and a cup of
# coffee from the same place. The network is EfficientNet-Lite0: it learned on ImageNet, over a million labelled photographs, to sort
# pictures into 1,000 kinds of things, and its weights came to your disk with an ordinary pip package.
#
# Is it really all there? We pull the cable: inside the `with` block, every attempt to open a connection fails.

# %%
from unittest import mock

with mock.patch("socket.socket.connect", side_effect=OSError("the cable is pulled")):
    network = zoo.load_timm("efficientnet_lite0")
weights = sum(p.numel() for p in network.parameters())
print(f"weights loaded without a network: {weights:,}")

# %% [markdown]
# A network expects pictures as it saw them in training: 224 × 224 pixels, colours scaled the same way (here from -1 to 1, so
# that 0 is a mid grey). timm, the
# library behind it, knows how. It also knows the names of the 1,000 classes.

# %%
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config

prepare = create_transform(**resolve_model_data_config(network))
imagenet = ImageNetInfo()
names = [imagenet.index_to_description(k).split(",")[0] for k in range(1000)]
pixels = prepare(photos.load("chelsea"))
print("what the network gets:", tuple(pixels.shape))

# %% [markdown]
# Its answer is one number for each class. *Softmax* turns the numbers into probabilities that add up to one.

# %%
import torch


def guess(photo, best=5):
    """Return the names of the `best` most probable classes, and their probabilities."""
    with torch.inference_mode():
        probabilities = network(prepare(photo)[None]).softmax(dim=-1)[0]
    values, classes = probabilities.topk(best)
    return [names[k] for k in classes.tolist()], values.tolist()


# %% [markdown]
# So, what does it see?

# %%
guesses = {name: guess(photos.load(name)) for name in ("chelsea", "coffee")}

# %% tags=["hide-input"]
figure, axes = plt.subplots(2, 2, figsize=(6.4, 4.2), width_ratios=(1, 1.7))
for (left, right), (name, (labels, probabilities)) in zip(
    axes, guesses.items(), strict=True
):
    left.imshow(
        plots.to_image(prepare(photos.load(name)) * 0.5 + 0.5)
    )  # back to [0, 1]
    left.axis("off")
    right.barh(
        labels,
        probabilities,
        color=[plots.PALETTE["orange"]] + 4 * [plots.PALETTE["sky"]],
    )
    for place, p in enumerate(probabilities):
        right.text(p + 0.015, place, f"{p:.2f}", va="center", fontsize=9)
    right.invert_yaxis()
    right.set_xlim(0, 1.1)
    right.set_xticks([0, 0.5, 1])
    right.grid(False, axis="y")
    right.tick_params(axis="y", length=0)
    right.set_title(name)
axes[1, 1].set_xlabel("probability")
summary = "; ".join(
    f"{name}: "
    + ", ".join(f"{label} {p:.2f}" for label, p in zip(*answer, strict=True))
    for name, answer in guesses.items()
)
plots.show(
    figure,
    alt="Two photographs, a striped brown cat's face and a cup of coffee, each beside bars of the five most "
    f"probable classes. {summary}.",
    caption="What EfficientNet-Lite0 makes of two photographs, shown as the network gets them: the five most "
    "probable of 1,000 classes.",
)

# %% [markdown]
# The coffee is an easy one. The cat is not: ImageNet has five kinds of house cat, and the network wavers between
# three of them, while it has hardly any doubt that this is *a* cat. That tells us what we may claim. The
# winner by a nose could change with the next version of a library; "a cat" will not.

# %%
CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}
cat = sum(p for label, p in zip(*guesses["chelsea"], strict=True) if label in CATS)
print("chelsea, a cat:", guesses["chelsea"][0][0] in CATS)
print("coffee:", guesses["coffee"][0][0])

# %% [markdown]
# But *where* does it see that? Cover a square of the photograph in grey and ask again. If the answer suffers, the network
# needed what was there. Slide the square over the whole picture, and you have an *occlusion map*
# {cite:p}`zeiler2014visualizing`: the first question of this course, put to the network 81 times.

# %%
SQUARE = 56  # pixels of 224
corners = range(0, 224 - SQUARE + 1, 21)


def occlusion(photo, labels):
    """How much probability of these names is lost, by the corner of the grey square."""
    pixels, wanted = prepare(photo), [k for k in range(1000) if names[k] in labels]
    hidden = pixels.repeat(len(corners), len(corners), 1, 1, 1)
    for i, top in enumerate(corners):
        for j, left in enumerate(corners):
            hidden[i, j, :, top : top + SQUARE, left : left + SQUARE] = 0  # mid grey
    with torch.inference_mode():
        chunks = [pixels[None], *hidden.flatten(0, 1).split(27)]
        p = torch.cat([network(x).softmax(dim=-1)[:, wanted].sum(1) for x in chunks])
    return (p[0] - p[1:]).reshape(len(corners), len(corners))


lost = {
    "chelsea": occlusion(photos.load("chelsea"), CATS),
    "coffee": occlusion(photos.load("coffee"), {"espresso"}),
}

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.6), width_ratios=(1, 1, 1))
most = max(drop.max().item() for drop in lost.values())
first, last = SQUARE / 2 - 10.5, 224 - SQUARE / 2 + 10.5  # by the square's centre
for axis, (name, drop) in zip(axes, lost.items(), strict=False):
    picture = plots.to_image(prepare(photos.load(name)) * 0.5 + 0.5)
    axis.imshow(picture.mean(-1), cmap="gray")
    shown = axis.imshow(
        drop, cmap="magma", alpha=0.6, vmin=0, vmax=most, extent=(first, last, last, first)
    )  # fmt: skip
    axis.set(xlim=(0, 224), ylim=(224, 0), title=name)
bar = figure.colorbar(shown, ax=axes[:2], fraction=0.046, label="probability lost")
bar.solids.set(alpha=1)
where = lost["coffee"].argmax().item()
top, left = (corners[k] for k in divmod(where, len(corners)))
covered = picture.copy()
covered[top : top + SQUARE, left : left + SQUARE] = 0.5
axes[2].imshow(covered)
axes[2].set_title("the worst square")
for axis in axes:
    axis.axis("off")
plots.show(
    figure,
    alt="Two grey photographs under a map of what a grey square costs. On the cat the map is dark everywhere. On the "
    f"coffee it glows over the coffee in the cup, where up to {lost['coffee'].max():.2f} of the probability is "
    "lost. Right: the cup with the worst square over the coffee.",
    caption="How much of the answer is lost when a grey square has its centre there: of all house cats together for "
    "chelsea, of espresso for the coffee. One colour scale for both.",
)

# %%
flat, peaked = (drop.max().item() for drop in lost.values())
print("the cat survives every square, losing less than 0.1:", flat < 0.1)
print("the worst square on the coffee costs more than 0.15:", peaked > 0.15)

# %% [markdown]
# The espresso is *in the cup*: cover the coffee and up to a quarter of the probability is gone; cover the spoon and hardly anything
# is. For the cat no single square is needed, not an eye and not the whiskers. (Her
# five names are added up, which makes her map flatter still.) So you have checked where the network looks for the coffee. Where it looks for the cat, this test does not
# tell: only that it does not hang on one place.
#
# A claim becomes a line in the chapter's *ledger*: a sentence, what was measured, and a verdict. The sentence
# stands in `modarch_utils/claims/00_start_here.toml`, where a chapter on a paper also has the paper's figure and
# source, and the notebook hands over what it measured.
# A sentence of ours that does not hold stops the notebook right here.

# %% tags=["nbval-ignore-output"]
found, sure = guesses["coffee"][0][0], guesses["coffee"][1][0]
ledger.add("coffee", found=found, sure=sure, holds=found == "espresso" and sure > 0.8)
is_cat = guesses["chelsea"][0][0] in CATS
ledger.add("chelsea", sure=cat, holds=is_cat and cat > 0.8)

# %% [markdown]
# With a GPU and `MODARCH_PROFILE=gpu` the same lines use a network six times as large, ConvNeXt-T, downloaded from the
# Hugging Face hub (a public collection of weights) and checked to be the exact file that we used. The profile says which; the cell does not ask. On a laptop it repeats the answer above.

# %% tags=["profile-dependent"]
network = zoo.load_timm(settings.classifier)
prepare = create_transform(**resolve_model_data_config(network))
print(f"{settings.classifier}: coffee is", guess(photos.load("coffee"))[0][0])

# %% [markdown]
# ## A rule for verdicts
#
# A cat on a photograph is easy to judge. Most claims are not like that. A paper says: *this change gains two points of
# accuracy* (from 80 to 82 %, say). We train five small networks with the change and five without, and the gains differ from seed to seed. **When may
# we say that it came out as in the paper?**
#
# The course has one rule for that, `modarch_utils/claims/rule.py`. It needs three things:
#
# * an **interval** at 95 %: the range of effects that our few runs leave possible. Two runs that share a *seed* (which fixes a run's random numbers), one with the
#   change and one without, give a difference. The mean of the differences is the interval's middle; it is the wider, the more they differ and the fewer they are (Student's *t*). If the whole experiment were done a
#   hundred times, about 95 of the hundred intervals would hold the true effect;
# * a **margin**: the smallest effect that would matter to us, written down in the claim's file;
# * the **paper's value**, where it prints one in the same unit.
#
# Seven outcomes for a paper's two points, with a margin of half a point. Which verdict would you give to each: reproduced,
# partly, no difference, undecided or opposite?

# %%
claimed, margin = 2.0, 0.5
outcomes = [
    (2.1, 0.8),
    (3.6, 0.6),
    (0.9, 0.4),
    (0.1, 0.3),
    (0.8, 1.2),
    (-0.3, 0.6),
    (-1.6, 0.7),
]
intervals = [  # value, low, high; the last two numbers play no part here
    claims.Interval(m, m - half, m + half, 1.3 * half, 5) for m, half in outcomes
]
words = [claims.rule.verdict(interval, margin, claimed) for interval in intervals]
for interval, word in zip(intervals, words, strict=True):
    print(f"{interval.low:+.1f} to {interval.high:+.1f}: {word}")

# %% tags=["hide-input"]
COLOURS = {"reproduced": "green", "partly": "blue", "no difference": "grey"}
COLOURS |= {"undecided": "amber", "opposite": "orange"}
figure, axis = plt.subplots(figsize=(7, 3.1))
axis.axvspan(-margin, margin, color=plots.PALETTE["pale"], lw=0)
axis.axvline(0, color=plots.PALETTE["ink"], lw=1)
axis.axvline(claimed, color=plots.PALETTE["ink"], lw=1.2, ls="--")
for row, (interval, word) in enumerate(zip(intervals, words, strict=True)):
    axis.errorbar(
        interval.value,
        row,
        xerr=interval.half,
        fmt="o",
        capsize=4,
        lw=2,
        color=plots.PALETTE[COLOURS[word]],
    )
    axis.text(4.6, row, word, va="center", fontsize=10)
axis.text(claimed, -0.75, "the paper", ha="center", va="bottom", fontsize=9)
axis.text(0, -0.75, "margin", ha="center", va="bottom", fontsize=9)
axis.set(xlim=(-2.6, 6.4), ylim=(6.6, -0.8), yticks=[], xlabel="measured gain (points)")
axis.set_xticks(range(-2, 5))
axis.grid(False, axis="y")
plots.show(
    figure,
    alt="Seven intervals beside a band of half a point around zero and a dashed line at the paper's two points. "
    + "; ".join(f"{i.low:+.1f} to {i.high:+.1f}: {w}" for i, w in zip(intervals, words, strict=True)) + ".",
    caption="Seven intervals for a gain that a paper puts at two points, and the verdict of each. Grey band: gains too "
    "small to matter.",
)  # fmt: skip

# %% [markdown]
# First look at the band. All of an interval inside: **no difference**, which is a finding, and one that takes a narrow interval.
# Otherwise, all of it above zero: **reproduced**, and the second row shows that more than the paper's gain is no failure. If even its upper end falls short of the paper's
# value by more than the margin: **partly**. All of it below zero: the
# **opposite**. (Where a paper claims a loss, swap the sides.)
#
# The two in amber hold zero, and effects that would matter. They are **undecided**, and that is not the same as "it does not work".
# The upper one leaves open anything from nothing to the paper's two
# points; the lower one rules these out, but not a loss that matters. Mostly *we*
# have not looked closely enough then, and the ledger's page on the site adds about how many runs would show the paper's effect, if it is
# there; and where the paper's own effect lies within its noise, there is nothing to reproduce. Two more words are for claims without an
# interval: **not tested here**, where this machine or this data cannot show it, and **ours**, for what no paper says and we measured.
# Exact counts need no interval: they agree, or do not, or, in a table, in part.
#
# ```{admonition} What 95 % does not promise
# :class: note
# If no change in the whole course did anything, one interval in twenty would still leave zero out. The ledger page says how many such
# false alarms to expect. And an interval knows only what varied: seeds redraw the first weights and the order of the
# pictures, and where they do not redraw the pictures, it says nothing about other pictures.
# ```

# %% [markdown]
# ## What the course promises
#
# You have now seen the course's way of working in small. In full it makes five promises:
#
# 1. **Measured here.** A claim is measured, in the notebook that makes it or by a longer experiment. Such an experiment is a
#    script that you can run, a *recipe*; what it measured is kept in a file, its *record*, which the notebook opens. And what does not come out as in the
#    paper is reported as such.
# 2. **A laptop is enough.** No GPU and no network, and still real training and real weights.
# 3. **Idea, equality, library.** First the idea in its smallest form; then a check, in numbers, that it equals the library's
#    version, where a library has one; then the library, as people use it at work.
# 4. **Exercises answer back.** They tell you which mistake you made, not only that you made one.
# 5. **One source for everything.** Notebooks, tables and solutions are made from one text, and a test fails when one
#    falls behind.
#
# ## How to use it
#
# | you are | you type | you get |
# |---|---|---|
# | a student | `make lab` | JupyterLab, opened on this page |
# | | `make course` | every chapter run on your machine, and the site built from it |
# | an instructor | `make book` | the site from the stored outputs, with all claims on its ledger page |
# | | `make notebooks` | chapters whose text you changed, run again |
# | a CI machine (it tests every change) | `make test` | every test, and every notebook run again with its printed output compared |
#
# `make help` lists the rest. **Students:** read a cell, guess what it will print, then run it with Shift-Enter.
# Change things; `git checkout notebooks` brings back what you broke. It also overwrites your answers in
# `notebooks/exercises`, so work in a copy (`cp -r notebooks mine`).
# **Instructors:** edit the text in `notebooks/source`, never the notebook.
# **CI:** a printed line has to come out the same on every machine. That is why cells print names, verdicts and
# numbers of stored records, and what is measured live stands in figures.

# %% [markdown]
# ## The map
#
# Nine chapters and five exercises make the course. Each exercise hangs below the chapter that it needs.

# %%
CHAPTERS = {
    "00": "Start here",
    "01": "Timeline",
    "02": "ConvNeXt",
    "03": "Efficient-\nNetV2",
    "04": "DINOv2",
    "05": "Latent\nconsistency",
    "06": "Comparison",
    "07": "Pretrained\nmodels",
    "08": "Choosing\na model",
}
EXERCISES = {"02": "ex1", "03": "ex2", "04": "ex3", "05": "ex4", "07": "ex5"}

# %% tags=["hide-input"]
blue, grey = plots.PALETTE["blue"], plots.PALETTE["grey"]
figure, axis = plt.subplots(figsize=(8.6, 2.5))
axis.plot(
    [0, 8], [0, 0], color=plots.PALETTE["pale"], lw=5, zorder=1, solid_capstyle="round"
)
for x, (number, title) in enumerate(CHAPTERS.items()):
    axis.scatter(x, 0, s=640, color=blue, zorder=3)
    axis.text(
        x,
        -0.02,
        number,
        ha="center",
        va="center",
        color="white",
        weight="bold",
        zorder=4,
    )
    axis.text(
        x, 0.52, title, ha="center", va="bottom", fontsize=9, color=blue, weight="bold"
    )
    if number in EXERCISES:
        axis.plot([x, x], [0, -0.85], color=grey, lw=1, ls=":", zorder=1)
        axis.text(
            x, -0.95, EXERCISES[number], ha="center", va="center", fontsize=9, color=blue, zorder=4,
            bbox={"boxstyle": "round,pad=0.35", "fc": "white", "ec": blue},
        )  # fmt: skip
axis.set(xlim=(-0.55, 8.55), ylim=(-1.35, 1.2))
axis.axis("off")
plots.show(
    figure,
    alt="A line with nine stations, chapters 00 to 08: start here, timeline, ConvNeXt, EfficientNetV2, DINOv2, "
    "latent consistency, comparison, pretrained models, choosing a model. Exercises 1 to 4 hang under chapters 02 "
    "to 05, exercise 5 under chapter 07.",
    caption="The chapters in reading order, with the exercise that belongs to each.",
)

# %% [markdown]
# | chapter | its question |
# |---|---|
# | 00 Start here | Can you trust what you are shown? |
# | [01 Timeline](01_timeline.ipynb) | Who had which idea, and when? |
# | [02 ConvNeXt](02_convnext.ipynb) | What is left of the transformer's lead if a ConvNet borrows its habits? |
# | [03 EfficientNetV2](03_efficientnetv2.ipynb) | Can a network train faster and end up better? |
# | [04 DINOv2](04_dinov2.ipynb) | What can be learned from pictures without a single label? |
# | [05 Latent consistency](05_latent_consistency.ipynb) | Why does drawing a picture take fifty steps, and can it take four? |
# | [06 Comparison](06_comparison.ipynb) | Which numbers of a table can be true? |
# | [07 Pretrained models](07_pretrained_models.ipynb) | How far do a few labels go with weights that others trained? |
# | [08 Choosing a model](08_choosing_a_model.ipynb) | Which one for *your* problem? |
#
# The exercises: [ex1](exercises/ex1_convnext_block.ipynb) writes the ConvNeXt block,
# [ex2](exercises/ex2_progressive_schedule.ipynb) a progressive schedule, [ex3](exercises/ex3_dinov2_features.ipynb)
# uses DINOv2's features, [ex4](exercises/ex4_lcm_speed.ipynb) measures the speed of latent consistency, and
# [ex5](exercises/ex5_model_comparison.ipynb) compares models.

# %% [markdown]
# ## What this chapter claims
#
# Every chapter ends with its ledger. The site gathers all of them on one page.

# %% tags=["nbval-ignore-output"]
ledger

# %%
ledger.verdicts()

# %% [markdown]
# ## Now you
#
# **1.** Flip Chelsea's photograph top to bottom. Will the network still call her a cat? Decide before you go on: yes,
# no, or "yes, but"? And a photograph of an astronaut, for whom ImageNet has no class: what does a network
# say when the right answer is not on its list?

# %%
from PIL import ImageOps

upside_down = guess(ImageOps.flip(photos.load("chelsea")))
astronaut = guess(photos.load("astronaut"))
# Add a line here to look: print(upside_down) or print(astronaut).

# %% [markdown]
# <details>
# <summary>Open after you have made up your mind</summary>
#
# Yes, but. She stays a cat, as sure as before, yet the kind changes: when this page was made, *Egyptian cat* (0.42)
# overtook *tiger cat* (0.32). What the network knows well survives a turn; what it guesses does not.
#
# The astronaut becomes a *football helmet*, at a probability of about 0.16. A classifier cannot say "none of
# these": softmax shares out the whole probability among the classes it knows. Here a low first place gives it away, but do not
# count on that: networks are often sure and wrong. Never read a class name without the number beside it, and never trust
# the number alone.
#
# </details>

# %%
print("upside down, a cat:", upside_down[0][0] in CATS)
print("sure about the astronaut:", astronaut[1][0] > 0.5)

# %% [markdown]
# ## Summary
#
# * The course draws its own pictures, the same on every machine, with everything about them known.
# * Real ImageNet weights work offline: a coffee is an espresso, and Chelsea is a cat.
# * What may be claimed is less than what was printed: "a cat" is safe, "a tiger cat" is not.
# * A profile decides how big an experiment is. The cells stay the same.
#
# ## What to read next
#
# * [Chapter 01, Timeline](01_timeline.ipynb): twelve ideas in eight years, nearly all of them running.
# * [Chapter 02, ConvNeXt](02_convnext.ipynb): an old network becomes a modern one, step by step, and you watch what each
#   step does.
# * Mingxing Tan and Quoc V. Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks* (2019,
#   arXiv:1905.11946): the family that Lite0 belongs to.
# * Ross Wightman, *PyTorch Image Models*: timm, the library whose networks we measure ours against.
