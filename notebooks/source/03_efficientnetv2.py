# %% [markdown]
# # EfficientNetV2: how do you make a network fast to *train*?
#
# A network is run a billion times and trained once, they say, so papers count the multiplications of one run. Whoever trains sees another number: the hours on the clock. By 2021 the
# two had drifted apart. EfficientNet {cite:p}`tan2019efficientnet` was frugal with multiplications, and yet it was slow to train.
#
# {cite:t}`tan2021efficientnetv2` took the clock as their measure and asked the question of this chapter: **what in a network, and in the way we train it, wastes time?** They name three
# things (section 3.2): depthwise convolutions in the early layers; large images, whose memory forces small batches; and stages that are all scaled up alike. We take them one by one,
# with their remedies.
#
# **After this chapter you can**
#
# * write MBConv and Fused-MBConv, and say which part of a network wants which;
# * tell multiplications from milliseconds, on your own machine;
# * run a small architecture search whose reward contains the step time, and say how much of its result is luck;
# * train with images that grow, and say when that pays and when it does not;
# * say why a network is tested on larger images than it was trained on.

# %%
import dataclasses
import itertools

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
from modarch_utils import claims, diagrams, measure, plots, profile, records, zoo
from modarch_utils.data import datasets, photos, scenes
from modarch_utils.models import efficientnetv2
from modarch_utils.models.efficientnetv2 import STAGES, FusedMBConv, MBConv, SameConv2d
from modarch_utils.studies import block_costs, progressive_scenes, search
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.progressive import (
    LESSON,
    ProgressiveSchedule,
    Setting,
    fit_progressively,
)
from modarch_utils.training.randaugment import rand_augment
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import RandomResizedCrop

plots.use_style(dpi=90)
here = profile.current()
chapter = profile.pick(laptop=progressive_scenes.LAPTOP, gpu=progressive_scenes.GPU)
ledger = claims.Ledger("03_efficientnetv2")

# %% [markdown]
# ## What the paper promises
#
# EfficientNet comes in sizes from B0 to B7, V2 in S, M and L. The paper's main number compares V2-M with B7, which is about as accurate: how many times as fast does it train? Part of that factor is the *training*, not the
# network: train both the same way, and it shrinks. And the large saving of parameters in the abstract is against another network, ResNet-RS, a ResNet trained in a modern way:

# %%
promise = claims.paper("efficientnetv2.claims")
print(f"V2-M trains {promise['b7_training']} times as fast as B7 (section 5.1)")
print(f"both trained the same way: {promise['b7_training_equal']} times (section 6.1)")
print(f"V2-M against B7: {promise['b7_fewer_params']} % fewer parameters (section 6.1)")
print(f"V2-S against ResNet-RS: {promise['smaller']} times fewer (figure 1b)")

# %% [markdown]
# ## The two blocks
#
# How can a layer look at its neighbourhood and stay cheap? **MBConv** {cite:p}`sandler2018mobilenetv2` (the mobile inverted bottleneck, chapter 02's IB) does it in three steps: a 1×1 convolution *widens* the features to four or six
# times as many channels; a *depthwise* 3×3, one kernel for each channel by itself, *looks* around; a 1×1 makes them *narrow* again.
#
# * Why wide? Between the steps stands an activation, *SiLU* ($x \cdot \mathrm{sigmoid}(x)$, a smooth ReLU), and it loses part of what it is given. In many channels there is room for
#   that. The narrow end therefore has no activation at all.
# * Why depthwise? Among 4·C channels a full 3×3 would take 9·4C·4C = 144·C² multiply-adds at each position. The depthwise one takes 36·C.
# * Why narrow? What travels from block to block, along the shortcut too, then has few channels.
#
# **Fused-MBConv** puts one full 3×3, from C channels to 4·C, in place of the first two steps:

# %% tags=["hide-input"]
plots.show(
    diagrams.fused_mbconv(),
    alt="Two columns of boxes, and a panel between them. MBConv: 1×1 convolution from 24 to 96 channels, BatchNorm and "
    "SiLU, depthwise 3×3, BatchNorm and SiLU, SE, 1×1 convolution to 24 channels, BatchNorm, plus the input by a "
    "shortcut. The panel shows SE: mean over the map, 1×1 to 6 channels, SiLU, 1×1 to 96, sigmoid, times the input. "
    "Fused-MBConv: 3×3 convolution from 24 to 96, BatchNorm and SiLU, 1×1 to 24, BatchNorm, plus the input.",
    caption="MBConv (left) and Fused-MBConv (right) with expansion 4, read off the modules; beside the arrows stands the shape C×H×W. The "
    "first block of most stages has stride 2 in its 3×3, or more channels at its end, and then no shortcut.",
)

# %% [markdown]
# Many drawings leave out two things: the shortcut, and *squeeze-and-excitation* (SE, {cite:t}`hu2018squeeze`), which looks at the mean of each channel over the whole map and decides
# how much of the channel to let through.
#
# ### MBConv, one line at a time
#
# Take the course's block apart and do its work by hand, watching the shapes. (The names are timm's: `pw`, *pointwise*, is the first 1×1, `dw` the depthwise 3×3, `pwl` the last 1×1, *linear*, without an activation. `.eval()` lets
# BatchNorm use stored means and variances.)

# %%
torch.manual_seed(0)
x = torch.randn(2, 64, 28, 28)  # (N, C, H, W)
block = MBConv(64, 64, expand=4).eval()
with torch.no_grad():
    up = F.silu(block.bn1(block.conv_pw(x)))
    around = F.silu(block.bn2(block.conv_dw(up)))
    print("1×1 up:       ", tuple(up.shape))
    print("depthwise 3×3:", tuple(around.shape))
    print("weights for each channel:", block.conv_dw.weight[0].numel())

# %% [markdown]
# SE turns the means into one factor between 0 and 1 for each channel; then the block comes back and adds its input:

# %%
with torch.no_grad():
    means = around.mean((2, 3), keepdim=True)
    squeezed = F.silu(block.se.conv_reduce(means))
    factors = block.se.conv_expand(squeezed).sigmoid()
    out = x + block.bn3(block.conv_pwl(around * factors))
    steps = means, squeezed, factors
    print("means, squeezed, factors:", *(tuple(t.shape[1:]) for t in steps))
    print("equals the module:", torch.allclose(out, block(x), atol=1e-5))

# %% [markdown]
# ```{admonition} Common mistake: how wide is the squeeze?
# :class: warning
# A quarter, but of what? Of the channels that *enter the block* (64 → 16 here), not of the 256 that SE works on. The other reading gives an SE four times as wide, a network that trains
# without complaint, and a parameter count that fits no paper.
# ```
#
# ### Fused-MBConv
#
# One step less, and in the paper's networks no SE. It has 9·64 = 576 weights for each wide channel, where the depthwise convolution had 9:

# %%
fused = FusedMBConv(64, 64, expand=4).eval()
with torch.no_grad():
    up = F.silu(fused.bn1(fused.conv_exp(x)))
    out = x + fused.bn2(fused.conv_pwl(up))
    print("full 3×3 up:", tuple(up.shape))
    print("weights for each channel:", fused.conv_exp.weight[0].numel())
    print("equals the module:", torch.allclose(out, fused(x), atol=1e-5))

# %% [markdown]
# What do the two cost on paper?

# %%
plain = MBConv(64, 64, expand=4, se=0.0)
costs = {"MBConv without SE": plain, "MBConv": block, "Fused-MBConv": fused}
for name, each in costs.items():
    params = measure.count_params(each)
    macs = measure.count_macs(each, (1, 64, 28, 28)) / 1e6
    print(f"{name:18}{params:9,} parameters{macs:7.1f} million multiply-adds")

# %% [markdown]
# The fused block has several times as many of both. Whoever counts multiplications would never choose it. Before we ask the clock, look where the paper put it.
#
# ```{admonition} Common mistake: "fused for small models, MBConv for large ones"
# :class: warning
# Both blocks are in *every* size of the family. Fused-MBConv makes the **early stages** of a network, where maps are still large and channels few; MBConv, with SE, makes the **late**
# ones. (A *stage* is a row of blocks on maps of one size.)
# ```
#
# The family has three sizes, S, M and L. Here is the smallest, V2-S, stage by stage; *shape* is what comes out, C×H×W, and SE the squeeze as a share of the channels that enter a block:

