# %% [markdown]
# # Comparison: which numbers of a table can be true?
#
# Sooner or later you must pick a network, and you look for a table: one row for each network, one column for each number. Such tables
# are copied from course to course and from blog to blog. They look like measurements. But nobody measured the *table*. Its cells come
# from different papers, which used different data, different image sizes and different ways of scoring.
#
# This chapter takes one table that circulates and asks of every cell: **can it be true?** Two of its columns can be
# counted, by you, in seconds. The others can be traced. Then you measure what no table can tell you: time and memory on *your* machine.
#
# **After this chapter you can**
#
# * count parameters and multiply-adds of any network without its weights, at the image size that matters;
# * read an accuracy with its data, labels, resolution and method, and refuse to compare unequal budgets;
# * tell how large a difference of accuracy has to be before it means something, and test two networks on the *same* pictures;
# * say why multiply-adds do not give milliseconds or megabytes;
# * draw a front of accuracy against cost, and know which comparisons it allows.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
from IPython.display import HTML
from modarch_utils import claims, measure, plots, profile, zoo
from modarch_utils.data import scenes
from modarch_utils.studies import circulating_table, comparison
from modarch_utils.studies.circulating_table import CIRCULATING
from modarch_utils.studies.comparison import EQUAL, MORE, NETWORKS
from scipy import stats
from timm.data import resolve_model_data_config
from torch import nn

plots.use_style()
here = profile.current()
ledger = claims.Ledger("06_comparison")
INK = plots.PALETTE["ink"]

# %% [markdown]
# ## A table that everybody copies
#
# Here it is. A note under it says: *FLOPs are for 224×224 pixels; accuracy is top-1 on the validation pictures of ImageNet-1k; "linear"
# means a linear classifier on frozen features.* As in most vision papers, "FLOPs" are multiply-adds, in billions (GMACs).

# %%
HTML(
    comparison.table(
        circulating_table.COLUMNS.values(),
        [circulating_table.cells(row) for row in CIRCULATING],
        "As it circulates",
    )
)

# %% [markdown]
# Predict before you read on: **in how many of the nine rows does a cell belong to something else** (another network, other data, another method)? Two hints. Three networks with 15.4 GMACs and the same data rise
# from 85.2 to 86.8; is it the architecture? And two rows whose names end in B have 17.6 GMACs, although their patches differ in size.
#
# ## What can be counted
#
# A network's parameters and multiply-adds follow from its shapes. No weights are needed, and not even memory: on PyTorch's *meta* device
# a tensor has a shape and no numbers. The giant of the table, which would fill 4.5 GB, is built and counted in a second or two:

# %%
with torch.device("meta"):
    giant = NETWORKS["DINOv2-g"].build()
device, macs = (
    next(giant.parameters()).device,
    measure.count_macs(giant, (1, 3, 224, 224)),
)
print(f"{measure.count_params(giant):,} parameters, on device {device}")
print(f"{macs / 1e9:.1f} GMACs for a picture of 224 pixels")

# %% [markdown]
# **What is counted?** The products of convolutions, of linear layers and of attention (queries with keys, weights with values). Biases,
# activation functions, the softmax, normalisation and pooling count nothing. Others count a little more or less, so two honest
# counts may differ by a few per cent. Keep the free items in mind: they will come back as milliseconds.
#
# Now all rows, and seven more: **MobileNetV3-Large** ({cite:t}`howard2019mobilenetv3`), which was made for phones; the
# tiny versions of Swin and ConvNeXt; and four newer ones that the table leaves out: EVA-02 (March 2023), Hiera (June 2023), the hybrid (convolutions and some attention) of MobileNetV4 (April 2024, {cite:t}`qin2024mobilenetv4`) and the image half of SigLIP. Each is counted at the image size at which its accuracy was measured, and at 224 as the note has it:

# %%
print(f"{'network':21}{'M params':>10}{'pixels':>8}{'GMACs':>8}{'at 224':>9}")
for name, network in NETWORKS.items():
    cost, small = comparison.count(name), comparison.count(name, 224)
    print(f"{name:21}{cost.params / 1e6:10.1f}{network.side:8}", end="")
    print(f"{cost.macs / 1e9:8.2f}{small.macs / 1e9:9.2f}")

# %% [markdown]
# The note's "224×224" is not true for the two EfficientNets: their FLOPs in the table belong to 380 and 384 pixels. So do their accuracies. The cells stay, then, and the
# *note* goes: at 224 they would cost a third, and be less accurate. A convolution's work grows with the number of pixels:

# %%
for name in ("EfficientNet-B4", "EfficientNetV2-S"):
    cost, small = comparison.count(name), comparison.count(name, 224)
    pixels = (NETWORKS[name].side / 224) ** 2
    print(f"{name:17} {cost.macs / small.macs:.2f} times the work,", end=" ")
    print(f"{pixels:.2f} times the pixels")
share = comparison.count("ViT-B/16", 384).macs / comparison.count("ViT-B/16").macs
print(f"{'ViT-B/16 at 384':17} {share:.2f} times the work,", end=" ")
print(f"{(384 / 224) ** 2:.2f} times the pixels")

# %% [markdown]
# Attention compares every token with every other, so that its part grows with the *square* of the number of pixels. And patches of 14 pixels
# instead of 16 give 257 tokens instead of 197: DINOv2-B is a ViT-B, but one that costs a third more.
#
# Does our count agree with the papers? These are the figures that we could trace. A count agrees when it rounds to what is printed, or
# is within 1 % of it, as some authors cut digits off:

# %%
convnext, v2 = claims.paper("convnext.models"), claims.paper("convnextv2.models")
swin_t, b4 = (
    claims.paper("convnext.swin_tiny"),
    claims.paper("comparison.efficientnet_b4"),
)
v2s, dino = claims.paper("efficientnetv2.models"), claims.paper("dinov2.models")
resnet = {"params": claims.paper("convnext.params")["resnet50"]}
resnet["gmacs"] = claims.paper("convnext.ladder")["resnet50"]["gmacs"]
large = {"gmacs": claims.paper("comparison.convnext_base_384")["gmacs"]}
traced = [
    ("ResNet-50", 224, resnet, convnext["source"]),
    ("Swin-T", 224, swin_t, swin_t["source"]),
    ("ConvNeXt-T", 224, convnext["tiny"], convnext["source"]),
    ("ConvNeXt-B", 224, convnext["base"], convnext["source"]),
    ("ConvNeXt-B", 384, large, convnext["source"]),
    ("ConvNeXt V2-B", 224, v2["base"], v2["source"]),
    ("EfficientNetV2-S", 384, v2s["s"], v2s["source"]),
    ("EfficientNet-B4", 380, b4, b4["source"]),
    ("DINOv2-B", 224, dino["base"], dino["source"]),
    ("DINOv2-g", 224, dino["giant"], dino["source"]),
]

# %%


def printed(params: float) -> str:
    return f"{params / 1e9:g}B" if params >= 1e9 else f"{params / 1e6:g}M"


checks = []  # network, what, printed, ours, agrees, source
for name, side, figures, source in traced:
    cost = comparison.count(name, side)
    for what, count, unit in (("params", cost.params, 1e6), ("gmacs", cost.macs, 1e9)):
        if what in figures:
            text = printed(figures[what]) if what == "params" else f"{figures[what]:g}"
            agrees = circulating_table.agrees(text, count)
            checks.append((name, what, text, count / unit, agrees, source))
            told = f"{name:17}{side:4}  {what:7}{text:>6}  counted {count / unit:7.2f}"
            print(told, "agrees" if agrees else "DIFFERS", sep="  ")

# %% [markdown]
# One figure differs. (Of EfficientNetV2 these are the figures of the authors' README; the 24M in their paper's figure 1b is not what their code builds.) EfficientNet-B4's own paper prints 4.2; the paper of EfficientNetV2 prints 4.5 for it, and so does the
# circulating table. Our count of products lies between the two. The 4.5 has an explanation: TensorFlow's profiler counts *all* operations of a network, sums and activations too, and half of what it
# counts in the authors' code is 4.46 billion. Where the 4.2 comes from we do not know; ours is a sum that you can do again.

# %%
fused = claims.paper("efficientnetv2.fused_stages")
print(f"EfficientNet-B4 in its paper: {b4['gmacs']},", end=" ")
print(f"in that of V2: {fused['none']['gmacs']}")
print(f"counted: {comparison.count('EfficientNet-B4').macs / 1e9:.2f}")

# %% tags=["hide-input", "nbval-ignore-output"]
for row, table in (
    ("convnext", convnext),
    ("convnextv2", v2),
    ("efficientnetv2", v2s),
    ("efficientnet", b4),
    ("dinov2", dino),
):
    rows = [
        (value, agrees)
        for *_, value, agrees, source in checks
        if source == table["source"]
    ]
    verdict = "reproduced" if all(agrees for _, agrees in rows) else "partly"
    counted = ", ".join(f"{value:.2f}" for value, _ in rows)
    ledger.add(row, ours=counted, verdict=verdict)

# %% [markdown]
# ## What can only be quoted
#
# An accuracy cannot be counted, and training these networks again is beyond us. It can be *traced*. Five things belong to every
# accuracy, and a table without them compares nothing:
#
# * **labels**: how many pictures had a label? ImageNet-1k (IN-1k) has 1.28 million. ImageNet-22k, which others call 21k (IN-22k, IN-21k), has 14
#   million, and JFT-300M 300 million. Captions from the web (WebLI) are a kind of label, too;
# * **pictures**: which ones were seen without a label? DINOv2 saw 142 million (LVD-142M);
# * **resolution** at evaluation;
# * **method**: trained with labels throughout, fine-tuned, or frozen with a *linear probe* on top;
# * **recipe**: how long, with which augmentation, after which pre-training (MAE and FCMAE first learn to fill in hidden parts of pictures).
#
# So there are two tables. In the first every network had the **same data**: the pictures and labels of ImageNet-1k and nothing else. Their recipes differ, from 90 epochs to 1,600 of
# masked pre-training. In the second everybody brought what they had, and used the labels of ImageNet-1k at the end.


# %%

left = [(r.network, str(r.side), r.method, f"{r.top1:.1f}") for r in EQUAL]
right = [
    (r.network, str(r.side), r.pictures, r.labels, r.method, f"{r.top1:.1f}")
    for r in MORE
]
for rows in (left, right):
    rows.sort(key=lambda row: float(row[-1]))
style = "display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start;font-size:85%"
HTML(
    f'<div style="{style}">'
    + comparison.table(
        ("Network", "Pixels", "Training", "Top-1"), left, "Equal data: IN-1k"
    )
    + comparison.table(
        ("Network", "Pixels", "Pictures", "Labels", "Training", "Top-1"),
        right,
        "More data",
    )
    + "</div>"
)

# %% [markdown]
# Look at the rows of *one* network. ResNet-50 stands there three times and ViT-B/16 three times: the same layers, pictures and labels. Only the recipe differs (AugReg, DeiT and DeiT III are recipes for ViTs), and here and there
# the crop of the test:

# %%
by_recipe = {}
for name in ("ResNet-50", "ViT-B/16"):
    rows = sorted((r.top1, r.method) for r in EQUAL if r.network == name)
    by_recipe[name] = rows[-1][0] - rows[0][0]
    told = ", ".join(f"{recipe} {top1:.1f}" for top1, recipe in rows)
    print(f"{name}: {told}; recipe alone {by_recipe[name]:+.1f} points")

# %% [markdown]
# **With the data of 2012 and the recipe of 2022, ViT-B/16 has the accuracy of ConvNeXt-B.** Whoever compares a new network with the ResNet-50 of 2015 compares recipes as well. (Chapter [02](02_convnext.ipynb)
# takes such a step apart. DINOv3, of August 2025, is missing in the second table: we have traced no figure of it for these pictures, and a blank is better than a number from memory.) Where do the figures come from?

# %%
sources = sorted({(r.network, r.source) for r in EQUAL + MORE})
for name in NETWORKS:
    keys = [key for network, key in sources if network == name]
    print(f"{name:21} {', '.join(keys)}")

