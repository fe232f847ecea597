# %% [markdown]
# # Choosing a model: who says so, and since when?
#
# You have a task, and there are a thousand models. So you look for a chart that asks three questions and names one. Such charts circulate, and they speak in
# adjectives: *best features*, *best quality*, *fast*. One leaf even has a number: "low latency (< 10 ms): ConvNeXt-T, EfficientNetV2-S". On
# which machine? With pictures of which size? Measured by whom, and when?
#
# The question of this chapter: **can a choice rest on numbers alone**, each with its source and its date, and a blank where there is none?
#
# **After this chapter you can**
#
# * walk a decision tree whose leaves hold evidence, and say what it does not know;
# * test a latency on your own machine: warm, by medians, with candidates taking turns;
# * tell when multiply-adds choose well, and when they choose wrongly;
# * choose for a classifier with a time limit, for a task with few labels, and for drawing pictures.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import transformers
from modarch_utils import claims, measure, plots, profile, records, zoo
from modarch_utils.data import scenes
from modarch_utils.studies import choosing, transfer
from modarch_utils.studies.choosing import costs, tree
from modarch_utils.studies.choosing.figure import draw as draw_tree
from modarch_utils.training.probes import linear_probe
from torch import nn
from transformers import AutoImageProcessor, AutoModel

plots.use_style()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
here = profile.current()
ledger = claims.Ledger("08_choosing_a_model")
COLOR = plots.PALETTE

# %% [markdown]
# ## The tree
#
# Here is our tree. It has every model of the chart that circulates, and a few that the measurements of [chapter 06](06_comparison.ipynb) and
# [chapter 07](07_pretrained_models.ipynb) add. Under the names of a leaf stands the rule that orders them.

# %% tags=["hide-input"]
paths = list(tree.leaves())
plots.show(
    draw_tree(),
    alt="A decision tree. "
    + " ".join(
        f"{', '.join(path)}: {leaf.name}, {'; '.join(c.name for c in leaf.candidates)}, {leaf.ordered}."
        for path, leaf in paths
    ),
    caption="The decision tree, drawn from the data that the function recommend walks. In italics: the rule that orders the candidates of a leaf.",
)

# %% [markdown]
# The tree is data, in `modarch_utils/studies/choosing/tree.py`. The figure is drawn from it and the function below walks it, so that the two cannot disagree.
#
# Predict before you go on, and write it down: **how many milliseconds does ConvNeXt-T take for one picture on your machine?** And how many of the six networks under "a limit in milliseconds"
# will be below 10?
#
# ## Asking it
#
# `recommend` takes the task and what you know: the labelled pictures of each class, a limit for one picture, the device. Much data and no limit:

# %%
answer = choosing.recommend(task="classification", labels=1000)
print(answer)

# %% [markdown]
# Each line is one number and ends in its origin:
#
# * **cited**: from `papers/`, with the key of the bibliography and the month of the source;
# * **counted**: follows from the shapes of the network, here and now;
# * **record**: measured by a recipe of this course, with the day;
# * **here**: measured on this machine, today.
#
# What nobody has measured is listed as **not known**. There is no fifth kind, and no adjective. All accuracies of the classifiers come from one file of timm ({cite:t}`wightman2019timm`), so one program has
# measured all of them. The call at the top loads *those* weights: the tag is part of the name.
#
# All three have seen the labels of ImageNet-21k or 22k. How sure is the order? By the rule of chapter 06, two accuracies from 50,000 pictures must differ by more than twice the standard error of their difference:

# %%
top1 = [choice.value("top1") / 100 for choice in answer.choices]
for k in range(2):
    first, second = answer.choices[k : k + 2]
    error = np.sqrt(sum(p * (1 - p) for p in top1[k : k + 2]) / 50_000)
    counts = "counts" if top1[k] - top1[k + 1] > 2 * error else "does not count"
    print(
        f"{first.name} - {second.name}: {100 * (top1[k] - top1[k + 1]):.2f}, "
        f"twice the error {200 * error:.2f}: {counts}"
    )