# %%
side = 300 // 2  # S trains at 300 pixels; its stem is a 3×3 with stride 2
print("stage operator     kernel stride blocks expand   SE  shape")
for number, stage in enumerate(STAGES["s"], start=1):
    side = -(-side // stage.stride)
    operator = {"mbconv": "MBConv", "fused": "Fused-MBConv"}[stage.op]
    print(
        f"{number:5} {operator:13}{stage.kernel:5}{stage.stride:7}{stage.layers:7}"
        f"{stage.expand:7}{stage.se or '-':>6}  {stage.channels}×{side}×{side}"
    )

# %% [markdown]
# With expansion 1, stage 1 has nothing to widen: its blocks are a single 3×3 convolution with a shortcut.
#
# Where are the parameters of S, and where is its work? Count both by stage (without the classifier, 1.3 of the 21.5 million; shares are rounded):

# %%
with torch.device("meta"):
    network = efficientnetv2.efficientnetv2_s()
parts = {"stem": network.conv_stem}
parts |= {f"stage {i}": stage for i, stage in enumerate(network.blocks, start=1)}
parts |= {"head": network.conv_head}
shape, share = (1, 3, 300, 300), {"parameters": [], "multiply-adds": []}
for part in parts.values():
    share["parameters"].append(measure.count_params(part))
    share["multiply-adds"].append(measure.count_macs(part, shape))
    shape = tuple(part(torch.empty(shape, device="meta")).shape)
share = {what: 100 * np.array(counts) / sum(counts) for what, counts in share.items()}
print(f"{'':13}", *(f"{name:>8}" for name in parts))
for what, percent in share.items():
    print(f"{what:14}" + "".join(f"{p:7.0f} %" for p in percent))
    print(f"  Fused-MBConv (stages 1 to 3) has {percent[1:4].sum():.0f} %")

# %% [markdown]
# The fused stages hold hardly any parameters and do half of the work: early layers are cheap to store and expensive to run.
#
# ```{admonition} Common mistake: a table with two endings
# :class: warning
# Some copies of the paper let S end with 272 channels in the last stage and 1792 in the 1×1 convolution behind it (the head). That network exists, as timm's `efficientnetv2_rw_s`. The authors' code, their weights
# and this course have 256 and 1280 there, and 21.5M parameters. The "24M" in many lists comes from the paper's figure 1b.
# ```
#
# ## Equal to the library
#
# timm has S twice: `tf_efficientnetv2_s` computes what the authors' TensorFlow code does, and `efficientnetv2_s` what one writes in PyTorch. Ours can be either. Copy our weights into
# each and compare. (A fresh BatchNorm has mean 0 and variance 1 stored and changes nothing, so a mistake in it would not be seen: we give it random ones.)

# %%
FORMS = {"same": "tf_efficientnetv2_s", "symmetric": "efficientnetv2_s"}
images, answers, gaps = torch.randn(2, 3, 64, 64), {}, {}


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return ((a - b).abs().max() / b.abs().max()).item()


for padding, name in FORMS.items():
    torch.manual_seed(1)  # the same weights in both forms
    ours = efficientnetv2.efficientnetv2_s(padding=padding).eval()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 1, 2)
    theirs = timm.create_model(name).eval()
    print(name, theirs.load_state_dict(ours.state_dict()))
    with torch.no_grad():
        answers[padding] = theirs(images)
        gaps[padding] = gap(ours(images), answers[padding])
    print("  largest relative difference at most 1e-5:", gaps[padding] <= 1e-5)
between = gap(answers["symmetric"], answers["same"])
print("the two forms, same weights, differ by more than 1 %:", between > 0.01)

# %% [markdown]
# Look at the last line. Both forms have the same parameters under the same names, so weights of one load into the other, and Python has nothing to complain about. Yet their answers
# differ.
#
# The difference is in how a stride of 2 treats an even side. A 3×3 window needs one more pixel than there is, and TensorFlow's "same" padding adds it *behind*. PyTorch's padding adds
# one on *both* sides. Which pixels does each window then cover? Ask the gradient: a pixel that a window covers changes that output.

# %%
convs = {
    'TensorFlow\'s "same"': SameConv2d(1, 1, 3, stride=2, bias=False),
    "symmetric, PyTorch's": nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False),
}
windows = {name: diagrams.covered(conv, 8) for name, conv in convs.items()}
for name, found in windows.items():
    print(f"{name}: {found}")

# %% tags=["hide-input"]
plots.show(
    diagrams.windows(windows, 8),
    alt='A row of eight pixels with a place for padding on each side, twice. With "same" padding the four windows '
    f"cover {windows[list(windows)[0]]}; with symmetric padding {windows[list(windows)[1]]}.",
    caption='The four windows of a 3×3 convolution with stride 2 over eight pixels; a dot marks each middle. "Same" pads on the right alone; PyTorch pads on both sides, but here no window reaches the right one.',
)

# %% [markdown]
# With symmetric padding, the same weights look one pixel further left, and up. One pixel at each of five halvings adds up: where all sides are even, shifts of 1, 2, 4, 8 and 16 image
# pixels make 31, and as a position of the last map stands for 32 pixels, that map sits almost a whole position off. (BatchNorm's epsilon differs too: 1e-3 in TensorFlow's form, 1e-5 in PyTorch's.) Take the `tf_` model for
# weights that came from TensorFlow.
#
# ## FLOPs are not latency
#
# MBConv was made to save multiply-adds, which vision papers count as FLOPs, and in the count above it does, four or five to one. **Which one trains faster?**
#
# The map below is a record of one CPU thread: the time of a step forward and backward through MBConv, divided by that through Fused-MBConv, at many widths and sizes of the map. As in
# the paper's table, MBConv has SE and Fused-MBConv has none. The two take turns, and each cell shows the *median*, the middle one, of their ratios. The *quartiles* are the values a
# quarter and three quarters of the way through the sorted ratios: half of all measurements lie between them.

# %%
costs = records.load("fused_map")
kinds = ("cell", "without_se", "kept", "fresh")
cells, bare, kept, fresh = (block_costs.recorded(costs, kind) for kind in kinds)
bands = block_costs.crossing_bands(cells)

# %% tags=["hide-input"]
WIDTHS, SIDES = costs["settings"]["widths"], costs["settings"]["sides"]
figure, axis = plt.subplots(figsize=(8.5, 4.4))
block_costs.draw_map(axis, cells, bands, STAGES["s"])
for name, color in (("Fused-MBConv", "amber"), ("MBConv", "pink")):
    style = dict(color=plots.PALETTE[color], mec="k", label=f"V2-S stage: {name}")
    axis.plot([], [], "o", ms=10, **style)
axis.set_title("MBConv's time / Fused-MBConv's")
axis.legend(loc="upper right", fontsize=9, frameon=True)
plots.show(
    figure,
    alt="Map over channels and size of the feature map. The ratio falls from left to right: at 16 channels it lies above 1 at every "
    "size, at 256 below a half. A narrow grey band, from about 22 channels on small maps to 36 on the largest, marks where it passes 1. Stages 2 to 6 of EfficientNetV2-S lie right of "
    "the band, from the upper middle, few channels and large maps, to the lower right.",
    caption="The record, one CPU thread; the batch of each cell makes its widest tensor hold about a million numbers. Orange, above 1: the fused block is faster. Purple: MBConv is. Grey band: "
    "neither is clearly faster. Circles: stages 2 to 6 of EfficientNetV2-S, for images of 262 pixels (stages 5 and 6 have expansion 6, the map 4). Blank: not measured.",
)

# %% [markdown]
# MBConv has a quarter of the arithmetic at the left edge, and yet the fused block is the faster one. MBConv's advantage grows with the *channels*; the size of the map matters little by
# itself. But in a network the two go together: early stages have few channels and large maps, late ones many channels and small maps. A network walks over this map from the upper left
# to the lower right.
#
# On this thread the band lies left of stages 2 to 6 of V2-S, the fused ones too. (Stage 1 is not on the map: with expansion 1 it has no MBConv to compare with.) The authors chose for TPUs (Google's processors for networks) and GPUs, where fused early stages did pay (their table 3, quoted in the
# ledger).
#
# ### Why does a quarter of the arithmetic not take a quarter of the time?
#
# A processor multiplies, and it moves numbers from and to memory. So divide one by the other, at each position of the map (the weights serve all positions, so we leave them out):

# %%
C = 24  # channels that enter the block; its wide part has 4 * C
layers = {  # multiply-adds, and numbers read and written, at a position
    "full 3×3, C to 4C": (9 * C * 4 * C, C + 4 * C),
    "1×1, C to 4C": (C * 4 * C, C + 4 * C),
    "depthwise 3×3 on 4C": (9 * 4 * C, 4 * C + 4 * C),
    "scaling by SE on 4C": (4 * C, 4 * C + 4 * C),
}
for name, (macs, moved) in layers.items():
    print(f"{name:20}{macs:6} multiply-adds, {macs / moved:6.1f} for each number moved")