# %% [markdown]
# ### How large must a difference be?
#
# ImageNet-1k is scored on 50,000 validation pictures. If a network is right on a share $p$ of such pictures, then the share measured on $n$
# of them varies by $\sqrt{p(1-p)/n}$ from one set of pictures to another. Training again with another seed varies, too; the ConvNeXt paper gives that for
# three seeds.

# %%
n = 50_000
error = {r.top1: 100 * math.sqrt(r.top1 / 100 * (1 - r.top1 / 100) / n) for r in EQUAL}
ends = min(error.values()), max(error.values())
print(f"standard error of one accuracy: {ends[0]:.2f} to {ends[1]:.2f}")
seeds = claims.paper("convnext.ladder")["separate_downsampling"]["std"]
print(f"standard deviation over seeds, ConvNeXt-T: {seeds:.2f}")
swin_b, convnext_b = (
    r for r in EQUAL if r.network in ("Swin-B", "ConvNeXt-B") and r.side == 224
)
difference = convnext_b.top1 - swin_b.top1
noise = math.hypot(error[swin_b.top1], error[convnext_b.top1], seeds, seeds)
print(
    f"ConvNeXt-B - Swin-B: {difference:.1f}, twice its standard error: {2 * noise:.1f}"
)

# %% [markdown]
# By this rough rule, differences of less than half a point tell nothing. (The seeds' part is ConvNeXt-T's, lent to both networks.) It is too strict: it takes the two networks to err independently, and both see the *same* pictures. What counts are the pictures on which exactly
# *one* of the two is right. If network A alone is right on $a$ of $n$ pictures and B alone on $b$, the difference of the accuracies is $(a-b)/n$, its standard error about $\sqrt{a+b}/n$, and whether it can be
# chance is asked by **McNemar's test**: would a fair coin, thrown $a+b$ times, give so uneven a result? The papers of our tables do not print such counts. For two networks of this course, on scenes with far smaller objects
# than they were trained on, we can count:

# %% tags=["nbval-ignore-output"]
right = {}
for name, side in (("mini-convnext", 64), ("mini-efficientnetv2", 48)):
    asked = scenes.load(2000, side, seed=7, framing="wide")
    network = timm.create_model(f"local-dir:{zoo.folder(name)}", pretrained=True).eval()
    config = resolve_model_data_config(network)
    pictures = asked.to_float(config["mean"], config["std"])
    with torch.inference_mode():
        answers = torch.cat([network(part) for part in pictures.split(250)]).argmax(1)
    right[name] = answers == asked.shape
    print(f"{name:20} {right[name].float().mean():.1%} right")
first, second = right.values()
alone = int((first & ~second).sum()), int((second & ~first).sum())
share = [r.float().mean().item() for r in right.values()]
apart = share[0] * (1 - share[1]) + share[1] * (1 - share[0])
print(f"exactly one is right: {sum(alone) / len(asked):.0%};", end=" ")
print(f"if they erred independently: {apart:.0%}")
rough = math.sqrt(sum(p * (1 - p) for p in share) / len(asked))
print(f"difference {100 * (share[1] - share[0]):.1f} points;", end=" ")
print(f"twice its standard error: rough {200 * rough:.1f},", end=" ")
print(f"paired {200 * math.sqrt(sum(alone)) / len(asked):.1f}")
chance = stats.binomtest(alone[0], sum(alone)).pvalue
print(f"a fair coin is as uneven in {chance:.2%} of such series")

# %% [markdown]
# (Guessing one of eight shapes is right in 12.5 %: both are poor here.) Networks agree more often than if they erred independently, so the paired error is the smaller one, and with the same pictures you see smaller
# differences. But what varies between two *trainings* is in neither error of this example, and everybody has looked at ImageNet's 50,000 pictures for years and kept what did well on them.
#
# ### Would it hold on other pictures?
#
# Two groups asked. *ReaL* {cite:p}`beyer2020real` keeps the pictures and corrects the labels: several things may be in a picture, and any of them counts. *ImageNet-V2* {cite:p}`recht2019imagenetv2` keeps the recipe of collecting and takes **new pictures**. The results of
# timm's own evaluator, for all of its checkpoints:

# %%
results = comparison.timm_results()
print(f"{'checkpoint':38}{'top-1':>7}{'ReaL':>7}{'V2':>7}")
shown = {(r.figure, r.side): r for r in EQUAL + MORE if not r.table}
for key in sorted(shown, key=lambda key: results[key]["top1"]):
    print(f"{key[0]:38}" + "".join(f"{v:7.1f}" for v in results[key].values()))
drop = [row["top1"] - row["v2"] for row in results.values()]
print(f"{len(results):,} checkpoints lose {np.median(drop):.1f} points on V2 (median)")

# %%
ordered = sorted(results.values(), key=lambda row: row["top1"])
print("pairs of checkpoints that change places:")
for what, some in (("all", ordered), ("the best hundred", ordered[-100:])):
    columns = {k: [row[k] for row in some] for k in ("top1", "real", "v2")}
    swapped = {
        k: (1 - stats.kendalltau(columns["top1"], columns[k]).statistic) / 2
        for k in ("real", "v2")
    }
    print(f"{what:17} ReaL {swapped['real']:.0%}, V2 {swapped['v2']:.0%}")

# %% [markdown]
# All lose about as much on new pictures, so over the whole list the order stays: what improved on ImageNet's pictures improved on new ones, too. *At the top* the order says less: of the hundred best, one pair in seven stands the other way round on new pictures, and one in five with better labels.
#
# ### What the labels are worth
#
# Some networks stand in both tables, at the same resolution. The network and the pixels are equal, so the difference comes from
# the additional labelled pictures and the training on them:

# %%
pairs = [
    (a, b)
    for a in EQUAL
    for b in MORE
    if (a.network, a.side) == (b.network, b.side) and a.method == b.method
]
gains = {(a.network, a.side): b.top1 - a.top1 for a, b in pairs}

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(7, 2.9))
for k, (a, b) in enumerate(pairs):
    axis.plot([a.top1, b.top1], [k, k], color=plots.PALETTE["grey"], lw=1.5, zorder=1)
    axis.text(
        (a.top1 + b.top1) / 2,
        k - 0.18,
        f"{b.top1 - a.top1:+.1f}",
        ha="center",
        fontsize=8,
    )
