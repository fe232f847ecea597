# %% [markdown]
# # DINOv2: what can a network learn from pictures that nobody labelled?
#
# A label says "cat". It does not say where the cat is, which of its legs are hidden, or how far away it sits. A network
# trained on labels keeps what helps to say "cat" and may drop the rest. And labels are dear: somebody has to look at
# every picture.
#
# {cite:t}`oquab2024dinov2` trained a Vision Transformer on 142 million pictures without a single label, and then *froze* it. The
# frozen features served for classification, segmentation, depth and retrieval, with a small layer on top and nothing else.
# The question of this chapter: **if there are no labels, what is the task, and why does the network not cheat?**
#
# **After this chapter you can**
#
# * write self-distillation: crops, student and teacher, and the three losses of DINOv2;
# * switch off each of its safeguards and recognise the collapse that follows;
# * find out what a frozen feature knows, with k-NN, a linear probe, segmentation and depth;
# * cut class token, registers and patches apart, for pictures of any shape;
# * tell what a small model can show of DINOv2 and what it cannot.

# %%
import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
import transformers
from matplotlib.patches import FancyArrowPatch, Rectangle
from modarch_utils import claims, measure, plots, profile, records, zoo
from modarch_utils.data import photos, scenes
from modarch_utils.devices import plain_attention
from modarch_utils.models import dinov2
from modarch_utils.models.dinov2 import DinoVisionTransformer, SwiGLU
from modarch_utils.models.layers import init_fan_in
from modarch_utils.training import dino, probes
from modarch_utils.training.crops import Crops, multi_crop
from modarch_utils.training.dino import DinoConfig, DINOv2
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
)

plots.use_style(dpi=110)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
here = profile.current()
ledger = claims.Ledger("04_dinov2")
INK = plots.PALETTE["ink"]

# %% [markdown]
# ## A picture first
#
# The course ships two small networks of DINOv2's kind, a million parameters each, both trained on rendered scenes without a
# label. You will see how. First look at what one of them has learned. It loads as Meta's do, with `transformers` alone; with
# `MODARCH_PROFILE=gpu` it *is* one of Meta's.

# %%
folder = zoo.folder(here.dino_patches)
processor = AutoImageProcessor.from_pretrained(folder)
patcher = zoo.whole(AutoModel.from_pretrained(folder), folder)
patcher = patcher.eval().to(here.device)
print(type(patcher).__name__)

# %% [markdown]
# It gives one vector for each patch of 8×8 pixels (14×14 in Meta's). One short function turns pictures into the numbers that these networks
# want, a second one asks for the vectors:


# %%
def as_input(images: torch.Tensor) -> torch.Tensor:
    """uint8 pictures (N, 3, H, W), normalised the way the network was trained."""
    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in (processor.image_mean, processor.image_std)
    )
    return ((images / 255 - mean) / std).to(here.device)


@torch.no_grad()
def look(images: torch.Tensor, network: nn.Module) -> probes.Frozen:
    """Class token and patches of pictures (N, 3, H, W), a hundred pictures at a time."""
    patch = network.config.patch_size
    first = 1 + getattr(network.config, "num_register_tokens", 0)  # you will see why
    tokens = torch.cat(
        [
            network(as_input(batch)).last_hidden_state.cpu()
            for batch in images.split(100)
        ]
    )
    grid = images.shape[2] // patch, images.shape[3] // patch
    return probes.Frozen(tokens[:, 0], tokens[:, first:], grid)


# %% [markdown]
# Eight scenes that the network has never seen, in twice the size of those it has. The vectors have a hundred numbers and more; take the three
# principal components of each picture's patches and paint them red, green and blue. Patches of one colour are alike *to the network*.

# %%
SIDE = here.dino_size
shown = scenes.render(8, min(2 * SIDE, 224), seed=2, framing="close", start=500)
features = look(shown.images, patcher)
each = [features.take(slice(i, i + 1)) for i in range(len(shown))]
components = torch.cat([probes.principal_maps(one) for one in each])
print("patches:", features.grid, "in each picture, three numbers for each patch")


# %% tags=["hide-input"]
def painted(maps: torch.Tensor) -> np.ndarray:
    """Three components (3, H', W') as colours, the outermost 2 % cut off."""
    low, high = (maps.flatten(1).quantile(q, 1)[:, None, None] for q in (0.02, 0.98))
    return plots.to_image((maps - low) / (high - low))


figure, axes = plt.subplots(3, 8, figsize=(10, 3.9))
for k, column in enumerate(axes.T):
    column[0].imshow(plots.to_image(shown.images[k]))
    column[1].imshow(painted(components[k]), interpolation="nearest")
    column[2].imshow(components[k, 0] > 0, cmap="gray", interpolation="nearest")
    for axis in column:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
for axis, title in zip(
    axes[:, 0], ("scene", "three\ncomponents", "first above 0"), strict=True
):
    axis.set_ylabel(title, fontsize=9)
plots.show(
    figure,
    alt="Eight rendered scenes with one object each. Under each, its patches coloured by their principal components: the object's patches "
    "have other colours than those of the ground. Below, the patches whose first component is above zero: mostly the object's outline, "
    "filled.",
    caption=f"Scenes, the three principal components of {here.dino_patches}'s patches as red, green and blue, and where the first one is "
    "positive. Nobody told the network that there are objects.",
)

# %% [markdown]
# Most objects can be cut out along their outline. No mask was used in training, no class, no depth. Keep the picture in mind; by
# the end of the chapter you will have measured how much it is worth.
#
# ```{admonition} Errata: two things often said of DINOv2
# :class: warning
# * *"DINOv2 introduced register tokens."* They came half a year later, from {cite:t}`darcet2024registers`, with checkpoints of
#   their own: `facebook/dinov2-with-registers-*`. The plain `facebook/dinov2-*` have none.
# * *"It has multi-task heads for classification, segmentation and depth."* The backbone has no such head and was not trained for
#   any of these tasks. Heads are trained later, by whoever needs one, on frozen features.
# ```
#
# ## The network
#
# The backbone is a Vision Transformer, as in [chapter 01](01_timeline.ipynb): cut the picture into patches, turn each into a
# vector, add a position, and let attention blocks mix them. What is new is who sits in the row.

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(9, 1.9))
axis.set(xlim=(-0.2, 15.4), ylim=(-1.25, 1.35))
axis.axis("off")
row = [("CLS", "orange")] + [(f"R{k}", "grey") for k in (1, 2, 3, 4)]
row += [(f"P{k}", "blue") for k in (1, 2, 3, 4)] + [("…", "")] + [("Pₙ", "blue")]
for k, (text, colour) in enumerate(row):
    x = 1.3 * k
    if colour:
        axis.add_patch(Rectangle((x, 0), 1.1, 0.8, fc=plots.PALETTE[colour], ec="none"))
    axis.text(
        x + 0.55,
        0.4,
        text,
        ha="center",
        va="center",
        color="white" if colour else INK,
        weight="bold",
    )
for start, end, text in (
    (0, 1.1, "the whole\npicture"),
    (1.3, 6.3, "registers: scratch paper,\nused by no task"),
    (6.5, 14.1, "patches, row by row:\nwhat is where"),
):
    axis.plot([start, start, end, end], [-0.15, -0.3, -0.3, -0.15], color=INK, lw=1.2)
    axis.text((start + end) / 2, -0.42, text, ha="center", va="top", fontsize=9)
axis.text(0, 1.05, "index 0", fontsize=8.5, color=INK)
axis.text(6.5, 1.05, "index 1 + R", fontsize=8.5, color=INK)
plots.show(
    figure,
    alt="A row of tokens: one class token at index 0, four registers, and from index 1 + R on the patches, row by row.",
    caption="The order of tokens in the output of a DINOv2 network with R = 4 registers. Patches begin at index 1 + R.",
)

# %% [markdown]
# Three parts differ from the plain Vision Transformer. **LayerScale** multiplies each residual branch by a learned number for each
# channel; it starts at 1e-5 in the authors' networks, so that a deep network begins as the identity:

# %%
torch.manual_seed(0)
net = DinoVisionTransformer(
    image_size=56, patch_size=14, dim=48, depth=2, num_heads=3, registers=4
)
x = torch.randn(2, 3, 56, 56)
with torch.no_grad():
    entering = net.embed(x)
    leaving = net.blocks(entering)
print("tokens:", tuple(entering.shape), "= 1 class token + 4 registers + 4·4 patches")
print(
    "two blocks change them by less than 0.001:",
    bool((leaving - entering).abs().max() < 1e-3),
)

# %% [markdown]
# **SwiGLU**, in the giant model only, is a feed-forward network with a gate: one half of the hidden numbers decides how much of the other half
# passes. It has three matrices instead of two, and so the hidden layer is made a third narrower:

# %%
gate = SwiGLU(dim=48, mlp_dim=192)
tokens = torch.randn(5, 48)
a, b = gate.w12(tokens).chunk(2, dim=-1)
print(
    "w3(silu(a) · b) is the module:",
    torch.allclose(gate.w3(F.silu(a) * b), gate(tokens)),
)
print("hidden channels:", a.shape[-1], "instead of 192")

