# %% [markdown]
# # Pretrained models: how far do a few labels go?
#
# You have a task of your own, an afternoon, and eight labelled pictures. Nobody trains a network on eight pictures. But somebody
# else has trained one on more than a million, and its weights are a file. Two libraries, `timm` {cite}`wightman2019timm` and
# `transformers`, put many such files behind one line of code. The line is easy; what goes wrong is around it, and most of it
# goes wrong *silently*: wrong pixels, wrong names, layers that seem frozen and are not.
#
# The question of this chapter: **what is a pretrained network worth on a task that it has never seen, and how do you use it without
# being fooled?**
#
# **After this chapter you can**
#
# * find a model by name and by tag, and take out its logits, its features or its maps;
# * give a network a new head without breaking it;
# * feed it the pixels that it was trained with, and read its labels;
# * load, save and shrink weights without a network connection;
# * fine-tune with a rate for each layer, and unfreeze layer by layer so that a run can be resumed;
# * tell, from measurements, which of these is worth its time at your number of labels.

# %%
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
import transformers
from huggingface_hub import constants
from modarch_utils import claims, measure, plots, profile, records, zoo
from modarch_utils.data import photos, scenes
from modarch_utils.studies import transfer
from modarch_utils.training.batches import to_input
from modarch_utils.training.equal_steps import equal_steps
from modarch_utils.training.loop import evaluate
from modarch_utils.training.probes import linear_probe
from modarch_utils.training.randomness import seeded
from safetensors import safe_open
from safetensors.torch import load_file, save_file, save_model
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config
from timm.optim import param_groups_layer_decay
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    BitImageProcessor,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
)

plots.use_style()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
here = profile.current()
ledger = claims.Ledger("07_pretrained_models")

# %% [markdown]
# ## The task
#
# Rendered scenes, 64 pixels wide, one small object in each. Which of eight shapes is it? ImageNet has photographs of a thousand kinds of
# things, and neither rendered scenes nor the class "torus".

# %%
wide = scenes.render(16, 64, seed=2, framing="wide", start=2000)
plots.show(
    plots.image_grid(
        wide.images, [scenes.SHAPES[c] for c in wide.shape], ncols=8, size=1.1
    ),
    alt="Sixteen rendered scenes with a small object on a textured ground, with the shape's name above each.",
    caption="The task of this chapter: name the shape. The object covers five to ten per cent of the frame.",
)

# %% [markdown]
# Predict, and keep your four numbers: **how many of a hundred such scenes will be named rightly, with 1 and with 16 labelled scenes of each shape, (a) by a
# linear classifier on the features of a network that was trained on ImageNet, (b) by the same network trained from a random start?** Chance is 12.5.
#
# ## Finding a model
#
# `timm` knows *architectures*, and *tags*: one tag for each set of weights of an architecture. A full name is `architecture.tag`, and the tag tells
# what the weights were trained on.

# %% tags=["nbval-ignore-output"]
architectures = timm.list_models()
tagged = timm.list_models(pretrained=True)
print(
    f"timm {timm.__version__}: {len(architectures):,} architectures, {len(tagged):,} sets of weights"
)

# %% [markdown]
# ```{admonition} Errata: a count that went stale
# :class: warning
# Courses still write that timm has "more than 700 pretrained models". It was true once. A count belongs to a version and to a question
# (architectures, or sets of weights?), and here the library answers it.
# ```

# %%
names = timm.list_models("convnext_base*", pretrained=True)
print("weights for convnext_base and its relatives:", len(names) > 10)
for name in (
    "convnext_base.fb_in1k",
    "convnext_base.fb_in22k_ft_in1k",
    "convnext_base.fb_in22k",
):
    config = timm.get_pretrained_cfg(name)
    print(f"{name:34} {config.num_classes:6} classes, input {config.input_size}")

# %% [markdown]
# Read the tags: `in1k` was trained on ImageNet-1k, `in22k` on all of ImageNet, `in22k_ft_in1k` on all and then fine-tuned on 1k. [Chapter 06](06_comparison.ipynb)
# has shown what that does to an accuracy. A name *without* a tag takes a default, which is not always the one that you would have guessed:

# %%
for name in ("convnext_tiny", "convnext_base", "tf_efficientnetv2_s", "resnet50"):
    print(f"{name:20} means {timm.get_pretrained_cfg(name).tag}")

# %% [markdown]
# Write the tag. A comparison of two untagged names may compare two data sets.
#
# ## Logits, features, maps
#
# One network gives four kinds of answers. Shapes cost nothing on the meta device, so this is ConvNeXt-B without its 350 MB:

# %%
with torch.device("meta"):
    picture = torch.empty(1, 3, 224, 224)
    network = timm.create_model("convnext_base.fb_in22k_ft_in1k").eval()
    pooled = timm.create_model("convnext_base", num_classes=0).eval()
    pyramid = timm.create_model("convnext_base", features_only=True).eval()
    maps = network.forward_features(picture)
    print("logits:                 ", tuple(network(picture).shape))
    print("num_classes=0:          ", tuple(pooled(picture).shape))
    print("forward_features:       ", tuple(maps.shape))
    print("forward_head(maps):     ", tuple(network.forward_head(maps).shape))
    print(
        "forward_head(…, True):  ",
        tuple(network.forward_head(maps, pre_logits=True).shape),
    )
    for part, reduction in zip(
        pyramid(picture), pyramid.feature_info.reduction(), strict=True
    ):
        print(f"features_only, 1/{reduction:<2}:    ", tuple(part.shape))

# %% [markdown]
# * `num_classes=0`: one vector for a picture. For a classifier, k-NN, retrieval.
# * `forward_features`: the last map, before pooling. For "where is it?"
# * `features_only=True`: maps of all stages. For segmentation and detection. `feature_info` says how much smaller each is; do not write it down by hand.
#
# `network(x)` is `forward_head(forward_features(x))`, and the pooled features are `forward_head(…, pre_logits=True)`. With numbers, in a network small enough for it:

# %%
torch.manual_seed(0)
atto = timm.create_model("convnext_atto", num_classes=10).eval()
x = torch.randn(2, 3, 96, 96)
with torch.no_grad():
    halves = atto.forward_head(atto.forward_features(x))
    print("the two halves are the whole:", torch.allclose(halves, atto(x), atol=1e-6))

# %% [markdown]
# ## A new head
#
# Your task has ten classes, not a thousand. Here is how many courses do it:

# %%
broken = timm.create_model("convnext_atto").eval()
print("channels:", broken.head.in_features)
broken.head = nn.Linear(broken.head.in_features, 10)
failed = False
try:
    broken(torch.randn(1, 3, 224, 224))
except RuntimeError as error:
    failed = True
    print("RuntimeError:", error)

# %% [markdown]
# The line itself works, which is the trap: `model.head` has an `in_features`. But in this family `head` is not the last linear layer. It is a module that pools, normalises, flattens *and then*
# classifies, and all four were thrown away. The linear layer met a map of 320 × 7 × 7, so that "7" stood where "320" should be. What is in a head differs from family to family:

# %%
with torch.device("meta"):
    for name in (
        "convnext_atto",
        "resnet18",
        "tf_efficientnet_lite0",
        "vit_tiny_patch16_224",
        "swin_tiny_patch4_window7_224",
    ):
        network = timm.create_model(name)
        kind = type(
            network.get_submodule(network.pretrained_cfg["classifier"].split(".")[0])
        )
        print(
            f"{name:30} classifier at {network.pretrained_cfg['classifier']:12} in a {kind.__name__}"
        )

# %% [markdown]
# `reset_classifier` knows each of them, and so does `num_classes=` at creation:

# %%
mended = timm.create_model("convnext_atto").eval()
mended.reset_classifier(10)
with torch.no_grad():
    logits = mended(torch.randn(1, 3, 224, 224))
    print("ten classes:", tuple(logits.shape))
    mended.reset_classifier(0)
    print("features:   ", tuple(mended(torch.randn(1, 3, 224, 224)).shape))

# %% tags=["hide-input"]
ledger.add("head", holds=failed and logits.shape == (1, 10))

# %% [markdown]
# ## Pixels
#
# A network expects pictures as it was trained on them: size, cropping, interpolation, and which numbers stand for black and white. With other numbers it does *not* fail.
# It just answers something else. Every timm model carries its own settings:

# %% tags=["profile-dependent"]
classifier = zoo.load_timm(here.classifier)
config = resolve_model_data_config(classifier)
for key in ("input_size", "interpolation", "mean", "std", "crop_pct"):
    print(f"{key:14} {config[key]}")
transform = create_transform(**config, is_training=False)

# %% [markdown]
# Three photographs, the right pixels, and three kinds of wrong ones. "0 to 255" is what comes from forgetting to scale at all.

# %%
cat = photos.load("chelsea")
info = ImageNetInfo("imagenet-1k")
MEAN, STD = (torch.tensor(config[k])[:, None, None] for k in ("mean", "std"))
clip = BitImageProcessor()


def normalised(pixels: torch.Tensor, mean, std) -> torch.Tensor:
    """Pixels in [0, 1] (3, H, W) with another mean and deviation."""
    mean, std = (torch.as_tensor(v)[:, None, None] for v in (mean, std))
    return (pixels - mean) / std


ways = {
    "as trained": lambda p: normalised(p, config["mean"], config["std"]),
    "CLIP's mean and std": lambda p: normalised(p, clip.image_mean, clip.image_std),
    "0 to 1": lambda p: p,
    "0 to 255": lambda p: 255 * p,
}
answers = {}
for name in ("chelsea", "coffee", "rocket"):
    pixels = transform(photos.load(name)) * STD + MEAN
    with torch.no_grad():
        for way, prepare in ways.items():
            answers[name, way] = classifier(prepare(pixels)[None]).softmax(1)[0].max(0)

# %% tags=["nbval-ignore-output"]
for (name, way), (share, index) in answers.items():
    title = info.index_to_description(index.item()).split(",")[0]
    print(f"{name:9} {way:20} {share:5.2f}  {title}")