# %% [markdown]
# So the first place is sound, by this rule, and the second is a draw between Swin-L and EfficientNetV2-L. The latter takes half of the multiply-adds. Whether that is half of the *time* is not counted but measured.
#
# A question that makes no sense is refused, with the reason:

# %%
for question in (
    {"task": "detection"},
    {"task": "classification"},
    {"task": "classification", "labels": 1000, "latency_ms": -5},
    {"task": "features", "device": "toaster"},
):
    try:
        choosing.recommend(**question)
    except ValueError as error:
        print(error)

# %% [markdown]
# ## Under 10 milliseconds?
#
# Now the leaf with the number. A time is worth something only with its conditions, so here are ours: **one picture**, each network at the size at which its accuracy was measured, random weights (the time does not depend on them), float32, one CPU thread or the
# GPU. Each network is called once to *warm up*: the first call allocates memory and chooses routines. Then they *take turns*, and the *median* counts, so that one slow second spoils nothing.

# %%
torch.manual_seed(0)
torch.set_num_threads(1)
SMALL = [candidate.network for candidate in tree.LIMIT.candidates]
measured = choosing.time_here(SMALL, rounds=5)
print("measured:", ", ".join(measured))

# %% tags=["nbval-ignore-output"]
fast = choosing.recommend(
    task="classification", labels=1000, latency_ms=10, measured=measured
)
print(fast.brief())
print("first choice:", fast.first.name if fast.first else "none of them is in time")

# %% [markdown]
# What is ruled out is ruled out by *your* machine. The whole of one candidate, to see all that speaks for it and against it:

# %% tags=["nbval-ignore-output"]
print(next(choice for choice in fast.choices if choice.name == "ConvNeXt-T"))

# %% [markdown]
# And all six beside the times that timm gives for another machine:

# %%
cited = claims.paper("choosing.laptop_cpu")
there = {name: cited[costs.NETWORKS[name].timm] for name in SMALL}
ms = {name: 1e3 * measured[name].median for name in SMALL}