# %% [markdown]
# **Masked patches.** In training some patches are hidden from the student: their content is replaced by one learned vector, their
# position stays. What lies under the mask cannot reach the network:

# %%
mask = torch.zeros(2, 16, dtype=torch.bool)
mask[:, [5, 6, 9, 10]] = True  # the four patches in the middle of 4 × 4
other = x.clone()
other[:, :, 14:42, 14:42] = torch.randn(2, 3, 28, 28)
with torch.no_grad():
    same = torch.equal(net(x, mask).cls, net(other, mask).cls)
print("other pixels under the mask, the same answer:", same)

# %% [markdown]
# **Positions** are learned for one grid, as a picture with `dim` channels. For another picture size that grid is resized, like any other
# picture, by bicubic interpolation. A network trained at one size so works at others, also at non-square ones:

# %%
for size in ((56, 56), (56, 84), (28, 112)):
    positions = net.positions(net.grid(*size))
    print(
        f"{size[0]}×{size[1]} pixels: grid {net.grid(*size)}, positions {tuple(positions.shape)}"
    )

# %% [markdown]
# ### Equal to the libraries
#
# The course's network, filled with random weights, copied into `transformers` and into `timm`. Non-square pictures too:


# %%
def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return ((a - b).abs().max() / b.abs().max()).item()


@torch.no_grad()
def in_order(features: dinov2.Features) -> torch.Tensor:
    return torch.cat(
        (features.cls[:, None], features.registers, features.patches), dim=1
    )


gaps = {}
for registers in (0, 4):
    torch.manual_seed(1)
    ours = dinov2.dinov2_small(registers=registers, layer_scale=0.1).eval()
    config, state = dinov2.transformers_state(ours)
    theirs = AutoModel.from_config(AutoConfig.for_model(**config)).eval()
    theirs.load_state_dict(state)
    for size in ((224, 224), (140, 224)):
        picture = torch.randn(1, 3, *size)
        with torch.no_grad():
            wanted = theirs(picture).last_hidden_state
            found = gap(in_order(ours(picture)), wanted)
        gaps[type(theirs).__name__, size] = found
for (name, size), found in gaps.items():
    print(f"{name:26}{size}: relative difference at most 1e-5: {found <= 1e-5}")

# %%
theirs = timm.create_model(
    "vit_small_patch14_reg4_dinov2", dynamic_img_size=True
).eval()
theirs.load_state_dict(checkpoint_filter_fn(dict(ours.state_dict()), theirs))
for size in ((224, 224), (140, 224)):
    picture = torch.randn(1, 3, *size)
    with torch.no_grad():
        found = gap(in_order(ours(picture)), theirs.forward_features(picture))
    gaps["timm", size] = found
    print(f"timm {size}: relative difference at most 1e-5: {found <= 1e-5}")

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("equal", gap=max(gaps.values()), holds=max(gaps.values()) <= 1e-5)

# %% [markdown]
# ### Four sizes
#
# The family, counted from our networks on the meta device, where weights take no memory. The two right columns are the authors' own
# measurements of frozen features on ImageNet-1k, as everything here with four registers:

# %%
MAKERS = {
    name: getattr(dinov2, f"dinov2_{name}")
    for name in ("small", "base", "large", "giant")
}
quoted, timm_counts = claims.paper("dinov2.models"), claims.paper("dinov2.macs")
counted = {}
print(
    f"{'':6} {'blocks':>6}{'dim':>6}{'heads':>6}  {'FFN':6}{'params':>8}{'GMACs 224':>11}"
    f"{'GMACs 518':>11}{'k-NN':>7}{'linear':>8}"
)
for name, make in MAKERS.items():
    with torch.device("meta"):
        net = make(registers=4)
    block, params = net.blocks[0], measure.count_params(net)
    gmacs = [measure.count_macs(net, (1, 3, side, side)) / 1e9 for side in (224, 518)]
    counted[name] = params, gmacs[1]
    ffn = "SwiGLU" if isinstance(block.mlp, SwiGLU) else "MLP"
    print(
        f"{name:6} {len(net.blocks):6}{net.norm.normalized_shape[0]:6}{block.attn.num_heads:6}  {ffn:6}"
        f"{params / 1e6:7.0f}M{gmacs[0]:11.1f}{gmacs[1]:11.1f}{quoted[name]['knn_reg']:7.1f}"
        f"{quoted[name]['linear_reg']:8.1f}"
    )

# %% [markdown]
# ```{admonition} Common mistakes
# :class: warning
# * *"B has 18 blocks."* Table 17 of the paper prints 18. The authors' code and the checkpoint have 12.
# * *"DINOv2-B costs 17.6 GMACs."* That is ViT-B with patches of **16** pixels. Patches of 14 make 256 tokens at 224 instead of 196.
# * *"88.5 % by linear probe."* 88.5 is giant's *fine-tuned* accuracy. Frozen, with a linear layer, it has 86.5 (the next cell).
# ```

# %%
giant, slip = (
    claims.paper("dinov2.fine_tuned")["giant"],
    claims.paper("dinov2.printed_blocks"),
)
print(f"giant: linear {giant['linear']}, fine-tuned {giant['fine_tuned']}")
print(
    f"base: {slip['base']} blocks printed, {len(MAKERS['base'](image_size=14).blocks)} in the code"
)

# %% tags=["hide-input", "nbval-ignore-output"]
told = ", ".join(f"{params / 1e6:.1f}M" for params, _ in counted.values())
far = max(abs(params / quoted[n]["params"] - 1) for n, (params, _) in counted.items())
ledger.add("params", ours=told, within=far)
told = ", ".join(f"{gmacs:.0f}" for _, gmacs in counted.values()) + " GMACs"
far = max(abs(gmacs / timm_counts[n]["gmacs"] - 1) for n, (_, gmacs) in counted.items())
ledger.add("macs", ours=told, within=far)

# %% [markdown]
# ## The task: agree with yourself
#
# Take one picture and cut pieces out of it, large and small, in changed colours. All show the same thing. So a network that
# understands the picture should say **the same about every piece**. That is the whole task. What it says is up to the network: a
# choice among K words that nobody defined.

# %%
CROPS = Crops(
    global_size=48,
    local_size=24,
    global_scale=(0.5, 1.0),
    local_scale=(0.2, 0.6),
    hue=0.5,
)
one = scenes.render(1, 64, seed=2, framing="close", start=3)
global_crops, local_crops = multi_crop(
    one.images, CROPS, torch.Generator().manual_seed(4)
)
print(
    "global crops:", tuple(global_crops.shape), "local crops:", tuple(local_crops.shape)
)

# %% tags=["hide-input"]
figure = plt.figure(figsize=(9.4, 4.3), layout="none")


def tile(image, left, bottom, width):
    axis = figure.add_axes((left, bottom, width, width * 9.4 / 4.3))
    axis.imshow(image)
    axis.axis("off")


tile(plots.to_image(one.images[0]), 0.01, 0.34, 0.14)
figure.text(
    0.08,
    0.27,
    f"“{one.captions[0]}”",
    ha="center",
    fontsize=8.5,
    style="italic",
    wrap=True,
)
for k, crop in enumerate(global_crops[:, 0]):
    tile(plots.to_image(crop / 2 + 0.5), 0.235, 0.55 - 0.29 * k + 0.05, 0.115)