# %% [markdown]
# No error and no warning in any of the twelve. A slightly wrong scale costs certainty, or the breed of the cat; a badly wrong one turns pictures into pillows. The *bare* processor of `transformers` is the most likely way into this trap: `BitImageProcessor()`, without `from_pretrained`, has the mean and deviation
# of CLIP, whatever model you give its pictures to:

# %%
print(
    "BitImageProcessor():",
    [round(v, 3) for v in clip.image_mean],
    "is the classifier's own:",
    tuple(clip.image_mean) == tuple(config["mean"]),
)

# %% [markdown]
# ### Names of the classes
#
# `ImageNetInfo` translates class numbers. Two traps in one:

# %%
try:
    ImageNetInfo.label_names()
except TypeError as error:
    print("TypeError:", error)
print("label_names()[0]:         ", info.label_names()[0])
print("index_to_description(0):  ", info.index_to_description(0))

# %% [markdown]
# It must be an *instance*, and its `label_names` are WordNet's numbers, not words. `index_to_description` has the words.
#
# ### Pictures with four channels, or one
#
# PNG files often have a fourth channel, for transparency, and scans only one. Neither fits a network for three:

# %%
for mode in ("RGBA", "L"):
    try:
        transform(cat.convert(mode))
        print(mode, "went through")
    except RuntimeError as error:
        print(f"{mode}: RuntimeError: {str(error)[:90]}")
    print(
        f"{mode}, after convert('RGB'):",
        tuple(transform(cat.convert(mode).convert("RGB")).shape)[0],
        "channels",
    )

# %% [markdown]
# ```{admonition} Common mistakes
# :class: warning
# * *`Image.open(path)` straight into the transform.* Always `Image.open(path).convert("RGB")`.
# * *`ImageNetInfo.label_names()` for names.* See above.
# * *The usual mean 0.485 and deviation 0.229 for every model.* Ask `resolve_model_data_config`.
# * *224 pixels for every model.* `tf_efficientnetv2_s` is trained at 300 and tested at 384: `resolve_model_data_config(model, use_test_size=True)`.
# ```

# %%
with torch.device("meta"):
    v2 = timm.create_model("tf_efficientnetv2_s.in21k_ft_in1k")
for test in (False, True):
    print(
        "use_test_size =",
        test,
        resolve_model_data_config(v2, use_test_size=test)["input_size"],
    )

# %% [markdown]
# ## transformers
#
# `transformers` finds class and settings by itself: the folder of a model has `config.json`, `preprocessor_config.json` and `model.safetensors`, and the three *Auto* classes read one each. A
# name such as `"microsoft/swin-base-patch4-window7-224"` is fetched from the hub into such a folder. We have no hub here, so we make a folder of the same format: a tiny ConvNeXt V2 with random
# weights. Everything but its answers is as with a real one.

# %%
workshop = Path(tempfile.mkdtemp())
torch.manual_seed(0)
tiny = ConvNextV2ForImageClassification(
    ConvNextV2Config(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        id2label=dict(enumerate(scenes.SHAPES)),
        label2id={name: k for k, name in enumerate(scenes.SHAPES)},
    )
)
tiny.save_pretrained(workshop / "tiny")
BitImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(
    workshop / "tiny"
)
print(sorted(path.name for path in (workshop / "tiny").iterdir()))