# %% tags=["hide-input", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(8, 3))
for k, name in enumerate(SMALL):
    quartiles = [1e3 * measured[name].q1, 1e3 * measured[name].q3]
    axis.plot(quartiles, [k, k], color=COLOR["sky"], lw=5, solid_capstyle="round")
    axis.annotate(
        f"{ms[name]:.0f}",
        (ms[name], k),
        (0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
axis.plot(
    list(ms.values()), range(len(SMALL)), "o", color=COLOR["blue"], label="this machine"
)
axis.plot(
    list(there.values()),
    range(len(SMALL)),
    "D",
    color=COLOR["grey"],
    ms=5,
    label="Core i7-12700H, cited",
)
axis.axvline(10, color=COLOR["orange"], lw=1.5, ls="--", label="10 ms")
axis.set(
    xscale="log",
    xlabel="milliseconds for one picture",
    title="Tested, not asserted",
    ylim=(len(SMALL) - 0.5, -0.7),
)
axis.set_yticks(range(len(SMALL)), SMALL)
plots.plain_numbers(axis.xaxis)
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    figure,
    alt="Milliseconds for one picture on this machine, and on a Core i7-12700H as cited: "
    + "; ".join(f"{name} {ms[name]:.0f} and {there[name]:.0f}" for name in SMALL)
    + ". A dashed line marks 10 ms.",
    caption="Latency of six networks, each at the size of its accuracy. Blue: medians and quartiles here. Diamonds: another laptop's processor, compiled networks (timm, September 2024). Dashed: 10 ms.",
)

# %% [markdown]
# Look at the diamonds, too. They are somebody else's measurement, on another machine and with a compiler. **ConvNeXt-T and EfficientNetV2-S miss the 10 ms there, too**, by a factor of four and of seven. On a large GPU both may well be below. So the leaf is neither right nor wrong; it is incomplete, because milliseconds
# belong to a machine.

# %% tags=["nbval-ignore-output"]
LEAF = ("ConvNeXt-T", "EfficientNetV2-S")
on_one_thread = choosing.time_here(LEAF, "cpu", rounds=3)
told = ", ".join(
    f"{name} {1e3 * taken.median:.0f} ms" for name, taken in on_one_thread.items()
)
least = 1e3 * min(taken.median for taken in on_one_thread.values())
ledger.add("ten_ms", ours=told, beyond=least)
ratios = {name: ms[name] / there[name] for name in SMALL}
least, most = min(ratios.values()), max(ratios.values())
ledger.add("machine", least=least, most=most, beyond=max(most, 1 / least))

# %% [markdown]
# ## First case: a classifier with a limit
#
# You have thousands of labels and a limit. To make the case work on every machine, let the limit be 1.3 times what ConvNeXt-T takes on yours. The most accurate network in time is wanted.
#
# **By multiply-adds alone.** You would allow 1.3 times the multiply-adds of ConvNeXt-T, and take the most accurate network below that. **By measurement** you take the most accurate below the *time*.

# %%
known = {choice.name: choice for choice in fast.choices}
allowed = 1.3 * known["ConvNeXt-T"].value("gmacs")
by_macs = max(
    (name for name in SMALL if known[name].value("gmacs") <= allowed),
    key=lambda name: known[name].value("top1"),
)
print(f"allowed: {allowed:.2f} GMACs; by multiply-adds alone: {by_macs}")

# %% tags=["nbval-ignore-output"]
limit = 1.3 * ms["ConvNeXt-T"]
answer = choosing.recommend(
    task="classification", labels=1000, latency_ms=limit, measured=measured
)
print(answer.brief())
print(f"\nby measurement, limit {limit:.0f} ms: {answer.first.name}")
print(
    f"{by_macs} takes {ms[by_macs]:.0f} ms: {ms[by_macs] / limit:.2f} times the limit"
)

# %% tags=["hide-input", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True)
panels = (
    (
        axes[0],
        {n: known[n].value("gmacs") for n in SMALL},
        allowed,
        by_macs,
        "multiply-adds (billions)",
    ),
    (axes[1], ms, limit, answer.first.name, "milliseconds here"),
)
for axis, spent, most, chosen, label in panels:
    for name, x in spent.items():
        color = (
            COLOR["orange"]
            if name == chosen
            else COLOR["blue"]
            if x <= most
            else plots.PALETTE["line"]
        )
        y = known[name].value("top1")
        axis.plot(
            x,
            y,
            "*" if name == chosen else "o",
            ms=14 if name == chosen else 7,
            color=color,
        )
        place = {
            "textcoords": "offset points",
            "ha": "right",
            "va": "center",
            "fontsize": 8.5,
        }
        axis.annotate(
            name,
            (x, y),
            (-9, 0),
            **place,
            bbox={"fc": "white", "ec": "none", "pad": 0.5},
        )
    axis.axvline(most, color=COLOR["ink"], lw=1, ls="--", zorder=0)
    axis.set(
        xscale="log",
        xlabel=label,
        xlim=(min(spent.values()) / 9, 1.5 * max(spent.values())),
    )
    plots.plain_numbers(axis.xaxis)
axes[0].set(ylabel="ImageNet-1k top-1 (%)", title="By multiply-adds")
axes[1].set(title="By time")
plots.show(
    figure,
    alt=f"Accuracy against multiply-adds, where {by_macs} is chosen, and against milliseconds here, where {answer.first.name} is chosen. "
    + "; ".join(
        f"{n}: {known[n].value('top1'):.1f} %, {known[n].value('gmacs'):.2f} GMACs, {ms[n]:.0f} ms"
        for n in SMALL
    ),
    caption="The same choice twice. Dashed: 1.3 times the cost of ConvNeXt-T. Stars: the most accurate within it. Grey: beyond it.",
)

# %% [markdown]
# Multiply-adds alone choose EfficientNet-B4: a little cheaper than ConvNeXt-T, and more accurate. But it does not keep the limit, for the reasons of chapter 06: depthwise layers and squeeze-and-excitation
# at 380 pixels move many numbers for each multiplication. **Here, the choice by multiply-adds is wrong.** The diamonds above say the same of another machine.
#
# It would have been *right* to rule out by counting what is ten times too large. Counts are good for factors of ten.

# %% tags=["hide-input", "nbval-ignore-output"]
times = dict(
    time=ms[by_macs] / limit, cited=there[by_macs] / (1.3 * there["ConvNeXt-T"])
)
work = known[by_macs].value("gmacs") / allowed
ledger.add("too_slow", network=by_macs, macs=work, **times, holds=ms[by_macs] > limit)

# %% [markdown]
# Without a limit, but with speed before accuracy, the same times decide alone:

# %% tags=["nbval-ignore-output"]
print(
    choosing.recommend(
        task="classification", labels=1000, priority="speed", measured=measured
    ).brief()
)

# %% [markdown]
# ### Another device
#
# Suppose that the classifier is to run on a phone. Then this machine cannot say anything about its time, and does not:

# %%
phone = choosing.recommend(
    task="classification", labels=1000, latency_ms=10, device="edge"
)
print(phone)

# %% [markdown]
# MobileNetV3 comes with times on two phones ({cite:t}`howard2019mobilenetv3`), none of them below 10 ms, but they are old and may not be yours. Nothing is ruled out and nothing is recommended: measure on the device. And look at the *accuracies*: of these three the network that is
# made for phones is the least accurate. The order is by accuracy, because that is what is known.
#
# ## Second case: few labels
#
# Four labelled pictures of each class. The answer comes from the record of chapter 07, and the order is by a rule: among the methods that are *not measurably behind the best*, the cheapest to learn comes first.

# %%
few = choosing.recommend(task="classification", labels=4)
print(few.brief())
print()
print(few.choices[0])
print(few.choices[-1])

# %% [markdown]
# DINOv2 is last, although the chart that circulates calls its features "the best for few-shot learning". It may be the best. But with four labels we have no figure of it, so the tree does not know, and says so. Ask again with more labels:

# %%
for labels in (1, 4, 16, 64, 65):
    found = choosing.recommend(task="classification", labels=labels)
    print(f"{labels:3} labels of each class: {found.first.name}")

# %% [markdown]
# **By multiply-adds alone** you would take the network with the fewest for a picture. That is the small ConvNet, from scratch:

# %%
learners = {
    choice.name: choice for choice in few.choices if choice.value("right") is not None
}
by_macs = min(learners.values(), key=lambda choice: choice.value("gmacs"))
print(by_macs)

# %% tags=["hide-input"]
behind, gmacs = (
    [c.value(key) for c in (by_macs, few.first)] for key in ("behind", "gmacs")
)
clear = behind[0] > 0 and behind[1] == 0
ledger.add("fewest_macs", behind=behind, gmacs=gmacs, holds=clear)

# %% [markdown]
# Wrong by thirty points, to save a tenth of the multiply-adds. It does not even learn faster: the linear classifier takes a fraction of a second.
#
# ### Which features?
#
# "Frozen features" is a family, and the course has two of its networks at hand: EfficientNet-Lite0, trained on ImageNet *with labels*, and `mini-dinov2-pretrained`, which has seen scenes like these and never a label. And there are the pixels themselves, which cost nothing. Four labels of each class, two questions: which *shape*, and which *colour*?
#
# Predict: **which of the three for shape, which for colour?**

# %%
SIDE, LABELS, SEEDS = 64, 4, range(10)
pool, chooses, test = (
    scenes.load(n, SIDE, seed=seed, framing="wide")
    for seed, n in enumerate((240, 200, 300))
)


class Pixels(nn.Module):
    """A small copy of the picture: no network at all."""

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 4).flatten(1)