for k, crop in enumerate(local_crops[:, 0]):
    tile(
        plots.to_image(crop / 2 + 0.5),
        0.375 + 0.068 * (k % 2),
        0.62 - 0.29 * (k // 2) + 0.05,
        0.058,
    )
figure.text(0.292, 0.93, "global crops", ha="center", fontsize=9, weight="bold")
figure.text(0.438, 0.93, "local crops", ha="center", fontsize=9, weight="bold")
canvas = figure.add_axes((0, 0, 1, 1), zorder=-1)
canvas.set(xlim=(0, 1), ylim=(0, 1))
canvas.axis("off")
arrow = dict(arrowstyle="-|>", mutation_scale=12, color=INK, lw=1.3)
canvas.add_patch(FancyArrowPatch((0.16, 0.5), (0.225, 0.5), **arrow))
for y, title, colour in ((0.72, "student", "blue"), (0.28, "teacher", "orange")):
    canvas.add_patch(
        Rectangle((0.6, y - 0.1), 0.13, 0.2, fc=plots.PALETTE[colour], ec="none")
    )
    canvas.text(0.665, y, title, ha="center", va="center", color="white", weight="bold")
    canvas.add_patch(FancyArrowPatch((0.735, y), (0.79, y), **arrow))
canvas.add_patch(FancyArrowPatch((0.515, 0.72), (0.595, 0.72), **arrow))
canvas.text(0.553, 0.76, "all crops,\nsome masked", ha="center", fontsize=8)
canvas.plot([0.292, 0.292, 0.5], [0.29, 0.12, 0.12], color=INK, lw=1.3)
canvas.add_patch(FancyArrowPatch((0.5, 0.12), (0.595, 0.24), **arrow))
canvas.text(0.43, 0.06, "global crops only, whole", ha="center", fontsize=8)
canvas.add_patch(FancyArrowPatch((0.665, 0.61), (0.665, 0.39), linestyle="--", **arrow))
canvas.text(
    0.655, 0.5, "moving average\nof the weights", ha="right", va="center", fontsize=8
)
for y, text in ((0.72, "answer"), (0.28, "target")):
    canvas.text(0.8, y, text, va="center", fontsize=10)
canvas.plot([0.87, 0.9, 0.9, 0.87], [0.72, 0.72, 0.28, 0.28], color=INK, lw=1.3)
canvas.text(0.91, 0.5, "make\nequal", va="center", fontsize=9)
canvas.text(
    0.8,
    0.62,
    "learns from\nthe gradient",
    va="center",
    fontsize=8,
    color=plots.PALETTE["blue"],
)
canvas.text(
    0.8, 0.4, "no gradient", va="center", fontsize=8, color=plots.PALETTE["orange"]
)
plots.show(
    figure,
    alt="One scene is cut into two global and four local crops in changed colours. The student gets all crops, some with masked "
    "patches; the teacher gets only the global crops, whole. The student's answers are made equal to the teacher's. The teacher's "
    "weights are a moving average of the student's and get no gradient.",
    caption="Self-distillation. Student and teacher are the same network; the teacher's weights are an average of the student's "
    "earlier ones. It alone sees whole large crops, so it knows a little more.",
)

# %% [markdown]
# Who tells the student what to say? A **teacher**, which is the student itself, averaged over its past (an exponential moving
# average, EMA). The teacher sees only the two *global* crops. The student sees them too, with some patches masked, and the small *local*
# crops, from which it has to guess what the whole is.
#
# ### Loss 1, DINO: one answer for the picture
#
# The class token goes through a head to K numbers, the *logits*: cosines with K learned vectors, the prototypes. Softmax turns them
# into probabilities p. The loss is the cross-entropy between the teacher's answer for one crop and the student's for *another*:
#
# $$L_\text{DINO} = -\sum_k p^\text{teacher}_k \log p^\text{student}_k$$
#
# By hand, for three images, and then with the course's function:

# %%
K, TEMPERATURE = 5, 0.1
rng = torch.Generator().manual_seed(0)
logits = 0.3 * torch.randn(
    3, 3, K, generator=rng
)  # (crops, images, K): two global, one local
targets = torch.randn(2, 3, K, generator=rng).softmax(-1)  # (global crops, images, K)
by_hand = []
for t in range(2):
    for s in range(3):
        if s != t:  # never the same crop: that would be too easy
            log_p = (logits[s] / TEMPERATURE).log_softmax(-1)
            by_hand.append(-(targets[t] * log_p).sum(-1).mean())
loss = dino.dino_loss(logits, targets, TEMPERATURE)
print("pairs of crops:", len(by_hand))
print("equal to the function:", torch.allclose(torch.stack(by_hand).mean(), loss))

# %% [markdown]
# ### Loss 2, iBOT: an answer for each hidden patch
#
# {cite:t}`zhou2022ibot` ask the same of patches. Hide a block of patches from the student, show the teacher the whole crop, and let the student give
# the teacher's answer *at the hidden places*. A second head serves this loss; DINOv2 does not let the two share one.

# %%
masks = dino.block_masks(6, (6, 6), torch.Generator().manual_seed(5), probability=1.0)
print("hidden patches of 36:", masks.sum(1).tolist())

# %% tags=["hide-input"]
seen = shown.images[:6].float() / 255
blocks = F.interpolate(masks.view(6, 1, 6, 6).float(), seen.shape[2:], mode="nearest")
figure = plots.image_grid(seen * (1 - blocks) + 0.55 * blocks, ncols=6, size=1.35)
plots.show(
    figure,
    alt="Six scenes, each with a grey rectangle over a part of it.",
    caption="What the student gets: a block of patches is hidden in half of its global crops (here in all six). The teacher sees what is "
    "underneath.",
)

# %% [markdown]
# ### Loss 3, KoLeo: keep your distance
#
# The third loss looks at the batch. For each picture it takes the *nearest other* feature on the unit sphere and asks it to be far:
# the mean of -ln(distance), an estimate of entropy by Kozachenko and Leonenko {cite:p}`sablayrolles2019koleo`. Two features that nearly
# agree are expensive:

# %%
angles = torch.tensor([0.0, 120.0, 240.0]).deg2rad()
spread_out = torch.stack((angles.cos(), angles.sin()), dim=1)
close_pair = spread_out.clone()
close_pair[1] = F.normalize(spread_out[0] + torch.tensor([0.0, 0.01]), dim=0)
for name, points in (("spread out", spread_out), ("a close pair", close_pair)):
    print(f"{name:13} KoLeo {dino.koleo_loss(points).item():6.2f}")

# %% [markdown]
# ## Why does it not cheat?
#
# Look at the task again, with a cheater's eye. "Say the same about every crop": **always say "word 7"**, whatever the picture. Perfect agreement.
# Or: **say "all words are equally likely"**, always. Perfect agreement again. Both are called *collapse*, and nothing in the cross-entropy forbids
# them. DINOv2 has a safeguard against each.
#
# **Sharpening.** The teacher's temperature is lower than the student's, so its answers are more decided. That drives away from "all equal".
#
# **Centring.** DINO {cite:p}`caron2021dino` subtracts a running mean from the teacher's logits, so a word that everybody says becomes rare. DINOv2 takes
# a stronger medicine: **Sinkhorn-Knopp** {cite:p}`caron2020swav` shares the batch out, so that every word is used equally often. It is two
# normalisations in turn, three times:

# %%
rng = torch.Generator().manual_seed(3)
preferred = torch.randn(16, 8, generator=rng) + 2.5 * (
    torch.arange(8) == 2
)  # all prefer word 2
plain = preferred.softmax(1)
q = preferred.exp()
for _ in range(3):
    q = q / q.sum(0, keepdim=True)  # a word's share: equal
    q = q / q.sum(1, keepdim=True)  # a picture's share: one
print("equal to the function:", torch.allclose(q, dino.sinkhorn_knopp(preferred, 1.0)))
print("softmax: most used word", plain.sum(0).argmax().item())
print(
    "Sinkhorn-Knopp: no word gets twice its share:", bool((q.sum(0) < 2 * 16 / 8).all())
)

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.1))
for axis, values, title in zip(
    axes, (plain, q), ("softmax", "Sinkhorn-Knopp"), strict=True
):
    axis.imshow(values, cmap="Blues", vmin=0, vmax=0.8, aspect="auto")
    for k, total in enumerate(values.sum(0)):
        axis.text(k, -1.0, f"{total:.1f}", ha="center", fontsize=8.5)
    axis.text(-1.1, -1.0, "sum", ha="right", fontsize=8.5)
    axis.set(xlabel="word", ylabel="picture", xticks=range(8), yticks=[0, 5, 10, 15])
    axis.set_title(title, pad=20)
    axis.grid(False)
plots.show(
    figure,
    alt="Two matrices of 16 pictures by 8 words. With softmax most pictures choose word 2, whose column sums to far more than the "
    "others. With Sinkhorn-Knopp the columns sum to about 2 each.",
    caption="Answers of 16 pictures that all like word 2. Numbers above: how often a word is used in total. Sinkhorn-Knopp gives every "
    "word its share, and keeps for each picture what it likes *more than others do*.",
)

# %% [markdown]
# ### Switch them off, one at a time
#
# Now the experiment. A tiny Vision Transformer learns from 1,024 scenes for 150 steps, with everything on, and then with one
# safeguard off. We watch the teacher with three meters, each between 0 and 1:
#
# * **entropy of the mean answer**: 0 when all pictures get the same one word;
# * **mean entropy of the answers**: 1 when every answer is "all words are equally likely";
# * **spread of the features**: 0 when all pictures have the same feature.


# %%
pictures = scenes.load(1024, 32, seed=0, framing="close").images
TINY_CROPS = Crops(
    24,
    16,
    2,
    global_scale=(0.5, 1.0),
    local_scale=(0.2, 0.6),
    brightness=0.2,
    contrast=0.2,
)


def watch(steps: int = 150, **switched) -> np.ndarray:
    """Train a tiny network and return `dino.Diagnostics` of each step, (steps, 4)."""
    torch.manual_seed(0)
    net = DinoVisionTransformer(24, 8, dim=48, depth=2, num_heads=2, layer_scale=1.0)
    objective = DinoConfig(prototypes=64, hidden=64, bottleneck=32, **switched)
    pair = DINOv2(net.apply(init_fan_in), 48, objective).train()
    optimizer = torch.optim.AdamW(pair.student.parameters(), lr=2e-3)
    meters = []
    with plain_attention("cpu"):
        for step in range(steps):
            rng = torch.Generator().manual_seed(step)
            batch = pictures[torch.randperm(len(pictures), generator=rng)[:48]]
            views = multi_crop(batch, TINY_CROPS, rng)
            mask = dino.block_masks(2 * len(batch), (3, 3), rng)
            out = dino.train_step(
                pair, optimizer, views, mask, temperature=0.015, momentum=0.95
            )
            meters.append(
                dino.diagnostics(out.targets[0], out.student[1], out.features[:48])
            )
    return np.array(meters)