# %%
processor = AutoImageProcessor.from_pretrained(workshop / "tiny")
model = AutoModelForImageClassification.from_pretrained(workshop / "tiny").eval()
inputs = processor(images=cat, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
print("pixels:", tuple(inputs["pixel_values"].shape), "logits:", tuple(logits.shape))
print("its labels:", ", ".join(model.config.id2label.values()))
print(
    "same weights as saved:",
    all(
        torch.equal(a, b)
        for a, b in zip(
            tiny.state_dict().values(), model.state_dict().values(), strict=True
        )
    ),
)

# %% [markdown]
# `AutoModel` gives the body without a head, for features; the course's own `mini-dinov2` of [chapter 04](04_dinov2.ipynb) is such a folder. And a new head has a switch, because the sizes do not fit:

# %%
body = AutoModel.from_pretrained(zoo.folder("mini-dinov2"))
print(type(body).__name__, f"{measure.count_params(body):,} parameters")
try:
    AutoModelForImageClassification.from_pretrained(workshop / "tiny", num_labels=3)
except RuntimeError as error:
    print(
        "RuntimeError, which names the switch:", "ignore_mismatched_sizes" in str(error)
    )
three = AutoModelForImageClassification.from_pretrained(
    workshop / "tiny", num_labels=3, ignore_mismatched_sizes=True
)
print("new head:", tuple(three.classifier.weight.shape))

# %% [markdown]
# ## Without a network
#
# A model that is fetched is kept. Where, and what decides it:
#
# | library | kept in | another place | never ask the network |
# |---|---|---|---|
# | `timm`, `transformers`, `diffusers` (hub) | `~/.cache/huggingface/hub` | `HF_HOME` or `HF_HUB_CACHE` | `HF_HUB_OFFLINE=1` |
# | `torch.hub`, `torchvision` | `~/.cache/torch/hub` | `TORCH_HOME` | load from a file |
# | this course (scenes, features) | `~/.cache/modarch` | `MODARCH_CACHE` | the laptop profile |
#
# In the hub's cache a folder `models--OWNER--NAME` holds the files once (`blobs`) and a folder of links for each revision (`snapshots`). A *revision* is a commit: pin it, or the same line may load other weights
# next year. Without a network and without the files, this happens:

# %%
before = constants.HF_HUB_OFFLINE
constants.HF_HUB_OFFLINE = True  # as HF_HUB_OFFLINE=1 does before Python starts
try:
    AutoModel.from_pretrained("modarch/no-such-model")
except OSError as error:
    print("OSError:", str(error).splitlines()[0][:110])
finally:
    constants.HF_HUB_OFFLINE = before

# %% [markdown]
# Set the variable *before* Python starts; the libraries read it when they are imported. To prepare a machine that has no network: `hf download OWNER/NAME --revision COMMIT` where there is one, then copy the cache.
#
# ## Saving and loading
#
# A `.pth` file is a *pickle*, and loading a pickle can run any code that its author put in. `torch.load(…, weights_only=True)` refuses such code. **safetensors** has none to begin with: a header and the numbers.

# %%
file = workshop / "atto.safetensors"
save_file(atto.state_dict(), file, metadata={"made": "by chapter 07"})
with safe_open(file, framework="pt") as opened:
    print(len(list(opened.keys())), "tensors;", opened.metadata())
again = timm.create_model("convnext_atto", num_classes=10).eval()
print(again.load_state_dict(load_file(file)))

# %% [markdown]
# **Shared tensors.** Two names for one tensor, as in networks whose first and last layer share their weights, do not fit into the format. `save_file` says so; `save_model` writes it once:

# %%
tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
tied[1].weight = tied[0].weight
try:
    save_file(tied.state_dict(), workshop / "tied.safetensors")
except RuntimeError as error:
    print("RuntimeError:", str(error).strip().splitlines()[0][:90])
save_model(tied, str(workshop / "tied.safetensors"))
print("written:", sorted(load_file(workshop / "tied.safetensors")))

# %% [markdown]
# **`strict=False`** is the most dangerous word of this chapter. It does not only forgive a missing head; it forgives everything:

# %%
renamed = {f"module.{key}": value for key, value in atto.state_dict().items()}
victim = timm.create_model("convnext_atto", num_classes=10)
result = victim.load_state_dict(renamed, strict=False)
print(f"{len(result.missing_keys)} of {len(renamed)} tensors missing, and no error")

# %% [markdown]
# A network with a random start is what you have now. Keep `strict=True`; where something must differ, remove exactly that from the file, or *assert* what is missing.
#
# **Half precision** halves the file. Is the network the same?

# %%
half = {
    k: v.half() if v.is_floating_point() else v
    for k, v in classifier.state_dict().items()
}
sizes = {}
for name, weights in (("float32", classifier.state_dict()), ("float16", half)):
    save_file(weights, workshop / f"{name}.safetensors")
    sizes[name] = (workshop / f"{name}.safetensors").stat().st_size
print(f"the file has {sizes['float16'] / sizes['float32']:.2f} of its size")
pictures = torch.stack(
    [transform(photos.load(n)) for n in ("chelsea", "coffee", "rocket")]
)
rounded = zoo.load_timm(here.classifier)
rounded.load_state_dict(
    half
)  # the numbers are rounded; the network computes in float32
with torch.no_grad():
    full, less = (net(pictures).softmax(1) for net in (classifier, rounded))
print("same answers:", bool((full.argmax(1) == less.argmax(1)).all()))
print("probabilities differ by less than 0.01:", bool((full - less).abs().max() < 0.01))

# %% [markdown]
# ## Transfer: features that stay as they are
#
# Now the task. The cheapest way is **feature extraction**: run each picture through the frozen network *once*, keep the vectors, and train a linear classifier on them. The features are kept on disk under a hash of
# the network's weights *and* of the pictures. So a second classifier costs no forward pass, and a stale file cannot be taken for a fresh one.

# %%
SETTINGS = records.load("transfer")["settings"]
SIZE, CHECKPOINT = SETTINGS["image_size"], SETTINGS["checkpoint"]
pool = scenes.load(SETTINGS["pool"], SIZE, seed=0, framing=SETTINGS["framing"])
chooses = scenes.load(SETTINGS["val_images"], SIZE, seed=1, framing=SETTINGS["framing"])
test = scenes.load(SETTINGS["test_images"], SIZE, seed=2, framing=SETTINGS["framing"])
backbone = zoo.load_timm(CHECKPOINT)
backbone.reset_classifier(0)
backbone = backbone.to(memory_format=torch.channels_last)
seconds = []
for _ in range(2):
    started = time.perf_counter()
    known, val, asked = (
        transfer.cached_features(backbone, s.images) for s in (pool, chooses, test)
    )
    seconds.append(time.perf_counter() - started)
print("features:", tuple(known.shape), tuple(asked.shape))

# %% tags=["nbval-ignore-output"]
started = time.perf_counter()
everything = linear_probe(
    (known, pool.shape), (val, chooses.shape), (asked, test.shape)
)
print(
    f"features the first time {seconds[0]:.1f} s (0 where they were kept), then {seconds[1]:.2f} s"
)
print(
    f"five classifiers on {len(pool)} labels {time.perf_counter() - started:.1f} s, "
    f"the best is right on {100 * everything.accuracy:.1f} %"
)

# %% [markdown]
# A new head, even a new question, now costs no forward pass. The same vectors, asked for other things:

# %% tags=["nbval-ignore-output"]
for what, names in (("colour", scenes.COLOURS), ("ground", scenes.GROUNDS)):
    labels = [getattr(s.factors, what) for s in (pool, chooses, test)]
    started = time.perf_counter()
    found = linear_probe(*zip((known, val, asked), labels, strict=True))
    print(
        f"{what}, {len(names)} classes: {100 * found.accuracy:5.1f} % right "
        f"after {time.perf_counter() - started:.1f} s"
    )

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    race = measure.compare(
        lambda: transfer.cached_features(backbone, test.images[:100]),
        lambda: backbone(to_input(test.images[:100])),
        warmup=1,
        repeats=3,
    )
ledger.add("cache", times=race.ratio, side=SIZE, holds=race.ratio > 1)

# %% [markdown]
# The classifier standardises each feature first and chooses its regularisation on validation scenes. Both matter: features of different scales are regularised
# differently, and with eight labels and 1,280 features there are many ways to be right on all eight.
#
# ## Transfer: everything learns
#
# **Fine-tuning** trains the whole network on. Its pretrained layers know something that a large step would destroy; the new classifier knows nothing. So they get different rates. Two ways:
#
# * *two groups*: the classifier at rate $\eta$, all that is pretrained at $\eta/10$;
# * *layer-wise decay* {cite:p}`bao2022beit`: layer $\ell$ of $L$ at $\eta\,d^{\,L-\ell}$. Early layers, edges and textures, hardly move.

# %%
net = zoo.load_timm(CHECKPOINT)
net.reset_classifier(len(scenes.SHAPES))
layers = transfer.depths(net)
rates = {
    "two groups": transfer.two_rates(net, 1.0, SETTINGS["body"]),
    "layer decay": transfer.decayed_rates(net, 1.0, SETTINGS["layer_decay"]),
}
top = max(layers.values())
print(f"{top + 1} layers, from {next(iter(layers))} to {list(layers)[-1]}")

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(6.4, 2.7))
for (label, by_name), color in zip(rates.items(), ("blue", "orange"), strict=True):
    at = {layers[name]: rate for name, rate in by_name.items()}
    axis.plot(
        sorted(at),
        [at[k] for k in sorted(at)],
        "o-",
        ms=4,
        label=label,
        color=plots.PALETTE[color],
    )