class Tokens(nn.Module):
    """Class token and mean patch of a DINOv2, from pictures in [-1, 1]."""

    def __init__(self, folder):
        super().__init__()
        self.net = zoo.whole(AutoModel.from_pretrained(folder), folder)
        settings = AutoImageProcessor.from_pretrained(folder)
        for name, values in (
            ("mean", settings.image_mean),
            ("std", settings.image_std),
        ):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, x):
        tokens = self.net((x / 2 + 0.5 - self.mean) / self.std).last_hidden_state
        patches = tokens[:, 1 + self.net.config.num_register_tokens :]
        return torch.cat((tokens[:, 0], patches.mean(1)), dim=1)


lite0 = zoo.load_timm("efficientnet_lite0")
lite0.reset_classifier(0)
extractors = {
    "pixels": Pixels(),
    "EfficientNet-Lite0": lite0.to(memory_format=torch.channels_last),
    "mini-dinov2-pretrained": Tokens(zoo.folder("mini-dinov2-pretrained")),
}
features, macs = {}, {}
for name, extractor in extractors.items():
    extractor.eval()
    features[name] = [
        transfer.cached_features(extractor, s.images) for s in (pool, chooses, test)
    ]
    macs[name] = measure.count_macs(extractor, (1, 3, SIDE, SIDE)) / 1e6
    print(
        f"{name:24}{features[name][0].shape[1]:6} numbers {macs[name]:6.1f} million multiply-adds"
    )