# %% [markdown]
# In the full 3×3 each number that is read takes part in 36·C multiply-adds, nine positions times 4·C outputs; in the depthwise one in nine, however wide the block is. The printed quotients are smaller, as they count the written numbers, too: 36·C / 5 and 9 / 2. Such a quotient is
# called *arithmetic intensity*. Where it is low, the processor waits for memory, and saved multiplications save no time; where it is high, the multiplications are what takes long, and
# there are more of them the wider the block. For each multiply-add, a depthwise 3×3 takes almost six times as long as a 1×1 (the record; see the claims). [Chapter 06](06_comparison.ipynb) times single layers along this quotient, larger depthwise kernels among them.
#
# SE reads the widest tensor again for its means, reads and writes it once more to scale it, and multiplies hardly at all. How much of the map is SE's doing? The record has MBConv without it, too:

# %% tags=["hide-input"]
side = costs["settings"]["large_side"]
row = [c for c in cells if c.side == side]
rows = {
    "MBConv with SE, as in V2": (row, "blue", "-"),
    "MBConv without SE": ([c for c in bare if c.side == side], "green", "-"),
    "with SE, four times the batch": (kept, "orange", "--"),
    "the same in fresh memory": (fresh, "pink", ":"),
}
figure, axis = plt.subplots(figsize=(7, 3.6))
block_costs.draw_lines(axis, rows)
grey = dict(color=plots.PALETTE["grey"], label="multiply-adds")
axis.plot(WIDTHS, [c.mac_ratio for c in row], "--", **grey)
axis.set_ylim(bottom=0)
axis.set_title(f"Feature maps of {side}×{side}")
axis.legend(fontsize=9)
plots.show(
    figure,
    alt="Ratio of times against channels. With SE the line falls from 1.2 at 16 channels to 0.4 at 256; without SE from 0.9 to 0.4; a "
    "larger batch follows the first line, and in fresh memory it lies above it and jumps. The ratio of multiply-adds stays near 0.2, below all.",
    caption="The record: medians, with quartiles shaded. Above 1 the fused block is faster. Dashed grey: what the multiply-adds alone would say.",
)

# %% [markdown]
# Compare blue and green. **Without SE nearly all of the fused block's lead is gone on this thread.** On these maps MBConv is then ahead at every width. (At 16 channels on the two largest maps
# of the record, not drawn here, the fused block still leads, by 2 and 5 %.) So it was mostly SE that made MBConv the slower one at the left. The rest is the distance from the green line to the grey dashed one: at
# 16 channels MBConv without SE has a quarter of the multiply-adds and takes nine tenths of the time, so each of them costs more than three times as much, and its depthwise convolution does much to that. A batch
# four times as large (orange) changes little.
#
# *Latency*, the time of one run, *belongs to a block, a batch, a machine and its settings together.* The dotted line is a warning of that kind:
#
# <details><summary>The dotted line: the same blocks in fresh memory</summary>
# The C library may give the memory of a large tensor back to the system after use, and fetch it anew, page by page, in the next step. Whether it does depends on sizes and on what ran
# before, and MBConv has more large tensors. Between the orange dashed and the dotted line no multiply-add differs; only where the memory comes from does. All other lines were measured with memory kept
# (<code>block_costs.keep_memory</code>), which the next cell asks for too, where the system has such a call.
# </details>
#
# ### Your machine
#
# The same measurement, live, on a part of the map. With `MODARCH_PROFILE=gpu` these lines measure the whole map on a GPU, in half precision (numbers of 16 bits).

# %%
kept_here = block_costs.keep_memory()
part = profile.pick(laptop=block_costs.LAPTOP, gpu=block_costs.GPU)
options = dict(device=here.device, half=part.half, repeats=15)
live = list(block_costs.grid(part.widths, part.sides, **options))

# %% tags=["hide-input", "profile-dependent"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
block_costs.draw_map(left, live)
left.set_title("MBConv / Fused-MBConv, this machine")
colours = dict(zip(part.sides, ("blue", "green", "pink", "sky", "grey"), strict=False))
lines = {}
for side, color in colours.items():
    for some, style, name in ((cells, "-", "record"), (live, "*", "live")):
        row = [c for c in some if c.side == side]
        lines[f"{side}×{side}, {name}"] = row, color, style
block_costs.draw_lines(right, lines)
right.plot([], [], "*", ms=12, color="w", mec="k", label="live, with quartiles")
right.set_title("Live over the record")
right.legend(fontsize=9)
plots.show(
    figure,
    alt="Left: a small map of ratios measured on this machine. Right: the same as stars with bars, over the record's lines, which fall from above 1 to below 0.5. "
    "On a machine that is busy with other work the stars can lie off the lines.",
    caption="Live measurement: medians of 15 pairs of steps, bars from quartile to quartile. Another processor has another map, and one that is busy with other work "
    "moves single stars, as caches and memory are shared.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("equal", gap=max(gaps.values()), holds=max(gaps.values()) <= 1e-5)
ledger.add("forms", between=between, holds=between > 0.01)
narrow = [[c for c in some if c.width == WIDTHS[0]] for some in (cells, bare)]
wide = [c for c in cells + bare if c.width in WIDTHS[-2:]]
least, least_bare = (min(c.ratio for c in some) for some in narrow)
ends = dict(least=least, bare=least_bare, most=max(c.ratio for c in wide))
clear = all(c.q1 > 1 for c in narrow[0]) and all(c.q3 < 1 for c in wide)
assert clear  # with SE; without it, see the verdict
always = clear and all(c.q1 > 1 for c in narrow[1])
shared = dict(widths=WIDTHS, minutes=costs["minutes"])
ledger.add("faster_block", **ends, **shared, holds=always)
kernels = {r["name"]: r for r in costs["results"] if r["kind"] == "kernel"}
dear, one = kernels["depthwise 3×3"], kernels["1×1"]["macs"]
excess, lower = (dear[q] * one / dear["macs"] for q in ("relative", "q1"))
ledger.add("depthwise", excess=excess, holds=lower > 1)

# %% [markdown]
# ## A search for training speed
#
# If time cannot be read off the multiply-adds, a search must *measure* it. That is the "training-aware" search of the paper's section 3.3. For each stage it chooses the operator, the
# kernel and the number of layers, and the expansion. The channels are given. A candidate is trained briefly, and its **reward** is one number:
#
# $$ A \cdot S^{w} \cdot P^{v}, \qquad w = -0.07,\; v = -0.05 $$
#
# with accuracy $A$, the measured time $S$ of a training step, and parameters $P$. Ours takes S and P relative to the network that has MBConv in every stage and two layers in each, so a faster or smaller network has a
# reward *above* its accuracy in percent. For comparison, a second reward has the multiply-adds in the place of S. The small exponents mean that accuracy comes first:

# %%
power = claims.paper("efficientnetv2.search")
print(f"w = {power['time']}, v = {power['params']}")
print(f"up to {power['models']} candidates, about {power['epochs']} epochs each")
print(f"twice the step time costs {1 - search.reward(1, 2, 1):.1%} of the reward")
print(f"twice the parameters cost {1 - search.reward(1, 1, 2):.1%}")

# %% [markdown]
# Our space has three stages on 32-pixel scenes. We look at it the way the paper does, by random sampling. (Here all stages share one expansion.) And to see what each *stage* prefers, the record also has all eight ways to
# fuse the stages of one and the same network; one of the drawn networks is among them, so there are 39 candidates in all. Each candidate is trained with five seeds. (In the names below, M is MBConv, F fused; then kernel x layers; e is the expansion.)

# %%
study = records.load("architecture_search")
settings = study["settings"]
patterns = settings["patterns"]
print(len(search.space()), "candidates in the space")
print(len(settings["drawn"]), "drawn at random,", len(patterns), "ways to fuse")
print("channels", settings["channels"], "at 16×16, 8×8 and 4×4")
print("for example", settings["drawn"][0])

# %% [markdown]
# A live search first: three more candidates, drawn, trained and timed now.

# %%
budget = search.SETTINGS
train, val = (
    scenes.load(n, budget.image_size, seed=stream, framing=budget.framing)
    for stream, n in ((0, budget.train_images), (1, budget.val_images))
)
candidates = search.sample(3, seed=1)
steps = search.step_seconds(candidates, device=here.device, repeats=9)
sets = (train.images, train.shape), (val.images, val.shape)
scores = [search.train(c, 0, *sets)["val"] for c in candidates]
for candidate in candidates:
    print(candidate.name)

# %%
found = search.results(study)
names, validation = found.names, found.val  # (candidates, seeds)
reward = {
    "step time": search.reward(validation.T, found.time, found.params).T,
    "multiply-adds": search.reward(validation.T, found.macs, found.params).T,
}

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 3.6))
kinds = {"ways to fuse": (slice(None, 8), "blue"), "drawn": (slice(8, None), "grey")}
for name, (chosen, color) in kinds.items():
    means = [claims.mean(v) for v in validation[chosen]]
    style = dict(fmt="o", color=plots.PALETTE[color], ms=5, lw=1, label=name)
    y, half = [m.value for m in means], [m.half for m in means]
    axis.errorbar(found.time[chosen], y, half, **style)