axis.set_xticks(range(0, top + 1))
axis.set(
    yscale="log",
    xlabel="layer (0: stem, last: classifier)",
    ylabel="rate, classifier's = 1",
)
axis.legend()
plots.show(
    figure,
    alt="Learning rate of each layer relative to the classifier's. Two groups: a tenth everywhere below the classifier. Layer decay: falls by a constant factor per layer, down to two hundredths at the stem.",
    caption="Two ways to be careful with pretrained layers.",
)

# %% [markdown]
# The two differ twice: layer decay is more careful at the stem, and *less* careful just below the classifier. Keep that in mind when one of them wins.
#
# timm has this decay, too. Its rates are ours, but it writes them down as `lr_scale`, and *somebody has to multiply*. timm's own schedulers do. PyTorch's optimizers and schedulers do not, and say nothing:

# %%
theirs = param_groups_layer_decay(
    net, weight_decay=0.05, layer_decay=SETTINGS["layer_decay"]
)
by_id = {id(p): group["lr_scale"] for group in theirs for p in group["params"]}
same = all(
    abs(by_id[id(p)] - rates["layer decay"][name]) < 1e-9
    for name, p in net.named_parameters()
)
print("the same rates as timm:", same)
careless = torch.optim.AdamW(theirs, lr=1e-3)
print("rates in torch's AdamW:", {group["lr"] for group in careless.param_groups})

# %% tags=["hide-input"]
ledger.add("rates", parameters=len(by_id), layers=top + 1, holds=same)
rates_in_use = {group["lr"] for group in careless.param_groups}
ledger.add("lr_scale", holds=rates_in_use == {1e-3})

# %% [markdown]
# ### Frozen, but moving
#
# Freezing is `requires_grad = False`. Is it? Predict: all parameters are frozen, a few batches pass through in training mode, no optimizer exists. **Can the answers change?**