# %%
QUESTIONS = ("shape", "colour")
right = {}
for question in QUESTIONS:
    labels = [getattr(part.factors, question) for part in (pool, chooses, test)]
    for name, (known_x, val_x, test_x) in features.items():
        scores = []
        for seed in SEEDS:
            order = torch.randperm(
                len(pool), generator=torch.Generator().manual_seed(seed)
            )
            mixed = labels[0][order]
            index = torch.cat([order[mixed == c][:LABELS] for c in mixed.unique()])
            learned = linear_probe(
                (known_x[index], labels[0][index]),
                (val_x, labels[1]),
                (test_x, labels[2]),
            )
            scores.append(100 * learned.accuracy)
        right[question, name] = np.array(scores)
print(
    "classes:",
    {question: len(getattr(pool.factors, question).unique()) for question in QUESTIONS},
)

# %% tags=["hide-input", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 2, figsize=(9, 2.2), sharey=True, sharex=True)
for axis, question in zip(axes, QUESTIONS, strict=True):
    mean = [right[question, name].mean() for name in features]
    spread = [claims.mean(right[question, name]).half for name in features]
    best = int(np.argmax(mean))
    colors = [COLOR["orange"] if k == best else COLOR["blue"] for k in range(len(mean))]
    axis.barh(list(features), mean, xerr=spread, color=colors, error_kw={"capsize": 3})
    axis.axvline(12.5, color=COLOR["ink"], ls="--", lw=1)
    axis.set(title=f"Which {question}?", xlabel="right (%)")
    axis.grid(visible=False)
axes[0].invert_yaxis()
plots.show(
    figure,
    alt="; ".join(
        f"{question}, {name}: {values.mean():.0f} % right"
        for (question, name), values in right.items()
    ),
    caption="A linear classifier on frozen features, four labels of each of eight classes: mean with its interval at 95 % over ten draws of the labels. Dashed: chance. Orange: the best.",
)

# %% [markdown]
# The *question* decides. For shapes both networks leave the pixels far behind, and which of the two is ahead stays undecided: one has seen 1.3 million labelled photographs, the other 16,000 scenes like these, framed closer, and no label. For colours neither is ahead of the pixels: both were trained to recognise
# a thing in any colour. **By multiply-adds alone** you would take the pixels, at none: wrong for the shape, right for the colour. The count knows nothing about your question, and neither does an accuracy on ImageNet.

# %% tags=["hide-input", "nbval-ignore-output"]
LITE, DINO = "EfficientNet-Lite0", "mini-dinov2-pretrained"
gaps = {
    (question, name): claims.contrast(right[question, name], right[question, "pixels"])
    for question in QUESTIONS
    for name in (LITE, DINO)
}
for (question, name), gap in gaps.items():
    print(f"{question}, {name} less pixels: {gap:+.1f} points")
ledger.add("shape", effect=gaps["shape", DINO], lite=gaps["shape", LITE].value)
ledger.add("colour", within=max(gaps["colour", name].high for name in (LITE, DINO)))