style = dict(ms=8, mfc="w", mec=plots.PALETTE["pink"], mew=2, label="live")
axis.plot([s.relative for s in steps], scores, "D", **style)
axis.set(xscale="log", xlabel="time of a training step, MBConv everywhere = 1")
axis.set_xticks([0.3, 0.5, 0.7, 1], ["0.3", "0.5", "0.7", "1"])
axis.minorticks_off()
axis.set_ylabel("validation scenes (%)")
axis.legend(loc="lower right")
plots.show(
    figure,
    alt="A cloud of candidates: accuracy against step time, and three live ones. Accuracy rises slowly with the time; the intervals of most candidates overlap.",
    caption="The record: mean accuracy over five seeds with its interval at 95 %, against measured step time. Diamonds: the live search, one seed.",
)

# %% [markdown]
# Longer steps buy some accuracy, and the bars are wide: with five seeds, neighbours cannot be told apart.
#
# ### Which operator wins where?
#
# The eight ways to fuse answer this without luck in the draw: for each stage there are four pairs of networks that differ in nothing but that stage's operator.

# %%
effects = {}
for stage in range(3):
    after, before = found.pairs(stage)
    effects[stage, "time"] = found.time[after] / found.time[before]
    effects[stage, "macs"] = found.macs[after] / found.macs[before]
    values = {"accuracy": found.test} | {f"reward, {k}": v for k, v in reward.items()}
    for name, v in values.items():
        change = claims.contrast(v[after].mean(0), v[before].mean(0))
        effects[stage, name] = change

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
costly = {"step time": ("time", "blue"), "multiply-adds": ("macs", "grey")}
gains = dict(zip(values, ("ink", "orange", "green"), strict=True))
for stage in range(3):
    for shift, (name, (key, color)) in zip((-0.1, 0.1), costly.items(), strict=True):
        style = dict(color=plots.PALETTE[color], label=None if stage else name)
        left.plot([stage + shift] * 4, effects[stage, key], "o", **style)
    for shift, (name, color) in zip((-0.2, 0, 0.2), gains.items(), strict=True):
        change = effects[stage, name]
        style = dict(color=plots.PALETTE[color], label=None if stage else name)
        right.errorbar(stage + shift, change.value, change.half, fmt="o", **style)
left.axhline(1, color=plots.PALETTE["ink"], lw=1)
left.set(ylabel="fused / MBConv", title="Cost of fusing one stage", yscale="log")
left.set_yticks([0.8, 1, 1.5, 2, 3], ["0.8", "1", "1.5", "2", "3"])
left.minorticks_off()
right.axhline(0, color=plots.PALETTE["ink"], lw=1)
right.set(ylabel="points", title="Gain from fusing one stage")
for axis in (left, right):
    axis.set_xticks(range(3), ["stage 1\n(early)", "stage 2", "stage 3\n(late)"])
    axis.set_xlim(-0.5, 2.5)
left.legend(fontsize=9, loc="upper left")
right.legend(fontsize=9, loc="lower left")
plots.show(
    figure,
    alt="Left: fusing stage 1 or 2 shortens the step and fusing stage 3 lengthens it, while multiply-adds rise in all three. Right, accuracy and the two rewards: "
    + "; ".join(
        f"stage {s + 1}, {n}: {effects[s, n]:+.1f}" for s in range(3) for n in gains
    ),
    caption="Four pairs of networks for each stage that differ in that stage's operator alone. Left: each pair's ratio. Right: mean change on test scenes (accuracy) and "
    "validation scenes (rewards), with intervals at 95 % over five seeds.",
)

# %% [markdown]
# The clock is clear. Fusing stage 1 or 2 *shortens* the step although the multiply-adds rise; fusing stage 3, with 128 channels, lengthens it by a fifth. The accuracy is not clear: all three of its
# intervals hold zero. So the reward on step time forbids only one thing, a fused *late* stage, whose many parameters it charges too. In favour of fused *early* stages it says nothing
# that five seeds can tell from zero.
#
# ### How much of the winner is luck?
#
# The best ten by each reward, with their intervals. To see how firm the first place is, draw five seeds again and again from the five, some twice and some not at all (a *bootstrap*),
# and count how often each candidate comes first. Does the one with the highest mean come first in more than half of the draws?

# %%
seeds = validation.shape[1]
draws = np.random.default_rng(0).integers(0, seeds, (4000, seeds))
firsts = {k: r[:, draws].mean(2).argmax(0) for k, r in reward.items()}
order = {k: np.argsort(-r.mean(1)) for k, r in reward.items()}
same = np.mean(firsts["step time"] == firsts["multiply-adds"])
for what, won in firsts.items():
    print(f"by {what}: first in most draws:", np.mean(won == order[what][0]) > 0.5)
print("the two rewards agree on the winner in most draws:", same > 0.5)

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True)
told = []
for axis, (what, best) in zip(axes, order.items(), strict=True):
    for rank, i in enumerate(best[:10]):
        mean, wins = claims.mean(reward[what][i]), np.mean(firsts[what] == i)
        style = dict(fmt="o", color=plots.PALETTE["blue"], capsize=3)
        axis.errorbar(mean.value, rank, xerr=mean.half, **style)
        axis.text(100.5, rank, f"{wins:.0%}", va="center", fontsize=9)
        told.append(f"{what} {rank + 1}: {names[i]} {mean:.1f}, first in {wins:.0%}")
    axis.set_yticks(range(10), [names[i] for i in best[:10]], fontsize=9)
    axis.set(ylim=(9.6, -0.6), xlim=(81, 104), xlabel="reward", title=f"By {what}")
plots.show(
    figure,
    alt="The ten best candidates by each reward, with intervals that all overlap. "
    + "; ".join(told),
    caption="The record: mean reward and its interval at 95 % over five seeds. On the right (not on the axis), in how many of 4,000 bootstrap draws the candidate comes first.",
)

# %% [markdown]
# The intervals overlap from the first place to the tenth, and no candidate wins half of the draws. Read the names: the winner by step time has MBConv in the middle and fuses the *late* stage, which
# the paper's network does not, and a candidate of the paper's pattern (fused, fused, MBConv) comes second, four thousandths of a point behind. **Nothing here tells the two patterns apart.**
# Nor does the winner contradict the pairs above: these differ in one operator alone, with two layers in a stage; its fused late stage has one layer, and so fewer parameters to be charged for.
#
# Do the two rewards find different networks? Choose both winners with four seeds, compare them on the fifth, and do so for each seed. The ledger has the result: undecided.
#
# So what has the search shown? That the *clock* tells the stages apart, and that multiply-adds point the other way in the early ones. That in a network with two layers a stage, a fused late stage does not pay. And that
# with this budget a search among 39 candidates finds good networks, and not *the* best one. The paper trains up to a thousand, and gives one figure for the network that it found.

# %% tags=["hide-input", "nbval-ignore-output"]
step = {r["name"]: r for r in study["results"] if r["kind"] == "step"}
early, never, everywhere = (step[patterns[k]] for k in ("1-2", "none", "1-3"))
shared = dict(minutes=study["minutes"])
sooner = [early["quartiles"][1] < r["quartiles"][0] for r in (never, everywhere)]
ledger.add("early_step", never=never, early=early, **shared, holds=sooner[0])
ledger.add("every_step", early=early, every=everywhere, **shared, holds=sooner[1])
shared |= dict(seeds=seeds)
ledger.add("late_accuracy", effect=effects[2, "accuracy"], **shared)
change = effects[2, "reward, step time"]
turned = dict(value=-change.value, low=-change.high, high=-change.low)
ledger.add("late_reward", effect=change._replace(**turned), **shared)
of_patterns = dict(zip(patterns, reward["step time"], strict=False))
best, second = sorted(of_patterns, key=lambda k: of_patterns[k].mean())[-1:-3:-1]
rival = second if best == "1-2" else best
lead = claims.contrast(of_patterns["1-2"], of_patterns[rival])
ledger.add("reward", effect=lead, rival=rival, **shared)
judged = []
for seed in range(seeds):  # winners of the other seeds, judged on this one
    chosen = [np.delete(r, seed, 1).mean(1).argmax() for r in reward.values()]
    judged.append(reward["step time"][chosen, seed])
lead = claims.contrast(*np.transpose(judged))
ledger.add("two_rewards", effect=lead, same=same, **shared)