for side, color, text in ((0, "blue", "IN-1k"), (1, "orange", "IN-21k or 22k first")):
    axis.scatter(
        [p[side].top1 for p in pairs],
        range(len(pairs)),
        s=45,
        color=plots.PALETTE[color],
        label=text,
    )
axis.set_yticks(range(len(pairs)), [f"{a.network} at {a.side}" for a, _ in pairs])
axis.set_ylim(len(pairs) - 0.5, -0.6)
axis.set(xlabel="ImageNet-1k top-1 (%)", title="The same network, with more labels")
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    figure,
    alt="Accuracy of the same networks with ImageNet-1k alone and with ImageNet-21k or 22k first: "
    + "; ".join(
        f"{name} at {side} {gain:+.1f} points" for (name, side), gain in gains.items()
    ),
    caption="Quoted accuracies of one network each, at one resolution, with two budgets of labels. The number is the difference.",
)

# %%
bases = [a for a, _ in pairs if a.network.endswith("-B") and a.side == 224]
base = {a.network: a.top1 for a in bases}
spread = max(base.values()) - min(base.values())
least = min(gains[name, 224] for name in base)
print(f"three base-size networks, equal labels: {spread:.1f} points from worst to best")
print(f"one of them, more labels: at least {least:.1f} points")
ledger.add("labels", gain=least, differ=spread, holds=least > spread)

# %% [markdown]
# This answers the first hint. In the circulating table the three rise from 85.2 to 86.8 and the data column says that all had 1.3 million pictures. Those accuracies belong
# to 22k. The labels, which the table hides, move each of the three by 1.7 to 2.0 points, which is at least about as much as the three differ (1.4, recipes included). ViT-B/16 gains 5.4 from them, and 4.6 by a better recipe
# without them: labels and recipe move a network by amounts of the same size.
#
# ## The table, row by row
#
# Now every cell has been counted or traced. What is wrong is struck out, and what should stand there is beside it:

# %%
faults = circulating_table.faults()
HTML(
    comparison.table(
        circulating_table.COLUMNS.values(),
        [circulating_table.cells(row, faults) for row in CIRCULATING],
        "Corrected: FLOPs at the resolution of the accuracy",
    )
)

# %% tags=["hide-input"]
claimed = {row.network: row for row in CIRCULATING}
HTML(
    comparison.table(
        ("Network", "Column", "Claimed", "Right", "Why", "Kind"),
        [
            (
                f.network,
                circulating_table.COLUMNS[f.column],
                getattr(claimed[f.network], f.column),
                f.right,
                f.why,
                f.kind,
            )
            for f in faults
        ],
        "Why",
    )
)

# %%
cells = len(CIRCULATING) * (len(circulating_table.COLUMNS) - 1)
grave = {f.network for f in faults if f.kind not in circulating_table.SLIGHT}
print(f"wrong: {len(faults)} of {cells} cells, and the note")
print(f"rows with a cell of something else: {len(grave)} of {len(CIRCULATING)}")
for kind in circulating_table.KINDS:
    print(f"{sum(f.kind == kind for f in faults):3}  {kind}")

# %% [markdown]
# ```{admonition} Errata: how such a table comes about
# :class: warning
# * **The best accuracy and the smallest data meet in one row.** Swin-B, ConvNeXt-B, ConvNeXt V2-B and EfficientNetV2-S have accuracies of ImageNet-22k
#   beside the data of ImageNet-1k.
# * **One note for all rows.** "At 224" is true for seven of them. The EfficientNets have their FLOPs, and their accuracies, at 380 and 384.
# * **Two ways of counting.** 24M and 4.5 stand in a paper, and are not what its code builds and what the others count. 25M is 25.6M, cut off.
# * **Data of one paper, accuracy of another.** ViT-B/16 has the pictures of JFT beside the accuracy of IN-21k.
# * **A name stands for another network.** DINOv2-B is a ViT-B, but with patches of 14 pixels; it does not have the FLOPs of ViT-B/16.
# * **"Linear" stands beside a fine-tuned accuracy.** DINOv2-g. And its small version, B, was not trained like it but distilled from it.
# * **"Self-supervised" hides labels.** ConvNeXt V2-B is pre-trained without labels and then trained with those of 22k.
# ```

# %% tags=["hide-input", "nbval-ignore-output"]
rows = dict(rows=len(grave), of=len(CIRCULATING))
ledger.add(
    "table", wrong=len(faults), cells=cells, **rows, holds=2 * len(grave) > rows["of"]
)

# %% [markdown]
# ## What no table can tell: your machine
#
# Multiply-adds are the same everywhere. Milliseconds are not. Here are the networks on your machine: random weights (the time does not depend on them), one picture,
# each network at its own resolution. They **take turns**: one call of each in every round, so that a slow second of the machine
# does not fall on one network alone. With one CPU thread and no GPU the clock is the processor's own: it stands still while another program
# has the core. You see medians and quartiles. With `MODARCH_PROFILE=gpu` the same cells time all sixteen
# networks, on the GPU and in larger batches. First one thread:

# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
timed = [
    name for name in NETWORKS if comparison.count(name).macs / 1e9 < here.timed_gmacs
]
nets = {name: NETWORKS[name].build().eval().to(here.device) for name in timed}


def step(name: str, batch: int = 1):
    """One forward pass, as a function without arguments."""
    side = NETWORKS[name].side
    images = torch.randn(batch, 3, side, side, device=here.device)

    @torch.no_grad()
    def forward():
        nets[name](images)

    return forward


threads = torch.get_num_threads()
torch.set_num_threads(1)
one = measure.take_turns({name: step(name) for name in timed}, rounds=5)
for name, taken in sorted(one.items(), key=lambda item: item[1].median):
    macs = comparison.count(name).macs / 1e9
    print(f"{name:21}{macs:7.2f} GMACs   {taken}", end="   ")
    print(f"{macs / taken.median:6.1f} GMACs a second")