# %% [markdown]
# ### Large frozen features
#
# On real photographs, the leaf "frozen features" has the four sizes of DINOv2 ({cite:t}`oquab2024dinov2`):

# %%
print(choosing.recommend(task="features").brief())
frozen = {c.name: c for c in choosing.recommend(task="features").choices}
g, large = frozen["DINOv2-g"], frozen["DINOv2-L"]
print(
    f"g - L: {g.value('linear') - large.value('linear'):.1f} points by linear classifier, "
    f"{g.value('knn') - large.value('knn'):.1f} by k-NN, {g.value('gmacs') / large.value('gmacs'):.1f} times the multiply-adds"
)

# %% [markdown]
# By accuracy, g comes first; 0.2 points are less than chance makes of 50,000 pictures, and it costs nearly four times as much. Here **multiply-adds would have chosen better than accuracy**: L, not g. But S, with the fewest of all, would cost five points.
#
# ### Pictures of your own
#
# You have many pictures without labels and wonder whether to train on them yourself:

# %%
print(choosing.recommend(task="self-supervised"))

# %% [markdown]
# The chart says "DINO, MAE, SimCLR" ({cite:t}`caron2021dino`, {cite:t}`he2022mae`, {cite:t}`chen2020simclr`). Our records say: **first see what frozen ImageNet features do**, since they cost a minute. On our scenes self-distillation reaches them:

# %%
study = records.load("dinov2_features")
for name in ("untrained", "pixels", "mini-dinov2-pretrained", "teacher"):
    found = records.select(study, "shape_knn", name=name).mean()
    print(f"{name:24} k-NN on shape {found:5.1f} %")
trained = records.load("mini_dinov2_pretrained")
print(f"hours of self-distillation, no label: {trained['minutes'] / 60:.1f}")

# %% [markdown]
# (*teacher* is EfficientNet-Lite0.) So hours of your own training pay where your pictures are of a kind that ImageNet's features do not know, and you have no labels. Of SimCLR on scenes we know nothing, and the three ImageNet figures of the chart belong to different networks.
#
# ## Third case: drawing pictures
#
# Two leaves. For quality, the tree has candidates and no order:

# %%
quality = choosing.recommend(task="generation")
print(quality)
print("\nfirst choice:", quality.first)

# %% [markdown]
# The chart says "best quality: Stable Diffusion XL". Its authors' paper ({cite:t}`podell2023sdxl`) may convince you; we have traced no figure that compares all of them on the same prompts, so no number decides. **DALL-E 3** is different: nobody outside could ever run it, so it cannot be measured at home, and a closed service
# can be switched off, as this one was ({cite:t}`openai2026dalle3`). A choice that must still work next year should not rest on one.
#
# What can be counted is the cost. The U-Nets are built on the meta device, as in chapter 06:

# %%
units = {name: costs.unet_cost(name) for name in costs.GENERATORS}
for name, unit in units.items():
    decoder = costs.decoder_macs(name) / 1e12
    print(
        f"{name:22}{unit.params / 1e6:6.0f} million parameters, {unit.macs / 1e12:5.2f} T multiply-adds a pass; "
        f"decoder {decoder:.2f} T, once"
    )
sd, xl = units.values()
times = claims.paper("choosing.sdxl")
params, macs_ = xl.params / sd.params, xl.macs / sd.macs
ledger.add("sdxl", params=params, macs=macs_, within=abs(params - times["unet_times"]))

# %% [markdown]
# ### In few steps
#
# {cite:t}`luo2023lcm` compare samplers of one Stable Diffusion at 512 pixels. We know their table by way of notes on the paper, a *secondary* source, and mark it so. **FID** is the Fréchet distance between features of drawn and of real pictures: less is better. How much do the steps cost? A guided step of DDIM or DPM++ asks the U-Net twice, with and without the prompt. LCM takes the guidance as an input and
# asks once. And the decoder runs once for each picture, whatever the steps.