# %% [markdown]
# ## From S to M and L
#
# How does one make a larger network of a good small one? EfficientNet multiplies *every* stage's layers by one number, and its images grow too: B7, the largest, has 3.1 times the layers of B0, the smallest, and
# images of 600 pixels (numbers of the released code). In the V2 paper the same authors object to both (section 3.2). Stages do not all cost the same, and large images fill the memory, so that batches become
# small and training slow. So V2, they say, adds its layers mostly to the *late* stages, and no image is larger than 480 pixels, even in testing (section 3.3).

# %%
table = claims.paper("efficientnetv2.models")
layers, sizes = {}, {}
for size in "sml":
    with torch.device("meta"):
        net = getattr(efficientnetv2, f"efficientnetv2_{size}")()
    pixels, quoted = table[size]["image_size"], table[size]
    gmacs = measure.count_macs(net, (1, 3, pixels, pixels)) / 1e9
    sizes[size] = measure.count_params(net), gmacs
    layers[size] = [stage.layers for stage in STAGES[size]]
    print(f"{size.upper()}: {'-'.join(map(str, layers[size])):19} at {pixels} pixels")
    print(f"   {sizes[size][0]:,} parameters, README {quoted['params'] / 1e6:.1f}M")
    print(f"   {gmacs:.1f} billion multiply-adds, README {quoted['gmacs']}")
late = sum(layers["l"][4:]) - sum(layers["s"][4:])
print(f"blocks added from S to L: {sum(layers['l']) - sum(layers['s'])},")
print(f"of them in stages 5 to 7: {late}")

# %% [markdown]
# Two thirds of the blocks that L has more than S stand in stages 5 to 7. But look at the factors, too: each of stages 1 to 6 has 1.7 to 2.1 times as many blocks as in S, the fused ones as well. What
# differs from EfficientNet's rule is above all a seventh stage, which S does not have.
#
# (S is counted at 384 pixels, the size of its *test*: see the end of this chapter.) How did the README of the authors' code get its numbers? The code, executed, builds L with 118,515,272 parameters: exactly ours, and timm's.
# The README's 119.5M is not what it builds. TensorFlow's profiler counts all operations, sums and activations among them; half of its counts are 8.41, 24.70 and 56.28 billion, the README's FLOPs. We count products
# alone, which are a little fewer.
#
# ### Accuracy for training time
#
# What does all this buy together? The paper's figure 1a:

# %% tags=["hide-input"]
timed = claims.paper("efficientnetv2.training_time")
figure, axis = plt.subplots(figsize=(7, 4))
families = {
    "EfficientNetV2": ("v2", "blue", "o-"),
    "NFNet": ("nfnet", "green", "D--"),
    "EfficientNet": ("v1", "grey", "s--"),
}
for name, (key, color, style) in families.items():
    x, y = zip(*timed[key].values(), strict=True)
    axis.plot(x, y, style, color=plots.PALETTE[color], label=name)
    for label, at in timed[key].items():
        put = dict(xytext=(6, -11), textcoords="offset points", fontsize=9)
        axis.annotate(label, at, color=plots.PALETTE[color], **put)
again = promise["b7_hours_progressive"], promise["b7_top1_progressive"]
style = dict(ms=8, mfc="w", mec="k", label="B7, trained as V2 (section 6.1)")
axis.plot(*again, "s", **style)
axis.set(xscale="log", xlabel="hours on 32 TPU cores", ylim=(82.2, 86.1))
axis.set_ylabel("ImageNet top-1 (%)")
axis.set_xticks([10, 20, 50, 100], ["10", "20", "50", "100"])
axis.minorticks_off()
axis.legend(loc="lower right")
plots.show(
    figure,
    alt="ImageNet accuracy against training hours for three families. "
    + "; ".join(
        f"{name}: "
        + ", ".join(f"{n} {h:g} hours {t} %" for n, (h, t) in timed[k].items())
        for name, (k, *_) in families.items()
    )
    + f". B7 trained as V2 is: {again[0]} hours, {again[1]} %.",
    caption="Figure 1a of the paper, read off to about half an hour, without networks that first saw a larger ImageNet (21k classes). Only V2, and B7 once more, are trained with images that grow.",
)

# %% [markdown]
# No point lies above and left of V2's three: whatever is as accurate takes longer. (Such points form the *Pareto front*.) The most accurate point is not V2's: NFNet-F4, a ResNet without BatchNorm
# {cite:p}`brock2021nfnet`, is ahead of V2-L, for five times the hours. The open square is B7 trained as V2 is: 54 hours in place of 139. So 85 hours were the training's; the rest of the way, to V2-M's 13, is the network's.
#
# How an image can grow while a network trains is the next question. (The authors' released `main.py` does it somewhat differently from their paper: for S, images of 171, 214, 257 and
# 300 pixels, and *RandAugment*, random changes of colour and shape whose strength is one number, up to 10 where the paper has 15.)

# %% tags=["hide-input"]
ledger.add("s_params", params=sizes["s"][0], holds=sizes["s"][0] == 21_458_488)
far = max(abs(gmacs / table[s]["gmacs"] - 1) for s, (_, gmacs) in sizes.items())
ledger.add("macs", sizes=sizes, within=far)
near = [s for s, (count, _) in sizes.items() if abs(count - table[s]["params"]) < 5e4]
assert near == ["s", "m"]
assert sizes["l"][0] == claims.paper("efficientnetv2.executed")["l_params"]
ledger.add("ml_params", sizes=sizes, verdict="partly")

# %% [markdown]
# ## Progressive learning
#
# Most of a training run's time goes into pixels. Do all epochs need all of them?
#
# An early network knows nothing: it has to find out that there are edges, colours and round things, and a
# small picture shows those. So {cite:t}`tan2021efficientnetv2` begin with small images and enlarge them in a
# few stages. Others had done that before, and often lost accuracy. What is new is the reason they give (section 4.1): on small images a network has less *capacity*, so it needs weak regularisation; on large ones it
# overfits more easily, and needs strong. So the regularisation (*regularisation* is whatever keeps a network from learning its pictures by heart: RandAugment; *mixup*, which blends two pictures and their labels; *dropout*, which sets some features to zero at random) has to grow
# with the image. Here are the four stages of a schedule that we will train with in a moment:

# %%
plan = progressive_scenes.schedule("growing", "adaptive", 60)
stages = plan.stages()
images, labels = progressive_scenes.load(plan, "close", 6)

# %% tags=["hide-input"]
figure, axes = plt.subplots(len(stages), 6, figsize=(7.5, 5.4))
for row, (first, last, setting) in zip(axes, stages, strict=True):
    pictures = images[setting.image_size]
    if setting.randaugment:
        pictures = rand_augment(pictures, setting.randaugment, 0)
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(plots.to_image(picture), interpolation="nearest")
        axis.axis("off")
    told = f"epochs {first}-{last}\n{setting.image_size} pixels\n"
    told += f"RandAugment {setting.randaugment:.0f}\nmixup {setting.mixup:.2f}\n"
    style = dict(transform=row[0].transAxes, ha="right", va="center", fontsize=9)
    row[0].text(-0.1, 0.5, told + f"dropout {setting.dropout:.2f}", **style)
plots.show(
    figure,
    alt="Six scenes in four rows. From row to row they become sharper, from 32 to 64 pixels, and more "
    "distorted: rotated, sheared, with changed colours.",
    caption="The four stages of a schedule: images grow, and so do the distortions (RandAugment), the mixing "
    "of two images and labels (mixup, not drawn) and dropout.",
)

# %% [markdown]
# The rule is a straight line: stage $i = 0, \dots, M - 1$ takes every setting from its first to its last value,
# $\phi_i = \phi_0 + (\phi_{M-1} - \phi_0)\, i / (M - 1)$ (the paper's algorithm 1). Below it is written out for
# the paper's S and for a popular shorter version with three stages:

# %%
table = claims.paper("efficientnetv2.progressive")
ends = [Setting(**table["s"][end]) for end in ("first", "last")]
paper_s = ProgressiveSchedule(*ends, table["stages"], table["epochs"])
for title, schedule in (("the paper's S", paper_s), ("three stages", LESSON)):
    print(title)
    for first, last, s in schedule.stages():
        print(f"  epochs {first:3}-{last:3}: {s.image_size} px, RandAugment", end=" ")
        print(f"{s.randaugment:4.1f}, mixup {s.mixup:.1f}, dropout {s.dropout:.2f}")

# %% [markdown]
# ```{admonition} Common mistake
# :class: warning
# The shorter version (three stages of 50 epochs, 128 to 256 pixels, mixup to 0.4, no dropout) is often
# given as EfficientNetV2's schedule. **None of the paper's models was trained with it.** They have four stages in
# 350 epochs, dropout grows too, and S uses no mixup at all. The 85.7 % often printed beside it is the *large*
# model's. And "small images are easier to optimise" is a guess: what the paper measures is time and accuracy.
# ```
#
# ### What does a pixel cost?
#
# Half the side is a quarter of the pixels. Is it a quarter of the time?