# %%
SWITCHES = {
    "everything on": {},
    "no centring": {"centring": "none"},
    "no sharpening": {"sharpening": False},
    "no KoLeo": {"koleo_weight": 0.0},
    "a running mean\ninstead of Sinkhorn": {"centring": "ema"},
    "no EMA": {"ema": False},
    "no centring, no KoLeo,\nno stop-gradient": {
        "centring": "none",
        "koleo_weight": 0.0,
        "stop_gradient": False,
    },
}
watched = {name: watch(**switched) for name, switched in SWITCHES.items()}

# %% tags=["hide-input"]
figure, axes = plt.subplots(2, 4, figsize=(10.4, 4.6), sharex=True, sharey=True)
COLUMNS = {
    "entropy of the mean": (0, "blue"),
    "mean entropy": (1, "orange"),
    "spread": (3, "green"),
}
for axis, (name, meters) in zip(axes.flat, watched.items(), strict=False):
    for title, (column, colour) in COLUMNS.items():
        axis.plot(meters[:, column], color=plots.PALETTE[colour], lw=1.6, label=title)
    axis.set_title(name, fontsize=9.5)
    axis.set(ylim=(-0.03, 1.05), xlim=(0, 150))
for axis in (*axes[1], axes[0, 3]):
    axis.tick_params(labelbottom=True)
    axis.set_xlabel("step")
axes[1, 3].axis("off")
axes[1, 3].legend(*axes[0, 0].get_legend_handles_labels(), loc="center left")
ends = {name: meters[-20:].mean(0) for name, meters in watched.items()}
plots.show(
    figure,
    alt="Seven panels of three curves over 150 steps. At the end, entropy of the mean, mean entropy, spread: "
    + "; ".join(
        f"{name.replace(chr(10), ' ')}: {e[0]:.2f}, {e[1]:.2f}, {e[3]:.2f}"
        for name, e in ends.items()
    )
    + ".",
    caption="Live: the same 150 steps with safeguards switched off. Healthy is high, in the middle, high: words are all in use, each answer "
    "is decided, features point everywhere.",
)

# %%
healthy, *_, all_off = ends.values()
one_word, uniform = ends["no centring"], ends["no sharpening"]
print(
    "everything on: all words in use, answers decided:",
    healthy[0] > 0.9 and healthy[1] < 0.7,
)
print("no centring: one word for all pictures:", one_word[0] < 0.05)
print("no sharpening: every answer uniform:", uniform[1] > 0.97)
print("no KoLeo: features less spread:", bool(ends["no KoLeo"][3] < healthy[3] - 0.01))
print("no EMA: no collapse here:", ends["no EMA"][0] > 0.9 and ends["no EMA"][1] < 0.7)
print(
    "nothing left: one word, and features that are nearly the same:", all_off[3] < 0.4
)

# %% [markdown]
# Centring and sharpening pull in opposite directions, and each alone falls into the other's pit: without centring the network
# says one word, without sharpening it says nothing. In both cases student and teacher agree perfectly: nothing is left to learn.
#
# ```{admonition} A trap: the loss does not tell
# :class: warning
# The cross-entropy is the entropy of the teacher's answers plus what the student has still to learn of them. With one word for all it
# falls to zero; with uniform answers it rests at ln K. A healthy run lies in between, and so does a bad one. Watch the entropies, the spread of the features, and
# best of all k-NN accuracy on a few labelled pictures.
# ```
#
# Three of the outcomes are less clear-cut. DINO's running mean does better than nothing, but it limps behind:
# answers swing, and use few of the words. Without KoLeo nothing breaks, features are only less spread. And without the EMA, when the teacher is simply
# the student of the step before, this run does not collapse either: Sinkhorn-Knopp holds by itself. One seed and 150 steps; the collapses are not
# subtle, but the small differences are no more than hints.

# %% tags=["hide-input", "nbval-ignore-output"]
kept_apart = one_word[0] < 0.05 < healthy[0] and healthy[1] < 0.7 < 0.97 < uniform[1]
answers = dict(healthy=healthy, one_word=one_word, uniform=uniform)
ledger.add("safeguards", **answers, holds=kept_apart)
without = ends["no KoLeo"]
ledger.add("koleo", healthy=healthy, without=without, beyond=healthy[3] - without[3])
agree = max(one_word[2], uniform[2]) < 0.1 * healthy[2]
ledger.add("agreement", **answers, holds=agree)

# %% [markdown]
# ## Hours of it
#
# Now a real run, on 16,000 scenes of 64 pixels, the first of the two shipped networks. Its teacher's backbone is shipped as `mini-dinov2-pretrained`;
# the curves come from its record. While it trains, a k-NN classifier with 2,000 labelled scenes is asked now and then what the
# features know: the *shape*, the *colour* and the *ground* of held-out scenes. It changes nothing in the training.

# %%
run = records.load("mini_dinov2_pretrained")
course = {
    factor: records.select(run, f"{factor}_cls", scored=True)
    for factor in scenes.CLASSES
}
scored = records.select(run, "epoch", scored=True)
epochs = records.select(run, "epoch", trained=True)
print(
    len(epochs), "epochs of", f"{run['settings']['images']:,}", "scenes, no label used"
)

# %% tags=["nbval-ignore-output"]
for factor, values in course.items():
    print(f"{factor:7} k-NN {values[0]:.1f} % untrained, {values[-1]:.1f} % at the end")
print(f"{run['minutes']:.0f} minutes on one thread")

# %% tags=["hide-input"]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.4, 3.3))
for name, colour in (("dino", "blue"), ("ibot", "orange")):
    left.plot(
        epochs,
        records.select(run, name, trained=True),
        color=plots.PALETTE[colour],
        label=name,
    )
left.axhline(
    np.log(run["settings"]["training"]["objective"]["prototypes"]),
    color=plots.PALETTE["grey"],
    ls="--",
    lw=1.3,
    label="ln K",
)
left.set(title="Losses", ylabel="nats", ylim=(0, None))
for name, label, colour in (
    ("entropy_of_mean", "entropy of the mean", "blue"),
    ("mean_entropy", "mean entropy", "orange"),
    ("spread", "spread", "green"),
):
    middle.plot(
        epochs,
        records.select(run, name, trained=True),
        color=plots.PALETTE[colour],
        label=label,
    )
middle.set(title="Meters", ylim=(0, 1.05))
for (factor, values), colour in zip(
    course.items(), ("pink", "amber", "sky"), strict=True
):
    right.plot(scored, values, "o-", ms=3, color=plots.PALETTE[colour], label=factor)
    right.plot(0, values[0], "o", ms=8, mfc="white", color=plots.PALETTE[colour])
right.set(title="k-NN on held-out scenes (%)", ylim=(0, 103))
for axis in (left, middle, right):
    axis.set_xlabel("epoch")
    axis.legend(fontsize=8.5)
plots.show(
    figure,
    alt="Three panels over the epochs. The losses fall and stay well above zero. Entropy of the mean and spread stay high, mean "
    "entropy settles in between. k-NN accuracy: "
    + "; ".join(f"{f} from {v[0]:.0f} to {v[-1]:.0f} %" for f, v in course.items())
    + ".",
    caption="Record: self-distillation of mini-dinov2-pretrained. Large circles: the untrained network. Colour and ground are easy "
    "even for random features; shape has to be learned.",
)

# %% [markdown]
# Two things to see. An *untrained* network already tells colour and ground: random features keep them, so they prove nothing. And shape,
# the hard one, climbs slowly and levels off as the learning rate goes to zero.
#
# What did it take? Short trials, which left no record, say: framing decides: in *wide* scenes most crops contain no object, and the network
# learned the ground. Crops that kept their colour let it answer by colour alone, so here any hue may become any other. And with the
# paper's teacher temperature, 0.04 to 0.07, a run this short stayed at the uniform answer (loss at ln K); a colder teacher left it.

# %% [markdown]
# ## The shortcut that the paper took, too
#
# ```{admonition} Common mistake: "DINOv2-S, B and L were trained like that"
# :class: warning
# Only g was trained from scratch. S, B and L are **distilled from the frozen g**: the large network is the teacher, it does not change, and the small
# ones learn to answer as it does.
# ```
#
# A small network learns faster from one that already knows. The course's `mini-dinov2` does the same, with the best teacher that fits on a
# laptop: EfficientNet-Lite0, trained on ImageNet's real photographs. It comes with a pip package; you met it in
# [chapter 00](00_start_here.ipynb). Teacher and student are of different families here, so the student regresses the teacher's *features*: its class token the
# pooled ones, its patches the feature map. No label of a scene is used.