# %% tags=["hide-input", "nbval-ignore-output"]
def label(
    axis, points: dict[str, tuple[float, float]], gap: float, colors: dict[str, str]
):
    """Names in a column at the right, each with a line to its point; the axes must be set up."""
    names = sorted(points, key=lambda name: points[name][1])
    figure = axis.figure
    figure.canvas.draw()
    place = axis.transAxes.inverted().transform(
        axis.transData.transform(list(points.values()))
    )
    height = dict(zip(points, place[:, 1], strict=True))
    heights = np.array(plots.apart([height[name] for name in names], gap))
    heights -= max(0, heights.max() - 1)  # inside the frame
    for name, y in zip(names, heights, strict=True):
        axis.annotate(
            name,
            points[name],
            xytext=(1.06, y),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=colors.get(name, INK),
            arrowprops=dict(
                arrowstyle="-",
                color=plots.PALETTE["line"],
                lw=0.6,
                shrinkA=1,
                shrinkB=3,
            ),
        )


gmacs = {name: comparison.count(name).macs / 1e9 for name in timed}
ms = {name: 1e3 * taken.median for name, taken in one.items()}
figure, axis = plt.subplots(figsize=(7.6, 4.4))
for name, taken in one.items():
    axis.plot(
        [gmacs[name]] * 2,
        [1e3 * taken.q1, 1e3 * taken.q3],
        color=plots.PALETTE["sky"],
        lw=4,
    )
axis.plot(list(gmacs.values()), list(ms.values()), "o", color=plots.PALETTE["blue"])
axis.set(xscale="log", yscale="log")
pace = ms["ResNet-50"] / gmacs["ResNet-50"]
ends = np.array([min(gmacs.values()) / 1.5, max(gmacs.values()) * 1.5])
axis.plot(
    ends,
    pace * ends,
    "--",
    color=plots.PALETTE["grey"],
    lw=1.2,
    label="the pace of ResNet-50",
)
axis.set_xlim(*ends)
axis.set_ylim(min(ms.values()) / 3, max(ms.values()) * 1.6)
axis.legend(loc="upper left")
plots.plain_numbers(axis.xaxis)
plots.plain_numbers(axis.yaxis)
axis.set(
    xlabel="multiply-adds (billions), each at its own resolution",
    ylabel="milliseconds for one picture",
    title="Multiply-adds against time",
)
label(axis, {name: (gmacs[name], ms[name]) for name in timed}, 0.058, {})
plots.show(
    figure,
    alt="Milliseconds against multiply-adds on logarithmic axes for "
    + ", ".join(
        f"{name} ({gmacs[name]:.1f} GMACs, {ms[name]:.0f} ms)" for name in timed
    )
    + ". A dashed line marks the pace of ResNet-50; MobileNetV3 and EfficientNet-B4 lie far above it.",
    caption="One picture, one CPU thread (or the GPU, where there is one), medians with quartiles. On the dashed line a network does as "
    "many multiply-adds in a second as ResNet-50; above it, fewer.",
)

# %% [markdown]
# The order is roughly right: a network with a hundred times the multiply-adds is slower. But look at the four networks of four to five GMACs. On a CPU thread
# EfficientNet-B4 is by far the slowest of them. And it does, with MobileNetV3, far fewer
# multiply-adds in a second than the others. Counts are good for factors of ten and bad for factors of two.

# %% tags=["nbval-ignore-output"]
rank = stats.spearmanr(list(gmacs.values()), list(ms.values())).statistic
close = [name for name in timed if 4 < gmacs[name] < 5]
rate = {name: gmacs[name] / one[name].median for name in timed}
print(f"rank correlation of multiply-adds with time: {rank:.2f}")
slow, fast = max(close, key=ms.get), min(close, key=ms.get)
print(f"of {', '.join(close)},")
print(f"the slowest, {slow}, takes {ms[slow] / ms[fast]:.1f} times as long as {fast}")
pace_ratio = max(rate.values()) / min(rate.values())
slowest, fastest = min(rate, key=rate.get), max(rate, key=rate.get)
ledger.add("pace", slowest=slowest, fastest=fastest, beyond=pace_ratio)

# %% [markdown]
# ### Threads and batches
#
# Two settings change the times, and not all alike. More **threads** help large products and hardly help small ones. A larger **batch** gives every layer more
# to do at once; it need not help, as what no longer fits into the cache must be fetched again. (With more than one thread the clock is the wall's.) Does either change the *order* of the networks? One network decides how many threads are worth having here; then all that are small enough run with that number, and in a batch.

# %% tags=["nbval-ignore-output"]
best = measure.best_threads(step("ConvNeXt-T"), warmup=1, repeats=5)
print(best)
batch = profile.pick(laptop=4, gpu=64)
several = [name for name in timed if batch * gmacs[name] < here.timed_gmacs]
batched = measure.take_turns({name: step(name, batch) for name in several}, rounds=3)
torch.set_num_threads(best.threads)
parallel = measure.take_turns({name: step(name) for name in several}, rounds=5)
torch.set_num_threads(1)
heads = f"batch {batch}", f"{best.threads} thread(s)"
print(f"\n{'ms a picture':21}{'one':>8}{heads[0]:>10}{heads[1]:>14}")
for name in sorted(several, key=ms.get):
    in_batch, with_threads = (
        1e3 * batched[name].median / batch,
        1e3 * parallel[name].median,
    )
    print(f"{name:21}{ms[name]:8.1f}{in_batch:10.1f}{with_threads:14.1f}")
settings = {"a batch": batched} | ({"threads": parallel} if best.threads > 1 else {})
for what, found in settings.items():
    medians = {name: found[name].median for name in several}
    changed = sorted(several, key=ms.get) != sorted(several, key=medians.get)
    print(f"another order with {what}:", changed)

# %% [markdown]
# Where one thread is best, the last column repeats the first. How far the two lie apart is what you may believe of *any* difference of this size: the order of close networks is no property of theirs.
#
# ### Half the bits, and a compiler
#
# People who serve networks ask for **throughput**, pictures a second in a batch, with *bfloat16* (two bytes a number, on units made for it) and with `torch.compile`, which fuses small operations. Both need hardware or a compiler that not every laptop has, so this cell runs in the gpu profile only. Expect the *order* to change: fused and
# depthwise layers gain differently. On a laptop it is **not tested here**.