# %%
frozen = zoo.load_timm(CHECKPOINT).requires_grad_(False)
some = to_input(test.images[:32])
with torch.no_grad():
    first = frozen(some)
    frozen.train()
    for batch in pool.images[:160].split(32):
        frozen(to_input(batch))
    frozen.eval()
    moved = (frozen(some) - first).abs().max() > 0.1
print("the frozen network gives other answers:", bool(moved))

# %% tags=["hide-input"]
ledger.add("frozen", holds=moved)

# %% [markdown]
# BatchNorm's running statistics are no parameters; they follow every batch in training mode. A frozen layer must be in `eval()` mode as well.
#
# ### Unfreezing, layer by layer
#
# *Gradual unfreezing* comes from language models {cite:p}`howard2018ulmfit`: first only the classifier learns, then the last stage with it, then all. Here is how it is often written, for our network:


# %%
def unfreeze_layers(model: nn.Module, epoch: int) -> None:
    """As it circulates."""
    if epoch < 5:
        for part in (
            model.conv_stem,
            model.bn1,
            model.blocks,
            model.conv_head,
            model.bn2,
        ):
            part.requires_grad_(False)
    elif epoch < 10:
        model.blocks[-1].requires_grad_(True)
    else:
        model.requires_grad_(True)


def learning(model: nn.Module) -> int:
    return sum(p.requires_grad for p in model.parameters())


total = len(list(net.parameters()))
for history in (range(8), [7], [12, 7]):
    net = zoo.load_timm(CHECKPOINT)
    for epoch in history:
        unfreeze_layers(net, epoch)
    print(f"epochs {list(history)}: {learning(net)} of {total} tensors learn")

# %% [markdown]
# ```{admonition} Errata: unfreezing that depends on its past
# :class: warning
# The branch for epochs 5 to 9 *unfreezes* the last stage and trusts that somebody else has frozen the rest.
# ```
#
# Three times it is epoch 7, and not three times the same network learns. Whoever resumes a run at epoch 7 trains everything. The function *changes* the state and relies on what was there. A second mistake often comes with it: an optimizer made
# when only the classifier was to learn. It does not know the others, and they never move, "unfrozen" or not.
#
# The cure for both is to be **stateless**. What learns follows from the epoch alone, and the optimizer has every parameter from the start (one without a gradient is skipped). `transfer.trainable(model, epoch, opens)` sets *every* parameter
# and the mode of *every* module, each time; `opens` says when the classifier, the last stage and the rest begin:

# %%
for history in (range(8), [7], [12, 7]):
    net = zoo.load_timm(CHECKPOINT)
    for epoch in history:
        transfer.trainable(net, epoch, opens=(0, 5, 10))
    print(f"epochs {list(history)}: {learning(net)} of {total} tensors learn")

# %% tags=["hide-input"]
counts = set()
for history in (range(8), [7], [12, 7]):
    for epoch in history:
        transfer.trainable(net, epoch, opens=(0, 5, 10))
    counts.add(learning(net))
ledger.add("unfreezing", answers=len(counts), holds=len(counts) == 1)

# %% [markdown]
# ## What is it worth?
#
# The record: one scene of each shape labelled, or 4, 16 or 64; three seeds, each of which draws other labels. Six ways. All fine-tuning takes the same 48 steps of 32 pictures (few labels are repeated), in the same loop; *unfreezing* opens the last stage after a quarter of the epochs and everything after half. The small ConvNet, of [chapter 01](01_timeline.ipynb), is cheaper and gets four times the steps. The rates are the better of two, chosen with 16 labels of another
# seed on validation scenes. The time is the processor's, on one thread, for learning alone.

# %%
record = records.load("transfer")
METHODS = {
    "probe": ("linear probe on frozen features", "orange"),
    "layer_decay": ("fine-tuned, layer decay", "blue"),
    "fine_tune": ("fine-tuned, two groups", "sky"),
    "unfreeze": ("fine-tuned, unfreezing", "green"),
    "small": ("small ConvNet from scratch", "pink"),
    "scratch": ("same network from scratch", "grey"),
}
PER_CLASS = record["settings"]["per_class"]
SEEDS = record["settings"]["seeds"]


def runs(method: str, k: int, what: str = "test") -> np.ndarray:
    return records.select(record, what, method=method, per_class=k)


print(f"{len(record['results'])} runs, {len(SEEDS)} seeds each")

# %% tags=["nbval-ignore-output"]
print(f"{'accuracy in %':34}" + "".join(f"{k:>13}" for k in PER_CLASS) + "   seconds")
for method, (label, _) in METHODS.items():
    cells = "".join(
        f"{runs(method, k).mean():7.1f} ± {claims.mean(runs(method, k)).half:3.1f}"
        for k in PER_CLASS
    )
    spent = np.mean([runs(method, k, "train_seconds").mean() for k in PER_CLASS])
    print(f"{label:34}{cells}{spent:10.1f}")

# %% [markdown]
# ### A slice of it, live
#
# Four labels of each shape, seed 0: the linear probe, and fine-tuning with layer decay. Once more from the start, on your machine:

# %%
threads = torch.get_num_threads()
torch.set_num_threads(1)  # as in the record
K, SEED = 4, 0
order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(SEED))
shape = pool.shape[order]
index = torch.cat([order[shape == c][:K] for c in range(len(scenes.SHAPES))])
live = {}
started = time.process_time()
with torch.no_grad():  # not from the cache: its time counts
    fresh = backbone(to_input(pool.images[index]))
live["probe"] = linear_probe(
    (fresh, pool.shape[index]), (val, chooses.shape), (asked, test.shape)
).accuracy
took = {"probe": time.process_time() - started}

config = equal_steps(
    len(index),
    SETTINGS["steps"],
    SETTINGS["batch_size"],
    weight_decay=SETTINGS["weight_decay"],
    label_smoothing=0.0,
    augment=SETTINGS["augment"],
    seed=SEED,
)
with seeded(SEED):  # the record's start
    net = zoo.load_timm(CHECKPOINT)
    net.reset_classifier(len(scenes.SHAPES))
net = net.to(memory_format=torch.channels_last)
peak = next(c["lr"] for c in SETTINGS["best_lr"] if c["method"] == "layer_decay")
started = time.process_time()
transfer.fine_tune(
    net,
    (pool.images[index], pool.shape[index]),
    config,
    transfer.decayed_rates(net, peak, SETTINGS["layer_decay"]),
)
took["layer_decay"] = time.process_time() - started
torch.set_num_threads(threads)
live["layer_decay"] = evaluate(net, (test.images, test.shape)).accuracy
live = {method: 100 * value for method, value in live.items()}
print(
    len(index), "labelled scenes,", config.epochs, "epochs of", len(index) // 32, "step"
)

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
for method, (label, color) in METHODS.items():
    look = {"marker": "o", "ms": 5, "color": plots.PALETTE[color], "label": label}
    scores = [runs(method, k) for k in PER_CLASS]
    left.errorbar(
        PER_CLASS,
        [v.mean() for v in scores],
        [claims.mean(v).half for v in scores],
        capsize=2,
        **look,
    )
    spent = [runs(method, k, "train_seconds").mean() for k in PER_CLASS]
    right.plot(spent, [v.mean() for v in scores], ls=":", lw=1, **look)
for method, value in live.items():
    star = {
        "marker": "*",
        "ms": 14,
        "ls": "",
        "color": plots.PALETTE[METHODS[method][1]],
        "mec": plots.PALETTE["ink"],
    }
    left.plot(K, value, **star)
    right.plot(took[method], value, **star)
for axis in (left, right):
    axis.axhline(12.5, color=plots.PALETTE["ink"], lw=1, ls="--")
    axis.set(xscale="log", ylim=(0, 100), ylabel="right (%)")
left.set_xticks(PER_CLASS, PER_CLASS)
left.minorticks_off()
left.set(xlabel="labels of each shape", title="Accuracy and labels")
right.set(xlabel="processor seconds to learn", title="Accuracy and time")
left.legend(fontsize=7.5, loc="upper left")
plots.show(
    figure,
    alt="Accuracy against labels per shape and against seconds of learning, for six methods. "
    + "; ".join(
        f"{label}: " + ", ".join(f"{runs(m, k).mean():.0f}" for k in PER_CLASS)
        for m, (label, _) in METHODS.items()
    )
    + f" per cent with {', '.join(map(str, PER_CLASS))} labels.",
    caption="Record: mean with its interval at 95 % over three seeds. Stars: your run, with four labels of each shape and seed 0. The dashed line is chance.",
)

# %% [markdown]
# Compare with what you predicted. Now the differences that count, in the sense of this course: their interval at 95 % (paired, since methods share the labelled scenes of a seed) leaves zero out. Three seeds are few, so small differences stay open.

# %% tags=["nbval-ignore-output"]
for a, b in (
    ("probe", "scratch"),
    ("probe", "small"),
    ("layer_decay", "probe"),
    ("layer_decay", "fine_tune"),
    ("unfreeze", "fine_tune"),
):
    for k in PER_CLASS:
        gap = claims.contrast(runs(a, k), runs(b, k))
        counts = "counts" if gap.clear else "open"
        print(
            f"{a:12} - {b:10} {k:3} labels"
            f"  {gap.value:+6.1f} ± {gap.half:4.1f}  {counts}"
        )

# %% [markdown]
# Read it from left to right.
#
# * **1 or 4 labels of each shape.** The linear probe and the three kinds of fine-tuning are as good as each other, and the probe takes a fraction of a second.
# * **16 labels.** Now there is something to adapt to: layer decay is ahead of the probe.
# * **64 labels.** Layer decay has lost its lead; its rate was chosen with 16 labels. A rate that is right for one number of labels need not be right for another.
# * **Unfreezing** helps nowhere here, and with 64 labels it costs more than ten points. A likely reason, which we have not tested: with 64 labels an epoch is a third of the training, so that most layers open when the rate has nearly
#   reached zero. The recipe comes from text, and from longer training.
# * **From scratch** both networks are far behind at every number of labels.