# %%
distilled = records.load("mini_dinov2")
print("teacher:", distilled["settings"]["teacher"]["checkpoint"])
print("it sees the scenes at", distilled["settings"]["teacher"]["image_size"], "pixels")
print("the student sees them at", distilled["settings"]["image_size"])

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 3.4))
for record, style, name in (
    (distilled, "-", "distilled"),
    (run, ":", "self-distilled"),
):
    x = records.select(record, "epoch", scored=True)
    for factor, colour in zip(scenes.CLASSES, ("pink", "amber", "sky"), strict=True):
        axis.plot(
            x,
            records.select(record, f"{factor}_cls", scored=True),
            style,
            color=plots.PALETTE[colour],
            label=f"{factor}, {name}",
        )
axis.set(xlabel="epoch", ylabel="k-NN (%)", ylim=(0, 103))
axis.legend(fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    figure,
    alt="k-NN accuracy over the epochs, for shape, colour and ground. Distilled: shape climbs to "
    f"{records.select(distilled, 'shape_cls', scored=True)[-1]:.0f} % within few epochs; colour ends at "
    f"{records.select(distilled, 'colour_cls', scored=True)[-1]:.0f} %. Self-distilled: slower in shape.",
    caption="Record: the same small network, distilled from a frozen ImageNet network (solid) and self-distilled (dotted). An epoch of "
    "distillation shows each scene twice, once mirrored.",
)

# %% [markdown]
# Shape is learned in a few epochs. But look at the colour: the distilled network's neighbours agree *less* on it than the untrained one's. Its teacher
# was trained to name things, and a car is a car in any colour. **A student takes over what its teacher thinks important.** (The colour is
# not lost, as you will see: a linear layer still finds it. It only counts little in the distance.)
#
# ## What do frozen features know?
#
# Freeze a network, take its features, ask simple questions. The record asks six backbones:

# %%
study = records.load("dinov2_features")
NAMES = {
    "pixels": "raw pixels",
    "untrained": "untrained",
    "mini-dinov2-pretrained": "self-distilled",
    "mini-dinov2": "distilled",
    "teacher": "its teacher",
    "supervised": "trained on shapes\nwith labels",
}


def result(name: str, what: str) -> np.ndarray:
    """One value for each seed."""
    return records.select(study, what, name=name)


settings = study["settings"]
print(
    settings["labelled"],
    "labelled scenes,",
    settings["test_images"],
    "test scenes,",
    end=" ",
)
print("seeds", settings["seeds"])

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(10.4, 3.7), sharey=True)
places = np.arange(len(NAMES))
for axis, factor in zip(axes, scenes.CLASSES, strict=True):
    for shift, probe, colour in ((-0.19, "knn", "blue"), (0.19, "linear", "orange")):
        values = [result(name, f"{factor}_{probe}") for name in NAMES]
        label = {"knn": "k-NN", "linear": "linear probe"}[probe]
        bars = axis.barh(
            places + shift,
            [v.mean() for v in values],
            0.36,
            color=plots.PALETTE[colour],
            label=label,
        )
        axis.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
    axis.axvline(
        100 / len(scenes.CLASSES[factor]), color=INK, ls=":", lw=1.2, label="chance"
    )
    axis.set(title=f"{factor} (%)", xlim=(0, 114), xticks=[0, 50, 100])
    axis.grid(False, axis="y")
axes[0].set_yticks(places, NAMES.values())
axes[0].invert_yaxis()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plots.show(
    figure,
    alt="Bars of k-NN and linear accuracy for six backbones. Shape by k-NN: "
    + ", ".join(f"{n} {result(n, 'shape_knn').mean():.0f} %" for n in NAMES)
    + ". Colour: "
    + ", ".join(f"{n} {result(n, 'colour_knn').mean():.0f} %" for n in NAMES)
    + ". Ground: "
    + ", ".join(f"{n} {result(n, 'ground_knn').mean():.0f} %" for n in NAMES)
    + ".",
    caption="Record: what frozen features know of held-out scenes; means of three choices of 2,000 labelled scenes. Raw pixels are a "
    "16×16 thumbnail.",
)

# %% [markdown]
# Read it row by row:
#
# * **Raw pixels** are stronger than their fame. Objects are framed alike here, so a thumbnail of a cube looks like other thumbnails of cubes. Whoever reports a score
#   without this row reports half a result.
# * **Self-distilled** features gain most over the untrained ones on shape. By k-NN they stay behind the thumbnail; by the linear probe they
#   pass it. Colour and ground are all there.
# * **Distilled** features know shapes as well as their teacher. Their colours are all there for the linear probe, and less near each other than
#   the untrained network's.
# * **Trained on shapes with labels**, five epochs of 8,000 scenes: the other columns show what it threw away, since nobody asked for it.
#   (It is a short training: at shapes a longer one may well do better.)

# %% tags=["hide-input", "nbval-ignore-output"]
shape_knn = {name: result(name, "shape_knn") for name in NAMES}
gain = claims.contrast(shape_knn["mini-dinov2-pretrained"], shape_knn["untrained"])
colour = claims.contrast(
    result("mini-dinov2", "colour_knn"), result("untrained", "colour_knn")
)
behind = claims.contrast(shape_knn["teacher"], shape_knn["mini-dinov2"])
knn = {name: values.mean() for name, values in shape_knn.items()}
ledger.add("shapes", knn=knn, gain=gain, minutes=run["minutes"], beyond=gain.low)
ledger.add("student", knn=knn, within=behind.high)
linear = result("mini-dinov2", "colour_linear").mean()
ledger.add("colour", colour=colour, linear=linear, holds=colour.high < 0)

# %% [markdown]
# ### Pictures of another world
#
# And on data that neither network has seen anything like? Handwritten digits, and pieces of clothing where Fashion-MNIST was at hand:

# %% tags=["hide-input"]
unseen = [t for t in ("digits", "fashion_mnist") if f"{t}_knn" in study["results"][0]]
figure, axes = plt.subplots(
    1, len(unseen), figsize=(4.6 * len(unseen), 3.1), sharey=True, squeeze=False
)
for axis, task in zip(axes[0], unseen, strict=True):
    for shift, probe, colour in ((-0.19, "knn", "blue"), (0.19, "linear", "orange")):
        bars = axis.barh(
            places + shift,
            [result(n, f"{task}_{probe}").mean() for n in NAMES],
            0.36,
            color=plots.PALETTE[colour],
            label={"knn": "k-NN", "linear": "linear probe"}[probe],
        )
        axis.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
    axis.set(title=f"{task.replace('_', ' ')} (%)", xlim=(0, 114), xticks=[0, 50, 100])
    axis.grid(False, axis="y")
axes[0, 0].set_yticks(places, NAMES.values())
axes[0, 0].invert_yaxis()
figure.legend(
    *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2
)
plots.show(
    figure,
    alt="Bars of k-NN and linear accuracy on data of another kind. "
    + "; ".join(
        f"{task.replace('_', ' ')} by k-NN: "
        + ", ".join(f"{n} {result(n, f'{task}_knn').mean():.0f} %" for n in NAMES)
        for task in unseen
    )
    + ".",
    caption="Record: the same backbones on pictures unlike any scene, enlarged to the network's size; 1,000 labelled pictures.",
)

# %% [markdown]
# On digits nothing beats the raw pixels' k-NN, on clothing only the teacher, which has seen the real world. A small network that has seen nothing but eight kinds of objects
# under the sun is no foundation model:
# what it has learned is *scenes*. DINOv2's breadth comes from 142 million pictures, not from the loss.
#
# ## Working with frozen features
#
# Now the way people use it, live, with the distilled network. A thousand labelled scenes, three hundred to be tested on:

# %% tags=["profile-dependent"]
folder = zoo.folder(here.dino)
model = zoo.whole(AutoModel.from_pretrained(folder), folder)
model = model.eval().to(here.device)
known = scenes.load(1000, SIDE, seed=0, framing="close")
asked = scenes.load(300, SIDE, seed=2, framing="close")
known_features, asked_features = look(known.images, model), look(asked.images, model)
print(
    "class tokens:",
    tuple(known_features.cls.shape)[:1],
    "patches:",
    known_features.grid,
)

# %% [markdown]
# ```{admonition} Common mistake: the processor that was not asked
# :class: warning
# Each checkpoint brings its own preprocessing; `AutoImageProcessor.from_pretrained` reads it. A bare `BitImageProcessor()`, which many
# snippets use for DINOv2, normalises with *CLIP's* mean and standard deviation. And the processor of Meta's checkpoints resizes the short side to 256 and cuts out
# the middle 224×224: for retrieval that is fine, for dense prediction it throws the borders away. That is why this chapter prepares pictures by hand.
# ```