# %% tags=["profile-dependent"]
VARIANTS = {
    "float32": (torch.float32, False),
    "bfloat16": (torch.bfloat16, False),
    "compiled": (torch.bfloat16, True),
}


@torch.inference_mode()
def pictures_a_second(name: str, dtype: torch.dtype, compiled: bool) -> float:
    network, side = nets[name].to(dtype), NETWORKS[name].side
    network = torch.compile(network) if compiled else network
    images = torch.randn(batch, 3, side, side, device=here.device, dtype=dtype)
    return measure.throughput(lambda: network(images), batch, repeats=10)


print(f"{'pictures a second':21}" + "".join(f"{name:>12}" for name in VARIANTS))
for name in several if here.device.type != "cpu" else ():
    rates = [pictures_a_second(name, *each) for each in VARIANTS.values()]
    nets[name].float()
    print(f"{name:21}" + "".join(f"{rate:12.0f}" for rate in rates))

# %% [markdown]
# ### Memory
#
# A network needs room for its weights, 4 bytes each, and for what its layers pass on. (In training also for the gradients, as large as the weights, and for the optimizer's state: AdamW keeps two numbers for each weight, SGD with
# momentum one. So a training with AdamW needs four times the weights, before the first picture.) In **inference** a layer's output can be dropped as soon as it
# has been used. In **training** all of them stay until the backward pass. The weights follow from the parameters; the rest
# follows from neither the parameters nor the multiply-adds:


# %% tags=["nbval-ignore-output"]
def train_step(name: str):
    side = NETWORKS[name].side
    images = torch.randn(1, 3, side, side, device=here.device)

    def forward_and_backward():
        nets[name](images).sum().backward()

    return forward_and_backward


some = ("ResNet-50", "EfficientNet-B4", "EfficientNetV2-S", "ConvNeXt-T", "ViT-B/16")
megabytes = {}
for name in some:
    passing = measure.peak_memory(step(name)) / 1e6
    nets[name].train()
    train_step(name)()  # so that the gradients, as large as the weights, exist already
    training = measure.peak_memory(train_step(name)) / 1e6
    nets[name].eval().zero_grad()
    megabytes[name] = 4 * comparison.count(name).params / 1e6, passing, training

# %% tags=["hide-input", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 3, figsize=(9, 2.4), sharey=True)
titles = (
    "weights",
    "inference, beside weights",
    "training, beside\nweights and gradients",
)
for k, (axis, title) in enumerate(zip(axes, titles, strict=True)):
    values = [megabytes[name][k] for name in some]
    bars = axis.barh(some, values, color=plots.PALETTE[("grey", "blue", "orange")[k]])
    axis.bar_label(bars, [f"{v:.0f}" for v in values], padding=3, fontsize=8.5)
    axis.set(xlabel="MB", xlim=(0, 1.2 * max(values)))
    axis.set_title(title, fontsize=10)
    axis.grid(visible=False)
axes[0].invert_yaxis()
plots.show(
    figure,
    alt="; ".join(
        f"{name}: weights {w:.0f} MB, inference {p:.0f} MB, training {t:.0f} MB"
        for name, (w, p, t) in megabytes.items()
    ),
    caption="Memory for one picture, each network at its own resolution. ViT-B/16 has the most weights and the smallest peak in "
    "inference; EfficientNet-B4 has the fewest weights of all and needs the most for training.",
)

# %% [markdown]
# EfficientNet-B4 is the smallest of the five by parameters. It is the largest by what it must keep for training: it works at 380 pixels, and widens most of its blocks
# sixfold. The depthwise convolution in the middle does few multiply-adds, but the wide maps before and after it must be kept.
#
# ## Why multiply-adds are not time
#
# A processor does two things: it multiplies, and it fetches and stores numbers. If a layer does many multiplications with each number that it fetches, the multiplier
# can be the limit. If it does few, the memory is ({cite:t}`williams2009roofline`). So divide: **multiply-adds for each number moved** (inputs, outputs, weights). Seven
# layers on one feature map of 96 channels, 56×56, and their time; and a copy of the map, which does nothing but move numbers:

# %% tags=["nbval-ignore-output"]
C, SIDE = 96, 56
layers = {
    "dense 3×3": nn.Conv2d(C, C, 3, padding=1),
    "dense 1×1": nn.Conv2d(C, C, 1),
    "depthwise 11×11": nn.Conv2d(C, C, 11, padding=5, groups=C),
    "depthwise 7×7": nn.Conv2d(C, C, 7, padding=3, groups=C),
    "depthwise 3×3": nn.Conv2d(C, C, 3, padding=1, groups=C),
    "GELU": nn.GELU(),
    "BatchNorm": nn.BatchNorm2d(C),
}
features = torch.randn(1, C, SIDE, SIDE, device=here.device)
steps, work, moved = {}, {}, {}
for name, layer in layers.items():
    layer.eval().requires_grad_(False).to(here.device)
    steps[name] = lambda layer=layer: layer(features)
    work[name] = measure.count_macs(layer, features.shape)
    moved[name] = 2 * features.numel() + measure.count_params(layer)
times = measure.take_turns(steps | {"copy": features.clone}, warmup=5, rounds=40)
most_macs = max(work[name] / times[name].median for name in layers)
most_numbers = 2 * features.numel() / times["copy"].median
print(f"the most: {most_macs / 1e9:.0f} GMACs a second,", end=" ")
print(f"and {most_numbers / 1e9:.1f} billion numbers a second, by the copy")
for name in layers:
    seconds, per_number = times[name].median, work[name] / moved[name]
    print(f"{name:16}{work[name] / 1e6:7.1f} million multiply-adds,", end="")
    print(f"{per_number:6.1f} for each number moved:", end="")
    print(f"{1e3 * seconds:6.2f} ms,{work[name] / seconds / 1e9:6.1f} GMACs a second")