# %% tags=["hide-input", "nbval-ignore-output"]
def compared(a: str, b: str) -> dict[int, claims.Interval]:
    """Difference of two methods, for each number of labels."""
    return {k: claims.contrast(runs(a, k), runs(b, k)) for k in PER_CLASS}


def told(differences: dict[int, claims.Interval]) -> str:
    return ", ".join(
        f"{gap.value:+.1f} ± {gap.half:.1f} with {k}" for k, gap in differences.items()
    )


for row, scratch in (("probe_scratch", "scratch"), ("probe_small", "small")):
    ahead = compared("probe", scratch)
    better = all(gap.low > 0 for gap in ahead.values())
    ledger.add(row, points=told(ahead), minutes=record["minutes"], holds=better)
few = {m: compared(m, "probe") for m in ("fine_tune", "layer_decay", "unfreeze")}
most = ", ".join(
    f"{max(v[k].value for v in few.values()):+.1f} with {k}" for k in (1, 4)
)
no_better = all(v[k].low <= 0 for v in few.values() for k in (1, 4))
ledger.add("few_labels", points=most, holds=no_better)
gain = few["layer_decay"][16]
ledger.add("sixteen_labels", points=told({16: gain}), holds=gain.low > 0)
opened = compared("unfreeze", "fine_tune")
no_gain = all(gap.low <= 0 for gap in opened.values()) and opened[64].high < 0
ledger.add("gradual", points=told(opened), holds=no_gain)

# %% [markdown]
# ```{admonition} What this does and does not say
# :class: note
# * Training from scratch was cut off after 48 steps, or 192 for the small network. The large one stays near chance with 64 labels, too: it lacks steps as well as labels. So this compares what you get for a few seconds, and
#   not what is possible.
# * Validation scenes chose rates and regularisation. Somebody with eight labels has no such scenes, so the real world is a little harder than this figure.
# * One network, one task, one size of picture. On scenes framed close, the probe alone is near perfect ([chapter 01](01_timeline.ipynb)).
# * The probe sees each labelled picture once, as it is; fine-tuning also sees it mirrored.
# ```
#
# ## Now you
#
# Predict first, then unfold.
#
# **1.** `model = timm.create_model("resnet18"); model.head = nn.Linear(512, 10)`. What happens at the first picture?
#
# <details><summary>Answer</summary>
# Nothing, and that is worse than an error. ResNet's classifier is called <code>fc</code>. PyTorch accepts any new attribute, the forward pass never uses it, and 1,000 logits come out as before. <code>reset_classifier(10)</code> works in both families.
# </details>
#
# **2.** You fine-tune with timm's `param_groups_layer_decay`, `torch.optim.AdamW` and `torch.optim.lr_scheduler.CosineAnnealingLR`. The result is the same with decay 0.5 and 0.9. Why?
#
# <details><summary>Answer</summary>
# Nobody multiplied by <code>lr_scale</code>. All layers learn at one rate. Use timm's scheduler, or set each group's rate to its scale times yours.
# </details>
#
# **3.** A colleague's cached features are named `features_train.npy`. They switch to another checkpoint and their accuracy stays the same to the last digit. What do you suspect?
#
# <details><summary>Answer</summary>
# That the file of the old checkpoint was read. A cache's name must follow from everything that its content depends on: weights, structure, pictures, preprocessing.
# </details>
#
# **4.** Your run was killed at epoch 12 of 20, with layers opening at 0, 5 and 10. What must the checkpoint hold for the stateless version, and what more for the circulating one?
#
# <details><summary>Answer</summary>
# Weights, the optimizer's state, and the number of the epoch. The circulating version needs <code>requires_grad</code> of every parameter on top, which no <code>state_dict</code> has.
# </details>
#
# ## Summary
#
# * A full name has a tag, and the tag is the data. Write it.
# * `reset_classifier`, not `model.head = …`; `num_classes=0` for vectors, `features_only` for maps.
# * The wrong pixels raise no error. Take size, mean and deviation from the model's own settings, and convert to RGB.
# * Pin revisions, keep `strict=True`, save as safetensors.
# * Few labels: begin with a linear probe on cached features. It costs seconds, and everything else must beat it.
# * Fine-tune with a rate for each layer, and check that the rates arrive in the optimizer.
# * Frozen layers belong in eval mode. Let what learns follow from the epoch alone.
#
# ### Claims

# %% tags=["nbval-ignore-output"]
ledger

# %%
ledger.verdicts()

# %% [markdown]
# ## What to read
#
# * {cite:t}`howard2018ulmfit` for gradual unfreezing, {cite:t}`bao2022beit` for layer-wise decay.
# * The documentation of timm (huggingface.co/docs/timm), on feature extraction and on data configurations.
# * {cite:t}`wightman2019timm`, the library itself: `timm/models/_features.py` and `timm/optim/_param_groups.py` are short.
# * `modarch_utils/studies/transfer.py`: rates, freezing and the cache of this chapter. `recipes/transfer.py`: the record.