# %% tags=["profile-dependent"]
bare = transformers.BitImageProcessor()
print(
    "mean and crop of this checkpoint:", processor.image_mean, processor.do_center_crop
)
print("of a bare processor:             ", bare.image_mean, bare.do_center_crop)

# %% [markdown]
# ### k-NN
#
# The simplest classifier there is: which labelled pictures are nearest, and what are they? Compare *directions* (the features' length is no use), and let
# near neighbours count more. Twenty neighbours, as in the paper's protocol, and no training:

# %%
knn, probe = {}, {}
x, q = (F.normalize(f.cls, dim=1).numpy() for f in (known_features, asked_features))
for factor in scenes.CLASSES:
    classifier = KNeighborsClassifier(n_neighbors=20, weights="distance")
    classifier.fit(x, known.labels(factor))
    knn[factor] = 100 * classifier.score(q, asked.labels(factor))

# %% [markdown]
# ### Linear probe
#
# One linear layer, trained on the frozen features; standardise them first. As `transformers` does in its classifier, take the class token and
# the mean patch side by side:

# %%
both = [
    torch.cat((f.cls, f.mean_patch), 1).numpy()
    for f in (known_features, asked_features)
]
for factor in scenes.CLASSES:
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    linear.fit(both[0], known.labels(factor))
    probe[factor] = 100 * linear.score(both[1], asked.labels(factor))

# %% tags=["nbval-ignore-output"]
print(
    f"{'':8}{'k-NN':>7}{'linear':>8}   (record: k-NN with {settings['labelled']} labelled scenes)"
)
for factor in scenes.CLASSES:
    print(
        f"{factor:8}{knn[factor]:7.1f}{probe[factor]:8.1f}   "
        f"{result('mini-dinov2', f'{factor}_knn').mean():.1f}"
    )

# %% tags=["profile-dependent"]
near = abs(knn["shape"] - result("mini-dinov2", "shape_knn").mean()) < 5
print("shape by k-NN within 5 points of the record:", bool(near))

# %% [markdown]
# ### Find pictures like this one
#
# k-NN without labels is *retrieval*: show a picture, get similar ones. What "similar" means, the features decide:

# %%
queries = [5, 17, 44]
thumbnails = [probes.extract(probes.pixels, data.images).cls for data in (known, asked)]
found = {
    here.dino: probes.nearest(known_features.cls, asked_features.cls[queries]),
    "raw pixels": probes.nearest(thumbnails[0], thumbnails[1][queries]),
}
print("for each of", len(queries), "pictures, five of", len(known), "by each way")

# %% tags=["hide-input"]
figure, axes = plt.subplots(3, 11, figsize=(10.6, 3.4), width_ratios=[1.12] + [1] * 10)
figure.get_layout_engine().set(rect=(0, 0, 1, 0.93))
right_shape = {name: 0 for name in found}
for row, query in enumerate(queries):
    axes[row, 0].imshow(plots.to_image(asked.images[query]))
    for block, (name, indices) in enumerate(found.items()):
        for k, index in enumerate(indices[row].tolist()):
            axis = axes[row, 1 + 5 * block + k]
            axis.imshow(plots.to_image(known.images[index]))
            same = known.shape[index] == asked.shape[query]
            right_shape[name] += int(same)
            axis.add_patch(
                Rectangle(
                    (0, 0),
                    1,
                    1,
                    transform=axis.transAxes,
                    fill=False,
                    lw=3,
                    ec=plots.PALETTE["green" if same else "orange"],
                )
            )
for axis in axes.flat:
    axis.axis("off")
figure.text(0.005, 0.94, "query", fontsize=9.5, weight="bold")
for block, name in enumerate(found):
    title = f"nearest by {name}: {right_shape[name]} of 15 have the shape"
    figure.text(0.105 + 0.45 * block, 0.94, title, fontsize=9.5, weight="bold")
plots.show(
    figure,
    alt="Three query scenes and the five nearest labelled scenes by the network's features and by raw pixels. Of 15 each, "
    + " and ".join(f"{n} by {name}" for name, n in right_shape.items())
    + " have the query's shape.",
    caption="Retrieval: three test scenes and the labelled scenes nearest to them, by features and by a 16×16 thumbnail. Green frames: the "
    "query's shape; orange: another.",
)

# %% [markdown]
# ### Fine-tuning
#
# The probe leaves the network as it is. With *fine-tuning* the network learns along. `Dinov2ForImageClassification` puts a linear layer on
# the class token and the mean patch; it has a sister for networks with registers, and `AutoModelForImageClassification` finds the right one. When does it pay? Take **five** labelled scenes for each shape, forty in all, and compare three ways: the
# linear probe, fine-tuning (the backbone at a tenth of the head's learning rate), and the same network from a random start, which gets three times as
# many steps.

# %%
few = torch.cat(
    [(known.shape == k).nonzero()[:5, 0] for k in range(len(scenes.SHAPES))]
)
inputs, targets = as_input(known.images[few]), known.shape[few].to(here.device)
print(len(few), "labelled scenes")