# %%
sizes = sorted(images)
plans = {
    size: ProgressiveSchedule(Setting(size, 0, 0, 0), Setting(size, 0, 0, 0), 1, 1)
    for size in sizes
}
seconds = progressive_scenes.epoch_seconds(plans, rounds=3)
relative = seconds[sizes[0]] / seconds[sizes[-1]]
print("smaller images take less time:", relative < 1)
print("but more than their share of pixels:", relative > (sizes[0] / sizes[-1]) ** 2)

# %% [markdown]
# ### Does a small picture want weaker regularisation?
#
# The authors' reason can be tested by itself, as they do in table 5. Train at *one* size with *one* strength of RandAugment, and test at that size. If they are right, strength pays more
# where pictures are larger:

# %%
record = records.load("progressive_scenes")
settings = record["settings"]
SIDES, MAGNITUDES = (
    [*dict.fromkeys(c[k] for c in settings["best_lr"] if k in c)]
    for k in ("side", "randaugment")
)
grid = {
    (side, magnitude): records.select(record, "test", side=side, randaugment=magnitude)
    for side in SIDES
    for magnitude in MAGNITUDES
}
pays = {side: grid[side, MAGNITUDES[-1]] - grid[side, MAGNITUDES[0]] for side in SIDES}
for side, gain in pays.items():
    print(f"{side} pixels, strong - none: {claims.mean(gain):+.2f} points")
turn = claims.contrast(pays[SIDES[-1]], pays[SIDES[0]])
print(f"that gain, large - small: {turn:+.2f} points")

# %% tags=["hide-input"]
means = np.array([[grid[s, m].mean() for m in MAGNITUDES] for s in SIDES])
figure, axis = plt.subplots(figsize=(5.2, 3))
axis.imshow(means - means.max(1, keepdims=True), cmap="Blues")
for (row, column), mean in np.ndenumerate(means):
    half = claims.mean(grid[SIDES[row], MAGNITUDES[column]]).half
    text = f"{mean:.1f} ± {half:.1f}"
    box = dict(fc="w", alpha=0.7, lw=0, pad=2)
    axis.text(column, row, text, ha="center", va="center", fontsize=9, bbox=box)
axis.set_xticks(range(len(MAGNITUDES)), MAGNITUDES)
axis.set_yticks(range(len(SIDES)), [f"{side} pixels" for side in SIDES])
axis.set(xlabel="magnitude of RandAugment", title="Test scenes at that size (%)")
axis.grid(False)
plots.show(
    figure,
    alt="Test accuracy by image size and magnitude of RandAugment. "
    + "; ".join(f"{s} pixels, {m}: {v.mean():.1f} %" for (s, m), v in grid.items()),
    caption=f"The record, {settings['strength_epochs']} epochs, ten seeds: mean with half of its interval at 95 %. The darker, the better for this size.",
)

# %% [markdown]
# What the authors predict shows between 32 and 64 pixels, as a smaller *loss* and not as a gain: strong RandAugment (here without mixup and dropout) costs 2.8 points at 32 and 0.6 at 64. Between 48 and 64 there is no trend.
#
# ### Does it pay?
#
# A fair test has to say what is held equal. We train a small EfficientNetV2 (the paper's pattern, seven blocks) to name the shape in a scene. Images are *fixed* at 64 pixels or *growing*
# from 32 to 64; and each kind comes with no regularisation, weak (RandAugment 3, mixup 0.05, dropout 0.1), strong (twice that), or adaptive (none to strong, the paper's way). There are 300 training scenes and eight shapes. Two budgets:
#
# * **equal epochs**: as many images and updates, so the growing run takes less time;
# * **equal time**: the fixed run has seven tenths of the epochs.
#
# All are scored on 64-pixel scenes, each at its own best learning rate (by seed 0's validation scenes). The rival is the *strongest* fixed run of a budget, chosen on validation scenes. One point is the margin: less we
# do not call a loss. First **a slice, live**: one seed, few epochs.


# %%
def scores(sizes: str, kind: str, epochs: int, framing: str = "close") -> np.ndarray:
    case = dict(sizes=sizes, regularisation=kind, epochs=epochs, framing=framing)
    return records.select(record, "test", **case)


short = 30  # epochs
compared = {int(n): c for n, c in settings["compared"].items() if n != "wide"}
lengths = [*compared]
live = {}
for case in (compared[short][0], compared[short][-1]):
    sizes, kind = case["sizes"], case["regularisation"]
    plan = progressive_scenes.schedule(sizes, kind, short)
    live[sizes] = progressive_scenes.train(plan, "close", case["lr"], 0)
    print(f"{sizes}, regularisation {kind}: {plan.epochs} epochs")

# %% tags=["hide-input"]
cost = settings["epoch_seconds"]
saving = cost["fixed"] / cost["growing"]
figure, axis = plt.subplots(figsize=(7, 4))
colors = {"fixed": plots.PALETTE["grey"], "growing": plots.PALETTE["blue"]}
told, styles = (
    [],
    dict(zip(settings["regularisation"], (":", "-.", "--", "-"), strict=True)),
)
for sizes, kind in itertools.product(colors, styles):
    mine = dict(sizes=sizes, regularisation=kind, framing="close").items()
    ran = sorted(c["epochs"] for c in settings["best_lr"] if mine <= c.items())
    means = [scores(sizes, kind, n).mean() for n in ran]
    style = dict(color=colors[sizes], ls=styles[kind], lw=1, label=f"{sizes}, {kind}")
    axis.plot(np.array(ran) * cost[sizes], means, **style)
for case, marker in zip(sum(compared.values(), []), "oso" * len(lengths), strict=True):
    sizes, kind, n = (case[k] for k in ("sizes", "regularisation", "epochs"))
    middle = claims.mean(scores(sizes, kind, n))
    style = dict(fmt=marker, color=colors[sizes], capsize=2, ms=5)
    axis.errorbar(n * cost[sizes], middle.value, middle.half, **style)
    told.append(f"{sizes}, {kind}, {n} epochs: {middle:.1f} %")
style = dict(color=plots.PALETTE["orange"], label="live, seed 0", zorder=3)
times = [short * cost[sizes] for sizes in live]
axis.plot(times, [r["test"] for r in live.values()], "*", ms=12, **style)
axis.set_xscale("log", base=2)
ticks = [2, 4, 8, 16, 32, 64]
axis.set_xticks(ticks, [f"{t} s" for t in ticks])
axis.set(xlabel="training time on one core", ylabel="test scenes (%)")
axis.set_title("Accuracy for time")
axis.legend(loc="lower right", fontsize=8, ncols=2)
plots.show(
    figure,
    alt="Test accuracy against training time for fixed and growing images with four regularisations each. "
    + "; ".join(told),
    caption="The record. Lines: means. Dots: growing images with adaptive regularisation, and the strongest fixed run of as many epochs (squares: of as much time), with intervals at 95 %. "
    "Stars are the live slice. Time is the median time of an epoch of each kind, times the epochs.",
)

# %%
gaps = {}
for n, (epochs, time, ours) in compared.items():
    mine = scores("growing", ours["regularisation"], n)
    print(f"{n} epochs of growing images, {len(mine)} seeds")
    for budget, rival in (("epochs", epochs), ("time", time)):
        theirs = scores("fixed", rival["regularisation"], rival["epochs"])
        gaps[n, budget] = gap = claims.contrast(mine, theirs)
        against = f"against fixed, {rival['regularisation']:8}"
        print(f"   equal {budget:6}, {against} {gap:+.2f} points")
    strong = claims.contrast(mine[:5], scores("fixed", "strong", time["epochs"]))
    print(f"   equal time  , against fixed, strong   {strong:+.2f} points")
print(f"time of fixed / growing at equal epochs: {saving:.2f}")

# %% [markdown]
# **Short runs lose.** After 8 and 15 epochs growing images are 14 points behind the fixed ones of as much time, after 30 still 1.6. And yet they lead fixed images *with strong regularisation*, in as much time, by 10 points or so
# after 15 and 30 epochs. That lead, which short demonstrations like to show, is the price of strong regularisation in a short run.
#
# **From 60 epochs on they lose less than the margin.** With as many epochs they are 0.3 and 0.5 points behind (the latter visibly), and have saved more than a third of the time. But fixed images for seven tenths of the epochs save
# about as much (by the ratio above they take 13 % more), and against these we see no difference: after 120 epochs it lies within one point, after 60 it holds zero. So on
# close scenes images that grow pay against *as many epochs*, as the paper counts, and not against stopping earlier.
#
# ### Is it the size, or the regularisation?
#
# Everything is crossed, so each can be asked by itself: growing images against fixed ones *with the same regularisation* (the mean over all four); and, with growing images, adaptive
# regularisation against each of the others. A third question rides along: what if the first images have 16 pixels and not 32?