# %% tags=["hide-input", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(7, 3.9))
intensity = {n: work[n] / moved[n] for n in layers if work[n]}
reach = np.geomspace(0.5, 2 * max(intensity.values()), 50)
limits = np.minimum(most_macs, most_numbers * reach)
style = dict(color=plots.PALETTE["grey"], lw=1.5, label="the two limits")
axis.plot(reach, limits / 1e9, **style)
told = []
for name, x in intensity.items():
    y = work[name] / times[name].median
    most = min(most_macs, most_numbers * x)
    axis.plot(x, y / 1e9, "o", color=plots.PALETTE["blue"])
    crowded = name in ("depthwise 7×7", "depthwise 11×11")
    left = dict(xytext=(-8, 0), ha="right") if crowded else dict(xytext=(8, -12))
    style = dict(textcoords="offset points", va="center", fontsize=9)
    axis.annotate(f"{name}: {y / most:.0%}", (x, y / 1e9), **left, **style)
    told.append(f"{name} at {x:.0f}: {y / 1e9:.0f}, {y / most:.0%} of its limit")
axis.set(xscale="log", yscale="log", xlabel="multiply-adds for each number moved")
axis.set(ylabel="GMACs a second", title="Two limits, and what layers make of them")
axis.set_xlim(reach[0], 4 * reach[-1])
axis.set_ylim(bottom=axis.get_ylim()[0] / 2)
axis.legend(loc="upper left")
plots.plain_numbers(axis.xaxis)
plots.plain_numbers(axis.yaxis)
plots.show(
    figure,
    alt="Rate against multiply-adds for each number moved, with a rising and a level limit. "
    + "; ".join(told),
    caption="The *roofline*, measured here: at the left a layer can be no faster than its numbers arrive (the pace of a copy), at the right no faster than products are made (the pace of the "
    "fastest layer). In per cent: how much of its limit a layer reaches. GELU and BatchNorm, with no multiply-adds, are not on it.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
fewer = work["dense 3×3"] / work["depthwise 3×3"]
faster = times["dense 3×3"].median / times["depthwise 3×3"].median
ledger.add("depthwise", fewer=fewer, faster=faster, beyond=fewer / faster)

# %% [markdown]
# A limit is a ceiling, not a forecast. The dense 1×1 has work enough for each number, and yet falls short of it. The depthwise 3×3 has a low limit and does not come near that either, so memory alone is not the reason:
# what is left is the library's *routine*, the cost of a call, and what else such timings cannot tell apart. A larger depthwise kernel does more with each number, and its multiply-adds come cheaper, which suits ConvNeXt's
# 7×7. How good the routines are differs by processor and version. That is why you measure.
#
# And the count gives nothing for GELU and BatchNorm, which move as many numbers as the depthwise layer. For a whole network, count **the numbers that its operations
# write**. It can be counted as exactly as the multiply-adds, for one implementation:

# %% tags=["nbval-ignore-output"]
written = {name: measure.numbers_written(step(name)) / 1e6 for name in timed}
for name in sorted(timed, key=lambda name: written[name] / gmacs[name]):
    print(f"{name:21}{written[name]:7.1f} million written,", end="")
    print(f"{written[name] / gmacs[name]:6.1f} million for each GMAC,", end="")
    print(f"{ms[name] / gmacs[name]:6.1f} ms for each GMAC")
columns = np.log([[gmacs[n], written[n], ms[n]] for n in timed])


def explained(*of: int) -> float:
    """Share of the variance of log time that these columns explain."""
    inputs = np.column_stack([np.ones(len(columns)), columns[:, of]])
    left = columns[:, 2] - inputs @ np.linalg.lstsq(inputs, columns[:, 2])[0]
    return 1 - left.var() / columns[:, 2].var()


print(f"of the variance of log time, multiply-adds explain {explained(0):.0%},")
print(f"numbers written {explained(1):.0%}, both together {explained(0, 1):.0%}")

# %% [markdown]
# The two networks at the end write most for each multiply-add by far, and take longest for each. Among the others the column says little. (Two quotients with the same denominator go together a little even if time had nothing
# to do with writing. So the last two lines ask without quotients, on logarithms, what the numbers written add to the multiply-adds. Little is left to add, and yet single networks are far off.) MobileNetV3 and EfficientNet-B4 are made of
# depthwise convolutions and squeeze-and-excitation, which the count of FLOPs likes and the clock does not. {cite:t}`dehghani2022efficiency` show more such cases:
# which network is "efficient" depends on which cost you put on the axis.
#
# ## Accuracy against cost
#
# A network is worth a look if no other is both cheaper and better. Those that remain are the **Pareto front**. Two rules: only rows of
# *one* set of data may stand on one front, and the axis must be the cost that you pay.

# %%
cost, value = [4, 4, 8, 15, 9], [80, 82, 84, 83, 82]
print("on the front, by position:", comparison.pareto(cost, value))

# %% [markdown]
# The front for equal data, for three costs. Grey rings are rows with *more* labels: they show what happens if you mix. And accuracies have noise: the band below the front is the rough rule from above, twice the standard error of a
# difference. Inside of it the order is open, both ways: a network there may belong on the front, and one on the front may be there by luck. Recipes differ, too: off the front can mean an old recipe.


# %% tags=["nbval-ignore-output"]
def row_name(result) -> str:
    usual = ("supervised", "FCMAE first", "MAE first")
    extra = "" if result.method in usual else f", {result.method}"
    resized = (
        "" if result.side == NETWORKS[result.network].side else f" at {result.side}"
    )
    return result.network + resized + extra


def milliseconds(result) -> float:
    """As timed above; NaN for what was not timed."""
    known = result.network in ms and result.side == NETWORKS[result.network].side
    return ms[result.network] if known else math.nan


COSTS = {
    "parameters (millions)": lambda result: result.cost.params / 1e6,
    "multiply-adds (billions)": lambda result: result.cost.macs / 1e9,
    "milliseconds here": milliseconds,
}
fronts = {}
for axis_name, cost_of in COSTS.items():
    rows = [r for r in EQUAL if not math.isnan(cost_of(r))]
    front = comparison.pareto([cost_of(r) for r in rows], [r.top1 for r in rows])
    fronts[axis_name] = [rows[i] for i in front]
    print(f"{axis_name}: {'; '.join(row_name(rows[i]) for i in front)}")

# %% tags=["hide-input", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 3, figsize=(10, 4.6), sharey=True)
for axis, (axis_name, cost_of) in zip(axes, COSTS.items(), strict=True):
    front = fronts[axis_name]
    axis.plot(
        [cost_of(r) for r in MORE],
        [r.top1 for r in MORE],
        "o",
        mfc="none",
        mec=plots.PALETTE["line"],
        ms=5,
    )
    axis.plot(
        [cost_of(r) for r in EQUAL],
        [r.top1 for r in EQUAL],
        "o",
        color=plots.PALETTE["blue"],
    )
    axis.step(
        [cost_of(r) for r in front],
        [r.top1 for r in front],
        where="post",
        color=plots.PALETTE["orange"],
        lw=1.5,
        zorder=1,
    )
    axis.plot(
        [cost_of(r) for r in front],
        [r.top1 for r in front],
        "o",
        color=plots.PALETTE["orange"],
    )
    edges = [*(cost_of(r) for r in front), axis.get_xlim()[1]]
    tops = np.array([r.top1 for r in front] + [front[-1].top1])
    band = dict(step="post", color=plots.PALETTE["orange"], alpha=0.15, lw=0)
    axis.fill_between(edges, tops - 2 * noise, tops, **band)
    for r in sum(fronts.values(), []):  # from a name at the right to its points
        axis.axhline(r.top1, color=plt.rcParams["grid.color"], lw=0.8, zorder=0)
    axis.grid(visible=False)
    axis.set(xscale="log", xlabel=axis_name)
    plots.plain_numbers(axis.xaxis)
axes[0].set(ylabel="ImageNet-1k top-1 (%)", title="Three costs, three fronts")
edge = axes[2].get_xlim()[1]
axes[2].set_xlim(right=edge)
anywhere = {row_name(r) for front in fronts.values() for r in front}
places = {row_name(r): (edge, r.top1) for r in EQUAL if row_name(r) in anywhere}
label(axes[2], places, 0.06, {})
plots.show(
    figure,
    alt="Accuracy against parameters, multiply-adds and milliseconds. "
    + " ".join(
        f"On the front for {name}: {', '.join(row_name(r) for r in front)}."
        for name, front in fronts.items()
    ),
    caption="Blue and orange: ImageNet-1k alone; orange: on the front. Names belong to heights, in all three panels, and stand for what is on some front. Grey rings: more labels or "
    "other pictures, not part of any front. What was not timed is missing at the right.",
)

# %%
by_params, by_macs = (
    {row_name(r) for r in fronts[name]}
    for name in ("parameters (millions)", "multiply-adds (billions)")
)
print("on the front by multiply-adds only:", sorted(by_macs - by_params))
print("on the front by parameters only:", sorted(by_params - by_macs))
sizes = len(by_params), len(by_macs)
ledger.add("front", sizes=sizes, holds=by_params != by_macs)

# %% [markdown]
# Look at EfficientNet-B4 and ConvNeXt-T: almost the same multiply-adds, and B4 is the better by most of a point. On a CPU thread ConvNeXt-T
# takes about half of its time, in some runs up to 70 %; which of the two is on the front by milliseconds depends on that. Time would need a band of its own. And no front knows about your task: these are accuracies on ImageNet-1k, which transfer to
# your pictures more or less well. Chapter [08](08_choosing_a_model.ipynb) takes it from here.
#
# ## Now you
#
# Predict first, then unfold.
#
# **1.** A table has ViT-B/16 at 384 pixels with 17.6 GMACs. How can you tell, without a computer, that something is wrong, and by what factor?
#
# <details><summary>Answer</summary>
# 17.6 belongs to 224 pixels. At 384 there are (384/224)² = 2.9 times as many tokens; the linear layers grow by that, attention by its square. So
# it must be more than 2.9 times as much. The count above says 3.2.
# </details>
#
# **2.** Network A has 84.0 % and network B has 83.8 % on ImageNet-1k. Both were trained once. Which do you take?
#
# <details><summary>Answer</summary>
# The cheaper one, or the one that is easier to use. By the rough rule the difference is smaller than twice its standard error. If you have both networks' answers, count the pictures on which exactly one is right, and
# know better.
# </details>
#
# **3.** You replace all activation functions of a network by cheaper ones. What happens to its FLOPs, and what to its time?
#
# <details><summary>Answer</summary>
# The FLOPs stay as they are, because activation functions count nothing. The time falls at most by what GELU takes longer than a bare copy: the cheaper function still reads and writes the whole map. More is saved
# only by computing it together with the layer before.
# </details>
#
# **4.** A blog has one figure with a front through DINOv2-g, Swin-B (85.2) and ResNet-50 (76.1). What do you ask?
#
# <details><summary>Answer</summary>
# For the budget of each point. The front connects 142 million pictures without labels, the labels of ImageNet-22k, and ImageNet-1k with an old recipe.
# It shows progress in data and recipes as well as in networks, and cannot tell them apart.
# </details>
#
# ## Summary
#
# * Parameters and multiply-adds can be counted. Do so, at the resolution of the accuracy.
# * Accuracies must be traced: labels, pictures, resolution, method, recipe. With unequal data you compare everything at once; with equal data, networks and recipes together.
# * Two networks are tested on the same pictures: count those on which exactly one is right.
# * In most rows of the circulating table a cell belongs to something else, and hidden labels are the most frequent kind.
# * Multiply-adds order networks roughly. Time and memory depend on what is moved, on the machine, on threads and batches: measure yours.
# * Every cost has its own front.
#
# ### Claims

# %% tags=["nbval-ignore-output"]
ledger

# %%
ledger.verdicts()

# %% [markdown]
# ## What to read
#
# * {cite:t}`dehghani2022efficiency` on costs that disagree; {cite:t}`williams2009roofline` on arithmetic and memory.
# * {cite:t}`steiner2022augreg` on what data, augmentation and regularisation do for a Vision Transformer, at equal and unequal budgets.
# * {cite:t}`touvron2019fixres` on the resolution of training and of evaluation.
# * `modarch_utils/studies/comparison.py` and `studies/circulating_table.py`: the tables of this chapter as data.