# %%
table = claims.paper("choosing.lcm")
SAMPLERS = {
    "ddim": ("DDIM", True),
    "dpm": ("DPM++", True),
    "guided_distill": ("guided distillation", False),
    "lcm": ("LCM", False),
}
NAME = "Stable Diffusion 1.5"
teramacs = {
    (key, steps): costs.picture_macs(NAME, costs.evaluations(steps, guided=guided))
    / 1e12
    for key, (_, guided) in SAMPLERS.items()
    for steps in table["steps"]
}
fid = {
    (key, steps): table[key]["fid"][k]
    for key in SAMPLERS
    for k, steps in enumerate(table["steps"])
}
print(
    f"{'':21}"
    + "".join(f"{steps:>7} step{'s' * (steps > 1):1}" for steps in table["steps"])
)
for key, (label, _) in SAMPLERS.items():
    print(
        f"{label:20}"
        + "".join(
            f"{teramacs[key, s]:6.1f} T {fid[key, s]:5.1f}" for s in table["steps"]
        )
    )

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(7.6, 3.6))
for (key, (label, _)), color in zip(
    SAMPLERS.items(), ("grey", "sky", "green", "orange"), strict=True
):
    x, y = ([values[key, s] for s in table["steps"]] for values in (teramacs, fid))
    axis.plot(x, y, "o-", color=COLOR[color], label=label, ms=6, lw=1.5)
    place = {
        "textcoords": "offset points",
        "ha": "center",
        "va": "center",
        "fontsize": 8,
    }
    shift = {"dpm": (-8, -7), "guided_distill": (9, 6), "lcm": (0, -10)}.get(
        key, (0, 10)
    )
    for steps, a, b in zip(table["steps"], x, y, strict=True):
        axis.annotate(str(steps), (a, b), shift, **place, color=COLOR[color])
axis.set(
    xscale="log",
    yscale="log",
    ylim=(7.5, 300),
    xlabel="multiply-adds for a picture (10¹²), counted",
    ylabel="FID, cited",
)
for each in (axis.xaxis, axis.yaxis):
    plots.plain_numbers(each)
axis.set_title("Few steps: cost and quality")
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    figure,
    alt="FID against multiply-adds for four samplers with 1, 2, 4 and 8 steps. "
    + "; ".join(
        f"{label}: "
        + ", ".join(
            f"{fid[key, s]:.1f} at {teramacs[key, s]:.1f} T" for s in table["steps"]
        )
        for key, (label, _) in SAMPLERS.items()
    ),
    caption="Numbers at the points are steps. Costs are counted: U-Net passes and one decoding. FID is cited, at 512 pixels and guidance 8, from a secondary source; less is better.",
)

# %% [markdown]
# **By multiply-adds alone** you would draw with one step, and it hardly matters how: LCM and guided distillation cost the same to the last digit, and their FID differ by a factor of three. **Wrong**, and wrong in the other direction, too: whoever thinks that more computing is better takes LCM with eight steps and gets a
# *worse* FID than with four. A count knows how long a network computes, and not what it was taught.
#
# Be fair to the others: by *CLIP score*, which asks whether the picture fits its prompt, DDIM and DPM++ are ahead at eight steps:

# %%
for key, (label, _) in SAMPLERS.items():
    four, eight = table[key]["clip"]
    print(f"{label:20} CLIP score {four:.2f} with 4 steps, {eight:.2f} with 8")

# %% [markdown]
# And what does "4 steps instead of 50" save? Not a factor of twelve, because guidance doubles the passes of the one; and not of 25 either, because the decoder stays:

# %%
standard = costs.evaluations(50, guided=True, scheduler="pndm")
short = costs.evaluations(4, guided=False)
saved = costs.picture_macs(NAME, standard) / costs.picture_macs(NAME, short)
part = costs.decoder_macs(NAME) / costs.picture_macs(NAME, short)
print(f"passes: {standard} and {short}, {standard / short:.1f} times fewer")
print(
    f"multiply-adds: {saved:.1f} times fewer; the decoder is {100 * part:.0f} % of the short way"
)
fewer = standard / short
ledger.add("passes", passes=fewer, macs=saved, holds=saved < fewer)
ledger.add("fid", four=teramacs["lcm", 4], eight=teramacs["lcm", 8], verdict="partly")