# %%
kinds = [*settings["regularisation"]]


def five(sizes: str, kind: str, n: int) -> np.ndarray:
    return scores(sizes, kind, n)[: len(settings["seeds"])]


by_size, by_kind, from_16 = {}, {}, {}
for n in lengths:
    starts = [five(start, "adaptive", n) for start in ("growing", "from 16")]
    from_16[n] = claims.contrast(*starts)
    print(f"{n:3} epochs, lost by beginning at 16 pixels: {from_16[n]:+.2f} points")
    both = [np.mean([five(s, k, n) for k in kinds], 0) for s in ("growing", "fixed")]
    by_size[n] = claims.contrast(*both)
    for rival in kinds[:-1]:
        pair = five("growing", "adaptive", n), five("growing", rival, n)
        by_kind[n, rival] = claims.contrast(*pair)

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4))
places = np.arange(len(lengths))


def draw(axis, found, shift=0, **style) -> None:
    both = np.transpose([(f.value, f.half) for f in found])
    axis.errorbar(places + shift, *both, fmt="o", capsize=3, **style)


draw(left, by_size.values(), color=plots.PALETTE["blue"])
for shift, rival, color in zip(
    (-0.15, 0, 0.15), kinds, ("grey", "sky", "orange"), strict=False
):
    style = dict(color=plots.PALETTE[color], label=f"adaptive - {rival}")
    draw(right, [by_kind[n, rival] for n in lengths], shift, **style)
for axis in (left, right):
    axis.axhline(0, color=plots.PALETTE["ink"], lw=1)
    axis.set(xlabel="epochs", ylabel="points")
    axis.set_xticks(places, lengths)
left.set_title("Growing - fixed, same regularisation")
right.set_title("Growing images: adaptive - rival")
right.legend(fontsize=9)
plots.show(
    figure,
    alt="Left, growing minus fixed at equal epochs: "
    + "; ".join(f"{n}: {by_size[n]:+.1f}" for n in lengths)
    + ". Right, adaptive minus rival: "
    + "; ".join(f"{n}, {r}: {v:+.1f}" for (n, r), v in by_kind.items()),
    caption="The record at equal epochs, five seeds: mean differences with intervals at 95 %.",
)

# %% [markdown]
# *The size*: with the same regularisation growing images cost 24, 21 and 10 points in the short runs, 0.8 after 60 epochs, and on average nothing visible after 120. (Means of unequal parts: after 30 epochs
# most of it is the strong regularisation's, see the curves.) *The regularisation*: with growing images, adaptive is far ahead of weak and strong in the short runs, and after 8 epochs behind none. After 60 it beats weak by 2 and strong by 3 points, and its lead
# over none holds zero by a hair; after 120 no rival differs visibly. *16 pixels*: a loss in the short runs, none after 60 epochs, and after 120 a small gain.
#
# ### Small objects: predict first
#
# In a *close* scene the object fills a third of the frame or more, and 32 pixels show it well. In a *wide* scene
# it fills a twentieth to an eighth. **Will images that grow lose more there?**

# %% tags=["hide-input"]
wide = {size: scenes.load(4, size, seed=0, framing="wide").images for size in (32, 64)}
figure, axes = plt.subplots(2, 4, figsize=(6, 3.2))
for row, (size, pictures) in zip(axes, wide.items(), strict=True):
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(plots.to_image(picture), interpolation="nearest")
        axis.axis("off")
    row[0].set_title(f"{size} pixels", fontsize=9)
plots.show(
    figure,
    alt="Four wide scenes at 32 and at 64 pixels: the object is a few pixels large in the first row.",
    caption="Wide scenes at the first and the last size of the schedule.",
)

# %%
theirs, mine = (
    records.select(record, "test", **c) for c in settings["compared"]["wide"]
)
on_wide, rival = claims.contrast(mine, theirs), settings["compared"]["wide"][0]
print(f"wide scenes, growing, adaptive: {claims.mean(mine):.1f} %")
print(f"in equal time, against fixed, {rival['regularisation']}: {on_wide:+.2f} points")

# %% [markdown]
# The reverse: in as much time they are 3 points *ahead*, five seeds, size and regularisation together. It may come from the 36 epochs that they have more: fixed images for 120 epochs were not run here.

# %% tags=["hide-input", "nbval-ignore-output"]
gains, at = claims.paper("efficientnetv2.progressive_gains"), lengths[-1]
shared = dict(minutes=record["minutes"])
margin = ledger.data["progressive"]["margin"]
kept = [n for n in lengths if gaps[n, "epochs"].low > -margin]
result = dict(saving=saving, gap=gaps[at, "epochs"], epochs=at, kept=kept or "none")
pays_ = saving >= gains["resnet50_224"] and at in kept
ledger.add("progressive", **result, **shared, holds=pays_)
told = ", ".join(f"{gaps[n, 'time']:+.1f} at {n} epochs" for n in lengths)
ledger.add("equal_time", told=told, epochs=short, effect=gaps[short, "time"], **shared)
best = max(
    kinds[:-1],
    key=lambda k: records.select(
        record, "val", sizes="growing", regularisation=k, epochs=at
    ).mean(),
)
ledger.add("adaptive", effect=by_kind[at, best], rival=best, epochs=at, **shared)
ledger.add("strength", effect=turn, **shared)
ledger.add("small_objects", effect=on_wide, epochs=at, **shared)
ledger.add("first_size", effect=from_16[lengths[0]], epochs=lengths[0], **shared)

# %% [markdown]
# ## The same, larger, on a GPU
#
# With `MODARCH_PROFILE=gpu` the next cell trains EfficientNetV2-S on Imagenette (ten classes of ImageNet), from 128 to 300 pixels with the paper's
# regularisation for S; in the laptop profile the same lines train the small network on scenes.

# %% tags=["profile-dependent"]
ends = [
    dataclasses.replace(end, image_size=size)
    for end, size in zip((paper_s.first, paper_s.last), chapter.sizes, strict=True)
]
plan = ProgressiveSchedule(*ends, num_stages=2, epochs=max(4, here.epochs), multiple=8)
pictures = {}
for *_, s in plan.stages():
    options = dict(n=chapter.picture_count, size=s.image_size)
    data = datasets.load(chapter.pictures, "train", **options)
    pictures[s.image_size] = data.images
net = progressive_scenes.build(len(data.classes), 0, chapter.network)
config = TrainConfig(batch_size=50, lr=2e-3, autocast=here.autocast)
history = fit_progressively(net, pictures, data.labels, None, plan, config)
print("sizes:", list(pictures))
print("it learns:", history.train_loss[-1] < history.train_loss[0])

# %% [markdown]
# ## Why test at 384 what was trained at 300?
#
# timm's configuration of V2-S names two sizes, one for training and a larger one for testing. Should a test not look like the training? ([Chapter 07](07_pretrained_models.ipynb) shows
# how a pretrained network is fed in all other respects: sizes, means, names of classes.)

# %%
with torch.device("meta"):
    v2s = timm.create_model("tf_efficientnetv2_s")
for test in (False, True):
    wanted = resolve_model_data_config(v2s, use_test_size=test)["input_size"]
    print("test: " if test else "training:", wanted)

# %% [markdown]
# A training crop is a random part of the photograph, enlarged to the full input; a test shows the whole middle. So things look *larger* in training than in a test of the same size.
# {cite:t}`touvron2019fixres` pointed it out. By how much? Draw many of timm's default crops, and compare the magnification (pixels of the input for each pixel of the photograph) with
# that of a test at 300 pixels:

# %%
torch.manual_seed(0)
part, form = (0.08, 1.0), (3 / 4, 4 / 3)  # of the area, and width : height
enlarged = []
for name in photos.names():
    photo = photos.load(name)
    in_test = 300 / min(photo.size)  # the short side becomes 300
    for _ in range(500):
        *_, height, width = RandomResizedCrop.get_params(photo, part, form)
        enlarged.append(300 / (height * width) ** 0.5 / in_test)
at_300, at_384 = np.median(enlarged), np.median(enlarged) * 300 / 384
larger, alike = at_300 > 1.2, abs(at_384 - 1) < 0.1
print("tested at 300, things are more than 20 % larger in training:", larger)
print("tested at 384, training and test agree within 10 %:", alike)

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.6, 2.7))
bins = np.arange(0.7, 4.01, 0.1)
axis.hist(enlarged, bins=bins, color=plots.PALETTE["sky"], label="training crops")
for at, name, colour, style in (
    (1, "test at 300", "ink", "-"),
    (384 / 300, "test at 384", "orange", "-"),
    (at_300, "median in training", "blue", "--"),
):
    axis.axvline(at, color=plots.PALETTE[colour], lw=2, ls=style, label=name)