def finetune(classifier: nn.Module, backbone_lr: float, steps: int) -> dict[str, float]:
    """Train on the few scenes; accuracies in percent on them and on the test scenes."""
    head = list(classifier.classifier.parameters())
    ids = {id(p) for p in head}
    backbone = [p for p in classifier.parameters() if id(p) not in ids]
    optimizer = torch.optim.AdamW(
        [{"params": head, "lr": 1e-3}, {"params": backbone, "lr": backbone_lr}]
    )
    classifier.train().to(here.device)
    for _ in range(steps):
        loss = F.cross_entropy(classifier(inputs).logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    classifier.eval()

    @torch.no_grad()
    def right(data: scenes.Scenes) -> float:
        answers = [
            classifier(as_input(b)).logits.argmax(1).cpu()
            for b in data.images.split(100)
        ]
        return 100 * (torch.cat(answers) == data.shape).float().mean().item()

    return {"few": right(known[few]), "test": right(asked)}


# %% tags=["profile-dependent"]
torch.manual_seed(0)
linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
linear.fit(both[0][few], known.shape[few])
few_labels = {
    "linear probe": {
        "few": 100 * linear.score(both[0][few], known.shape[few]),
        "test": 100 * linear.score(both[1], asked.shape),
    }
}
classifier = AutoModelForImageClassification.from_pretrained(
    folder, num_labels=len(scenes.SHAPES)
)
zoo.whole(classifier, folder, fresh=("classifier.",))  # all but the new head
few_labels["fine-tuned"] = finetune(classifier, 1e-4, steps=40)
scratch = AutoModelForImageClassification.from_config(
    AutoConfig.from_pretrained(folder, num_labels=len(scenes.SHAPES))
)
few_labels["from scratch"] = finetune(scratch, 1e-3, steps=120)
print(type(classifier).__name__)
print(
    "its classifier takes",
    classifier.classifier.in_features,
    "numbers: class token and mean patch",
)

# %% tags=["nbval-ignore-output"]
for name, accuracy in few_labels.items():
    print(
        f"{name:13} {accuracy['test']:5.1f} % on shape with {len(few)} labelled scenes"
    )

# %% tags=["profile-dependent"]
print("all three know the forty:", all(a["few"] >= 95 for a in few_labels.values()))
tests = {name: accuracy["test"] for name, accuracy in few_labels.items()}
ahead = min(tests["linear probe"], tests["fine-tuned"]) - tests["from scratch"]
print(
    "pretrained features are more than 20 points ahead of a random start:", ahead > 20
)

# %% tags=["hide-input", "nbval-ignore-output"]
told = ", ".join(f"{name} {accuracy:.0f} %" for name, accuracy in tests.items())
ledger.add("five_labels", ours=told, beyond=ahead)

# %% [markdown]
# ```{admonition} A trap: the wrong class loads without an error
# :class: warning
# Checkpoints with registers belong to `Dinov2WithRegistersModel`. The class without that word takes the file too, leaves the registers out,
# and gives other features. `AutoModel` reads the type from the configuration and chooses correctly.
# ```

# %%
without = transformers.Dinov2Model.from_pretrained(folder).eval().to(here.device)
with torch.no_grad():
    right, wrong = (
        m(as_input(asked.images[:8])).pooler_output for m in (model, without)
    )
print("loaded as:", type(without).__name__)
print("the same features:", torch.allclose(right, wrong, atol=1e-3))

# %% [markdown]
# ## Dense prediction: what is where
#
# Patches lie in a grid. Put them back into it, and each patch can answer for its place: is this object or ground? How far away is it? A widely
# copied listing does the reshape so:
#
# ```python
# patch_embeddings = outputs.last_hidden_state[:, 1:, :]
# B, N, D = patch_embeddings.shape
# H = W = int(N ** 0.5)  # assume square
# spatial_features = patch_embeddings.reshape(B, H, W, D)
# ```
#
# ```{admonition} Errata: two mistakes in four lines
# :class: warning
# 1. With registers, `1:` takes four registers for patches.
# 2. The number of patches does not tell the grid's shape. 144 patches are 12×12 or 8×18.
# ```
#
# What happens? An error, if you are lucky:


# %%
def listing(tokens: torch.Tensor) -> str:
    patches = tokens[:, 1:, :]
    B, N, D = patches.shape
    side = int(N**0.5)
    try:
        return (
            f"a grid of {tuple(patches.reshape(B, side, side, D).shape[1:3])}, no error"
        )
    except RuntimeError:
        return "RuntimeError"


PATCH = model.config.patch_size
for rows, columns in ((8, 8), (8, 12), (5, 9)):
    picture = torch.zeros(1, 3, rows * PATCH, columns * PATCH, dtype=torch.uint8)
    with torch.no_grad():
        tokens = model(as_input(picture)).last_hidden_state
    print(f"{rows}×{columns} patches, {tokens.shape[1]} tokens: {listing(tokens)}")

# %% [markdown]
# 8·12 patches and 4 registers make 100, which is 10·10; 5·9 and 4 make 49, which is 7·7. A map comes out, of the right kind of shape, and everything in it is in the
# wrong place. The correct cut starts at `1 + num_register_tokens`, and the
# grid comes from the picture's size:

# %%
R = getattr(model.config, "num_register_tokens", 0)
patches = tokens[:, 1 + R :]
grid = picture.shape[2] // PATCH, picture.shape[3] // PATCH
spatial = patches.transpose(1, 2).unflatten(2, grid)
print("registers:", R)
print("grid:", tuple(spatial.shape[2:]), "of", patches.shape[1], "patches")

# %% [markdown]
# And if patches do not fill the picture? `transformers` cuts off the rest without a word; the course's network says so:

# %%
odd = torch.zeros(1, 3, 8 * PATCH + 5, 8 * PATCH + 5, dtype=torch.uint8)
with torch.no_grad():
    print(
        "transformers:",
        model(as_input(odd)).last_hidden_state.shape[1] - 1 - R,
        "patches",
    )
try:
    dinov2.dinov2_small().grid(230, 230)
except ValueError as error:
    print("ours:", error)

# %% [markdown]
# ### Segmentation with a linear layer
#
# One linear layer, the same for every patch, says how much *object* there is. Its answers form a coarse map, which is enlarged to the picture's size by
# bilinear interpolation; only then do we compare with the true mask. The listing forgot that step, and a mask of 8×8 is not one of 64×64.

# %% tags=["profile-dependent"]
size = (SIDE, SIDE)
segmenter = probes.segment_linear(known_features, known.mask)
masks_found = segmenter.predict(asked_features, size) > 0
miou = probes.mean_iou(masks_found, asked.mask)
print("found:", tuple(masks_found.shape), "true:", tuple(asked.mask.shape))

# %% [markdown]
# ### Depth with a small head
#
# Depth is a number for each pixel; near things deserve a finer scale, so the head predicts its logarithm. Two 3×3 convolutions on the frozen patches. The sky has
# no depth and is left out. The baseline to beat: always predict the mean.

# %%
depth_model = probes.depth_head(known_features, known.depth, steps=300)
depth_found = depth_model.predict(asked_features, size)
error = probes.depth_error(depth_found, asked.depth).rmse_log
mean_log = known.depth[known.depth.isfinite()].log().mean()
mean_error = probes.depth_error(mean_log, asked.depth).rmse_log

# %% tags=["profile-dependent"]
print("mIoU of linear segmentation at least 0.80:", miou >= 0.80)
print("depth error at most half of predicting the mean:", error <= 0.5 * mean_error)

# %% tags=["hide-input"]
figure, axes = plt.subplots(5, 8, figsize=(10, 6.6))
depth_true = asked.depth.log().masked_fill(asked.depth.isinf(), torch.nan)
depth_shown = depth_found.masked_fill(asked.depth.isinf(), torch.nan)
low, high = np.nanquantile(depth_true[:8], (0.02, 0.98))
for k, column in enumerate(axes.T):
    column[0].imshow(plots.to_image(asked.images[k]))
    column[1].imshow(asked.mask[k], cmap="gray", interpolation="nearest")
    column[2].imshow(masks_found[k], cmap="gray", interpolation="nearest")
    for axis, picture in zip(column[3:], (depth_true[k], depth_shown[k]), strict=True):
        axis.imshow(picture, cmap="viridis_r", vmin=low, vmax=high)
    for axis in column:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
for axis, title in zip(
    axes[:, 0], ("scene", "mask", "found", "depth", "found"), strict=True
):
    axis.set_ylabel(title, fontsize=9.5)
plots.show(
    figure,
    alt="Eight test scenes in columns. Rows: the scene, its true mask, the mask found by a linear layer, the true depth, the depth found by a "
    "small head. Masks have the right place and size with rounded outlines; depth has the ground's slope and the object in front.",
    caption=f"Linear segmentation (mIoU {miou:.2f}) and a small depth head (error {error:.2f} in the logarithm, the mean's {mean_error:.2f}) "
    f"on frozen patches of {here.dino}. Dark is far; the sky has no depth.",
)

# %% [markdown]
# Compare with the record: other backbones, the same heads.

# %% tags=["nbval-ignore-output"]
print(f"{'':18}{'mIoU':>7}{'depth, linear':>15}{'depth, head':>13}   (mean: ", end="")
print(
    f"{result('pixels', 'depth_mean_rmse_log').mean():.3f}, each pixel's mean: ", end=""
)
print(f"{result('pixels', 'depth_pixel_mean_rmse_log').mean():.3f})")
for name, title in NAMES.items():
    values = [
        result(name, w).mean()
        for w in ("segment_miou", "depth_linear_rmse_log", "depth_head_rmse_log")
    ]
    print(
        f"{title.split(chr(10))[0]:18}{values[0]:7.3f}{values[1]:15.3f}{values[2]:13.3f}"
    )

# %% tags=["hide-input", "nbval-ignore-output"]
OURS = ("mini-dinov2", "mini-dinov2-pretrained")
found = {n: result(n, "segment_miou").mean() for n in OURS}
told = f"mIoU {miou:.2f} live; record " + ", ".join(
    f"{n} {v:.2f}" for n, v in found.items()
)
ledger.add("segmentation", ours=told, beyond=min(found.values()))
errors = {
    n: (result(n, "depth_head_rmse_log") / result(n, "depth_mean_rmse_log")).mean()
    for n in OURS
}
told = ", ".join(f"{n} {v:.2f}" for n, v in errors.items())
ledger.add("depth", errors=told, within=max(errors.values()))

# %% [markdown]
# ### And with no head at all
#
# Back to the first picture. The first principal component, cut at zero, is a segmentation without a single label. How good is it? Overlap with the
# true mask (IoU), for each network, against two baselines: the pixels' own principal component, and always guessing the middle of the picture.

# %% tags=["hide-input"]
values = {
    title.replace("\n", " "): result(name, "principal_iou")
    for name, title in NAMES.items()
}
values["the middle of\nthe picture"] = result("pixels", "middle_iou")
figure, axis = plt.subplots(figsize=(6.6, 3.2))
colours = [plots.PALETTE["green" if "distilled" in n else "grey"] for n in values]
bars = axis.barh(list(values), [v.mean() for v in values.values()], color=colours)
axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
axis.set(xlim=(0, 1), xlabel="IoU with the object")
axis.invert_yaxis()
axis.grid(False, axis="y")
plots.show(
    figure,
    alt="Bars of the overlap between first principal component and object: "
    + ", ".join(f"{n.replace(chr(10), ' ')} {v.mean():.2f}" for n, v in values.items())
    + ".",
    caption="Record: the first principal component of each picture's patches, cut at zero, as a guess of the object; 500 scenes. Green: "
    "the shipped networks.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
principal = {n: result(n, "principal_iou").mean() for n in NAMES}
middle = result("pixels", "middle_iou").mean()
better = max(principal[n] for n in OURS) > max(principal["pixels"], middle)
ledger.add("principal", iou=principal, middle=middle, holds=better)

# %% [markdown]
# ## A real photograph
#
# scikit-image carries a photograph of a motorcycle *with measured depth*: a stereo pair and the disparity of each pixel, which is large where
# things are near. The picture is not square. Everything above works on it: choose a size that patches fill, about as the picture's sides are.

# %% tags=["profile-dependent"]
stereo = photos.stereo()
photo = torch.from_numpy(np.array(stereo.left)).permute(2, 0, 1)[None]
rows, columns = SIDE // PATCH, round(SIDE / PATCH * photo.shape[3] / photo.shape[2])
wide = rows * PATCH, columns * PATCH
resized = (
    F.interpolate(photo.float(), wide, mode="bicubic", antialias=True)
    .clamp(0, 255)
    .to(torch.uint8)
)
features = look(resized, model)
print("photograph:", tuple(photo.shape[2:]), "patches:", features.grid)

# %% [markdown]
# The depth head has seen rendered scenes only. Does it order the motorcycle's points by their distance? Rank correlation with the measured
# disparity says it (1: the right order). The baseline needs no network: *what is lower in the picture is nearer.*

# %%
depth_guess = depth_model.predict(features, photo.shape[2:])[0]
measured = np.isfinite(stereo.disparity)
lower = np.broadcast_to(np.arange(photo.shape[2])[:, None], measured.shape)
order = {
    "depth head": stats.spearmanr(
        -depth_guess.numpy()[measured], stereo.disparity[measured]
    )[0],
    "lower is nearer": stats.spearmanr(lower[measured], stereo.disparity[measured])[0],
}

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 4, figsize=(10.6, 2.3))
axes[0].imshow(stereo.left)
extent = (0, photo.shape[3], photo.shape[2], 0)
axes[1].imshow(
    painted(probes.principal_maps(features)[0]), interpolation="nearest", extent=extent
)
axes[2].imshow(-depth_guess, cmap="viridis")
axes[3].imshow(stereo.disparity, cmap="viridis")
for axis, title in zip(
    axes,
    (
        "photograph",
        "principal components",
        "depth head (near is light)",
        "measured (near is light)",
    ),
    strict=True,
):
    axis.set_title(title, fontsize=9.5)
    axis.axis("off")
plots.show(
    figure,
    alt="A motorcycle in a workshop; the principal components of its patches as colours; the depth that a head trained on rendered scenes "
    "gives; the measured disparity. "
    + ", ".join(f"Rank correlation of {n}: {v:.2f}" for n, v in order.items())
    + ".",
    caption=f"{here.dino} on a photograph that is not square. Rank correlation with the measured disparity: "
    + ", ".join(f"{n} {v:.2f}" for n, v in order.items())
    + ".",
)

# %% tags=["profile-dependent"]
ahead = order["depth head"] - order["lower is nearer"]
print(
    "the head orders the points better than the baseline, by 0.1 or more:", ahead >= 0.1
)

# %% [markdown]
# On the laptop it is hardly better. A network that has seen rendered scenes, and a head trained on them, do not know workshops. This is the honest limit of a small
# model: the method is DINOv2's, the knowledge is not. With `MODARCH_PROFILE=gpu` the cells above run on Meta's network, on the same photograph.

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("depth_transfer", network=here.dino, order=order, beyond=ahead)

# %% [markdown]
# ## What small scale cannot show
#
# Why registers at all? {cite:t}`darcet2024registers` looked at the *length* of patch vectors in large trained networks and found a few that are many times longer than the
# rest, in places with nothing to see: a patch of sky. The network used them as scratch paper, for notes about the whole picture. Registers give it
# paper of its own, and the long patches disappear. It mattered most where patches are used to find objects:

# %%
lost = claims.paper("dinov2.registers")
print(
    f"objects found by LOST in VOC 2007: {lost['lost_without']} % without registers, {lost['lost_with']} % with"
)

# %% [markdown]
# These *artefacts* appear in L and larger, and only after long training. S and B have none, and neither do the course's networks, so **nothing in this
# chapter shows what registers are good for**. Here is how to see it where there is a GPU: the next cells take `dinov2-large`, which has no
# registers, in the gpu profile, and the same small network as before in the laptop profile.

# %%
large_name = profile.pick(laptop="mini-dinov2", gpu="dinov2_large")
large_folder = zoo.folder(large_name)
large = zoo.whole(AutoModel.from_pretrained(large_folder), large_folder)
large = large.eval().to(here.device)
side = large.config.image_size
batch = []
for name in ("chelsea", "coffee", "astronaut", "rocket", "china", "flower"):
    pixels = torch.from_numpy(np.array(photos.load(name))).permute(2, 0, 1)[None]
    edge = min(pixels.shape[2:])
    pixels = pixels[..., :edge, (pixels.shape[3] - edge) // 2 :][..., :edge].float()
    batch.append(F.interpolate(pixels, (side, side), mode="bicubic", antialias=True))
batch = torch.cat(batch).clamp(0, 255).to(torch.uint8)
first = 1 + getattr(large.config, "num_register_tokens", 0)
with torch.no_grad():
    layers = large(as_input(batch), output_hidden_states=True).hidden_states
lengths = torch.stack([layer[:, first:].norm(dim=2).cpu() for layer in layers])
print("photographs:", lengths.shape[1])

# %% tags=["hide-input", "profile-dependent"]
last = lengths[-1]
ratio = (last.max() / last.median()).item()
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(10, 3), width_ratios=(1.2, 1.2, 1)
)
left.hist(last.flatten().numpy(), bins=40, color=plots.PALETTE["blue"])
left.set(
    xlabel="length of a patch's vector, last layer", ylabel="patches", yscale="log"
)
for q, label, colour in ((1.0, "longest", "orange"), (0.5, "median", "blue")):
    middle.plot(
        lengths.flatten(1).quantile(q, 1), color=plots.PALETTE[colour], label=label
    )
middle.set(xlabel="layer", ylabel="length", ylim=(0, None))
middle.legend()
cells = side // large.config.patch_size
right.imshow(last[3].view(cells, cells), cmap="magma")
right.set_title("the rocket's patches", fontsize=9.5)
right.axis("off")
plots.show(
    figure,
    alt=f"Histogram of the lengths of patch vectors, the longest {ratio:.1f} times the median; longest and median length by layer; "
    "the lengths as a picture.",
    caption=f"{large_name} on six photographs: is any patch much longer than the rest? The longest is {ratio:.1f} times the median.",
)

# %% tags=["hide-input", "nbval-ignore-output"]
ledger.add("long_patches", network=large_name, beyond=ratio)

# %% [markdown]
# ### The same, larger, on a GPU
#
# With `MODARCH_PROFILE=gpu` everything from *Working with frozen features* on has already run on `dinov2-with-registers-small`, and the cells above on
# `dinov2-large`. What is the speed of the network that you have?

# %% tags=["profile-dependent", "nbval-ignore-output"]
pixels = as_input(asked.images[:32])
with torch.inference_mode():
    speed = measure.throughput(lambda: model(pixels), len(pixels), warmup=1, repeats=5)
print(
    f"{here.dino} on {here.device.type}: {speed:.0f} pictures of {SIDE} pixels a second"
)

# %% [markdown]
# ## Now you
#
# Predict first, then unfold.
#
# **1.** A friend trains DINOv2 on their own pictures. The loss falls to 0.001 within an hour. Congratulations?
#
# <details><summary>Answer</summary>
# Rather not. A loss near zero means that the teacher's answers are certain and that the student knows them all, and the easiest way there is to say always the same. Look at the
# entropy of the mean answer and at k-NN accuracy.
# </details>
#
# **2.** You switch Sinkhorn-Knopp off and leave sharpening on. What do all pictures get? And the other way round?
#
# <details><summary>Answer</summary>
# Without centring: all the same one word, with certainty. Without sharpening: the uniform answer.
# </details>
#
# **3.** A picture of 224×336 pixels goes through a model with patches of 14 and four registers. How many tokens come out, where do the patches
# begin, and what is the grid?
#
# <details><summary>Answer</summary>
# 16·24 = 384 patches, one class token and four registers: 389 tokens. Patches begin at index 5. The grid is 16 rows and 24 columns; the square root of 384
# is no help.
# </details>
#
# **4.** You want to sort fruit by ripeness, that is, by colour. `mini-dinov2` or `mini-dinov2-pretrained`?
#
# <details><summary>Answer</summary>
# The self-distilled one, by the figures above: the distilled one took over a teacher to whom colour matters little. Or ask the
# pixels first.
# </details>
#
# **5.** Why does the teacher see only the global crops?
#
# <details><summary>Answer</summary>
# Its answer is the target, so it should be the better informed of the two. A target made from a corner of the ground would teach the student
# to ignore what it sees.
# </details>
#
# ## Summary
#
# * Self-distillation: say the same about every crop as an average of your earlier selves says about a whole one. Three losses: for the picture (DINO), for
#   hidden patches (iBOT), for distance between pictures (KoLeo).
# * Collapse has two faces, one word for all and all words alike. Centring stops one, sharpening the other. Agreement with the teacher shows neither.
# * Small members of the family are distilled from a large frozen one. A student learns what its teacher knows, and not what it ignores.
# * Judge features by what a simple reader finds in them, against an untrained network *and* raw pixels.
# * Tokens: class, registers, patches. Patches begin at `1 + num_register_tokens`; the grid comes from the picture's size.
# * Not shown here: what registers cure, and the breadth that 142 million pictures give.
#
# ### Claims

# %% tags=["nbval-ignore-output"]
ledger

# %% tags=["profile-dependent"]
ledger.verdicts()

# %% [markdown]
# ## What to read
#
# * {cite:t}`oquab2024dinov2`, sections 4 and 5, and {cite:t}`caron2021dino` for where it comes from; {cite:t}`darcet2024registers` is short and full of pictures.
# * `modarch_utils/training/dino.py`: all losses and safeguards; `modarch_utils/training/probes.py`: all readers of features.
# * The model cards in `modarch_utils/weights/`, which say how the two small networks were trained and what they are not.