# %% [markdown]
# The tree's own answer, for somebody who wants pictures fast:

# %%
print(choosing.recommend(task="generation", priority="speed"))

# %% [markdown]
# LCM-LoRA ({cite:t}`luo2023lcmlora`) costs as much as LCM for a picture, and we have no FID for it. The chart calls it "best customisation". What is known is *what it is*: an adapter with a few per cent of the parameters, to be loaded into any model that was fine-tuned from the same base. If you have such a model, that decides and no number is needed.
#
# ```{admonition} Errata: what the chart that circulates says
# :class: warning
# * *"Low latency (< 10 ms): ConvNeXt-T, EfficientNetV2-S"*: no machine, no size of picture. On a Core i7-12700H they take 38 and 74 ms (timm, September 2024).
# * *ConvNeXt V2 under "supervised pretraining"*: its best weights are pre-trained without labels (FCMAE), then trained with labels.
# * *"Best features", "best quality", "best speed-accuracy trade-off"*: no measure, no source, no date.
# * *DALL-E 3 beside Stable Diffusion*: a closed service among things that you can run.
# * *"Any large model"* where there are no constraints: there is always one. The largest DINOv2 gains 0.2 points for four times the cost.
# ```
#
# ## Now you
#
# Predict first, then unfold.
#
# **1.** A colleague asks for "the best model under 20 ms". What do you ask back?
#
# <details><summary>Answer</summary>
# On which machine, with how many threads or which GPU; one picture or a batch; at which size; best by what, with which labels. Then you measure: <code>recommend(task="classification", labels=…, latency_ms=20)</code>, on that machine.
# </details>
#
# **2.** The limit is 50 ms. A network has a median of 48 ms and quartiles of 44 and 61 ms. Is it in time?
#
# <details><summary>Answer</summary>
# By our rule, yes: the median counts. If every picture must be in time, no: more than a quarter of them are not. Then ask for a high percentile, and time many more calls.
# </details>
#
# **3.** You have 30 labels of each class. Which record answers, and what would change your mind?
#
# <details><summary>Answer</summary>
# The nearest measured number by ratio is 16 (30/16 is less than 64/30), and there fine-tuning with layer decay comes first. With 64 labels it was fine-tuning with two rates. Between the two, nobody has measured. It is one task with rendered scenes: run both on yours.
# </details>
#
# **4.** SDXL takes 100 passes of 3.4 T, Stable Diffusion 1.5 takes 102 of 0.4 T. Which is the better choice?
#
# <details><summary>Answer</summary>
# The counts say what it costs: about eight times as much, for four times the pixels. They say nothing about how good the pictures are. Draw your prompts with both.
# </details>
#
# **5.** A new network appears with 0.4 points more on ImageNet than yours. When do you switch?
#
# <details><summary>Answer</summary>
# Not for that. Look at labels, resolution and method first; 0.4 points are about twice the standard error. Then measure its time where it is to run, and its accuracy on your own task.
# </details>
#
# ## Summary
#
# * A recommendation is a list of numbers with origins and dates, and a list of what is not known.
# * Milliseconds belong to a machine. Test the limit where it holds: warm, medians, taking turns.
# * Multiply-adds were wrong for the classifier with a limit, for few labels and for few steps, and right between two sizes of DINOv2. Use them to rule out what is ten times too large.
# * Few labels: begin with frozen features, and compare two kinds on your own question. The question decides.
# * No figure, no order. For quality of drawn pictures, look.
#
# ### Claims

# %% tags=["nbval-ignore-output"]
ledger

# %%
ledger.verdicts()

# %% [markdown]
# ## What to read
#
# * {cite:t}`dehghani2022efficiency` on costs that disagree, and on how to report them.
# * {cite:t}`wightman2019timm`: the folder `results` of the library's repository has accuracies and speeds of all its networks, on several machines.
# * {cite:t}`podell2023sdxl`, on why FID says little of large text-to-image models.
# * `modarch_utils/studies/choosing/leaves.py`: add a candidate of your own, with its evidence.