axis.set(xlabel="size of an object, test at 300 pixels = 1", ylabel="crops")
axis.set_title("How large do things look?")
axis.legend()
plots.show(
    figure,
    alt=f"Histogram of the size of objects in training crops, with a median of {at_300:.2f} times that in a test at 300 pixels "
    "and a tail up to 3.5. A line marks the test at 384, 1.28 times, close to the median.",
    caption="3,500 random crops of seven photographs. A test at 384 pixels shows things about as large as the median training crop does.",
)

# %% [markdown]
# ### So, should I just test larger?
#
# Try it with real weights: EfficientNet-Lite0's on a laptop, V2-S's with `MODARCH_PROFILE=gpu`. Six photographs, and names that we would accept for each:

# %%
ACCEPTED = {  # the nearest that ImageNet's 1,000 names come to what one can see
    "chelsea": {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"},
    "coffee": {"espresso", "cup", "coffee mug"},
    "rocket": {"missile", "projectile"},
    "china": {"palace", "monastery", "stupa"},
    "flower": {"daisy"},
    "motorcycle_left": {"moped", "motor scooter"},
}
imagenet = ImageNetInfo()
classes = [imagenet.index_to_description(k).split(",")[0] for k in range(1000)]
accepted = [[name in good for name in classes] for good in ACCEPTED.values()]
accepted = torch.tensor(accepted)  # (photographs, classes)

# %% [markdown]
# The same photographs at six sizes, around the one that the network was trained at. The classifier sees only the last feature map's mean over its positions, the *pooled* vector, and we
# watch how long that vector is:

# %% tags=["profile-dependent"]
network = zoo.load_timm(chapter.pretrained)
config = resolve_model_data_config(network)
trained = config["input_size"][1]
sides = sorted({round(trained * f / 32) * 32 for f in (0.7, 0.85, 1, 1.15, 1.3, 1.45)})
start = min(range(len(sides)), key=lambda k: abs(sides[k] - trained))
pooled, active = [], []  # a vector for each photograph; share of features above zero
for side in sides:
    prepare = create_transform(**{**config, "input_size": (3, side, side)})
    batch = torch.stack([prepare(photos.load(name)) for name in ACCEPTED])
    with torch.inference_mode():
        features = network.forward_features(batch)
    pooled.append(features.mean((2, 3)))
    active.append((features > 0).float().mean())
pooled, active = torch.stack(pooled), np.array(active)  # (sizes, photographs, features)
length = pooled.norm(dim=2, keepdim=True)
print(chapter.pretrained, "trained at", trained, "tested at", sides)

# %% [markdown]
# Give these vectors to the classifier as they are, and once more after stretching each photograph's vector to the length that it has at the trained size:

# %%
with torch.inference_mode():
    answers = {
        "as they are": network.classifier(pooled).softmax(dim=2),
        "stretched": network.classifier(pooled * length[start] / length).softmax(dim=2),
    }
mass = {name: (p * accepted).sum(2).numpy() for name, p in answers.items()}
plain, stretched = (m.mean(1) for m in mass.values())
first = answers["as they are"].argmax(2)
hits = [accepted[torch.arange(len(row)), row].sum().item() for row in first]

# %% tags=["profile-dependent"]
print("accepted names in first place at each size:", hits, "of", len(accepted))
print("the mean probability falls with every step:", bool((np.diff(plain) < 0).all()))
print("so does the share of active features:", bool((np.diff(active) < 0).all()))
shorter = bool((np.diff(length.mean((1, 2))) < 0).all())
print("and so does the length of the pooled vector:", shorter)
falls = [abs(np.ptp(m[start:])) for m in (plain, stretched)]
print("stretched, it falls less than half as far:", falls[1] < falls[0] / 2)

# %% tags=["hide-input", "profile-dependent"]
figure, axis = plt.subplots(figsize=(7.4, 3.4))
for k, (name, marker) in enumerate(zip(ACCEPTED, "os^Dv*", strict=True)):
    axis.plot(sides, mass["as they are"][:, k], marker=marker, ms=5, lw=1.3, label=name)
ink = plots.PALETTE["ink"]
axis.plot(sides, plain, color=ink, lw=3, label="mean")
axis.plot(sides, stretched, color=ink, lw=2, ls="--", label="mean, stretched")
axis.axvline(trained, color=plots.PALETTE["grey"], ls=":", lw=1.5)
axis.set(xlabel="test size (pixels)", xticks=sides, ylim=(0, 1.03))
axis.set_ylabel("probability of the accepted names")
axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
told = [
    ", ".join(f"{v:.2f} at {s}" for s, v in zip(sides, values, strict=True))
    for values in (plain, stretched)
]
plots.show(
    figure,
    alt=f"Probability of accepted names for six photographs against the test size; mean {told[0]}; with stretched vectors {told[1]}.",
    caption=f"{chapter.pretrained} on six photographs at several sizes (dotted: trained at {trained}). With six photographs, read the trend and not the points.",
)

# %% [markdown]
# On the laptop, from 192 pixels on, the most probable name is an accepted one for all six. Yet the confidence *falls* with every step (thick solid line). The lines above say why: on a larger picture a smaller share of the features is active (above zero),
# pooling averages over all positions, and a shorter vector reaches the classifier. Shorter vectors make smaller logits (the numbers that go into the softmax), and smaller logits a flatter softmax. The test of that story is
# the dashed line: stretch the vectors back, and nearly all of the fall from 224 to 320 pixels is gone. (Below 224 the vectors are longer than usual, so there it lies lower.)
#
# {cite:t}`touvron2019fixres` saw the same shift and retrain the last layers at the test size; EfficientNetV2 does not (section 5.1). Three conclusions:
#
# * A larger test size can gain accuracy, by matching the sizes of objects, as they found; ask for the one that the configuration names.
# * It shifts probabilities. A threshold of 0.5, tuned at one size, means something else at another.
# * Six photographs cannot measure accuracy. They can measure a shift that all of them share from the trained size upwards.

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("crops", at_300=at_300, at_384=at_384, holds=larger and alike)
shift = np.ptp(mass["as they are"], axis=0).max()
means = dict(plain=plain, sides=sides, side=sides[start], middle=plain[start])
means |= dict(usual=stretched[-1], network=chapter.pretrained)
ledger.add("test_size", **means, beyond=shift)

# %% [markdown]
# ## Now you
#
# Predict first, then unfold.
#
# **1.** At 16 channels Fused-MBConv does about four times the multiply-adds of MBConv, and is faster. How?
#
# <details><summary>Answer</summary>
# It moves less. MBConv's depthwise convolution and its SE read and write the widest tensor several times and do little with each number. On the record's thread SE is what decides:
# without it MBConv takes between nine tenths of the fused block's time and a twentieth more, by the size of the map.
# </details>
#
# **2.** A friend halves the image size throughout and reports that training is four times as fast at the same accuracy on half-size test images. What is missing?
#
# <details><summary>Answer</summary>
# The test at full size. Progressive learning keeps the last stage at full size, and the score is taken there.
# </details>
#
# **3.** You load `tf_efficientnetv2_s`'s weights into `efficientnetv2_s`. No error. Is all well?
#
# <details><summary>Answer</summary>
# No: padding and BatchNorm's epsilon differ, every stride-2 layer looks one pixel further up and left, and nothing warns you.
# </details>
#
# ## Summary
#
# * Multiply-adds do not tell the time. What a layer does with each number that it moves counts too: measure the block, at the width and size where you will use it.
# * With SE in MBConv, as in V2, a full 3×3 beats it where channels are few and loses where they are many. On the record's thread "few" is fewer than V2-S has in its second stage; without SE
#   little of the lead of the full 3×3 is left.
# * A search optimises what its reward measures, as far as its seeds can tell. Ours is sure of the clock, and of little else.
# * V2 grows by a late stage of its own more than by stretching, and caps its images.
# * Images that grow save time in long runs, at less than a point of accuracy; stopping a fixed run earlier saves as much. In short runs they lose to fixed images *without* regularisation. On small objects they win, in
#   equal time. A fair rival has the best regularisation, too.
# * A test at a larger size matches the objects of training, and shifts the probabilities.
#
# ### Claims

# %% tags=["nbval-ignore-output"]
ledger

# %%
ledger.verdicts()

# %% [markdown]
# ## What to read
#
# * {cite:t}`tan2021efficientnetv2`, sections 3 and 4; {cite:t}`tan2019efficientnet` for the family before.
# * `modarch_utils/models/efficientnetv2.py` and `training/progressive.py`: each can be read in one sitting.
