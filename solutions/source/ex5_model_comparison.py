# %% [markdown]
# # Exercise 5: which network shall we take?
#
# A museum wants its pictures sorted, and a colleague has compared three networks for it: a ConvNeXt {cite:p}`liu2022convnet`, an EfficientNetV2
# {cite:p}`tan2021efficientnetv2` and a DINOv2 {cite:p}`oquab2024dinov2`, each frozen, with a linear SVM on its features. The winner led by two points and was twice as fast. Then
# somebody read the script. All three networks were fed by *one* loader, with one size and one mean. The stopwatch ran while the weights were read from disk. The SVM got features
# of very different scales, and the networks had been trained with very different labels, of which the table said nothing.
#
# You make the table again, so that its numbers mean what they say.
#
# **You need** chapter 07, "Pixels" and "Transfer: features that stay as they are", and from chapter 04 what a class token is. **Time**: 60 to 75 minutes, the stretch parts 10 to
# 15 minutes each. Checks run in seconds, the comparison itself in one or two minutes on a laptop.
#
# **You will practise** opening a network together with *its own* preprocessing, keeping test pictures out of everything that is fitted, and timing one thing at a time. Six short
# functions. Each has a check of its own; the first five do not need each other, and the last one uses them all.

# %%
import time
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
import transformers
from IPython.display import display
from modarch_utils import plots, profile, zoo
from modarch_utils.checks import ex5
from modarch_utils.checks.ex5 import stretch
from modarch_utils.data import datasets, scenes
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import LinearSVC
from timm.data import create_transform, resolve_model_data_config
from transformers import AutoImageProcessor, AutoModel

plots.use_style(dpi=110)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
here = profile.current()

# %% [markdown]
# ## Part 1: open a folder of timm's
#
# A folder in timm's format holds `model.safetensors` and a `config.json`, which names the architecture and says how pictures must be prepared.
#
# Write `open_timm(folder)`. It returns two functions, `(prepare, embed)`:
#
# * `prepare(picture)`: from a PIL picture of any size to one input `(3, S, S)`, **as the folder says**: size, crop, interpolation, mean, standard deviation, and nothing random;
# * `embed(batch)`: from inputs `(N, 3, S, S)` to features `(N, D)` on the CPU: pooled, without the classifier, in eval mode, with no graph for gradients.
#
# The weights in the file may be in half precision; features are `float32`. Let the network compute on `here.device`, the fastest that this machine has: on most laptops that is the CPU.
#
# <details><summary>Hint 1: which name?</summary>
# timm takes folders as well as names: <code>"local-dir:"</code> and the path. Without <code>pretrained=True</code> you get the architecture and random weights.
# </details>
#
# <details><summary>Hint 2: the features</summary>
# <code>num_classes=0</code>. And timm hands out networks in training mode.
# </details>
#
# <details><summary>Hint 3: the pictures</summary>
# <code>resolve_model_data_config</code> reads the settings off the network, and <code>create_transform</code> makes a function of them.
# </details>


# %% tags=["solution:open-timm"]
def open_timm(folder):
    """Two functions, prepare and embed, of a folder in timm's format."""
    ### BEGIN SOLUTION
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    network.eval().to(here.device)
    settings = resolve_model_data_config(network)

    @torch.inference_mode()
    def embed(batch):
        return network(batch.to(here.device)).cpu()

    return create_transform(**settings, is_training=False), embed
    ### END SOLUTION


# %% [markdown]
# The check of each part shows all that it found. Rows that say "not yet" wait for another row. The number below the table is your points.

# %% tags=["check:open-timm:4"]
report_1 = ex5.check_open_timm(open_timm)
display(report_1)
report_1.points(4)

# %% [markdown]
# ## Part 2: open a DINOv2
#
# Write `open_dino(folder)` for a folder in the format of `transformers`. It returns two functions of the same kind. The features are the **class token** of `last_hidden_state`, token 0. (There are
# other choices, such as the mean of the patches. A table must say which one was taken; this one takes the class token.)
#
# <details><summary>Hint</summary>
# The processor of the folder takes one PIL picture, returns a dictionary, and in it a batch of one.
# </details>


# %% tags=["solution:open-dino"]
def open_dino(folder):
    """Two functions, prepare and embed, of a DINOv2 in the format of transformers."""
    ### BEGIN SOLUTION
    processor = AutoImageProcessor.from_pretrained(folder)
    network = AutoModel.from_pretrained(folder).eval().to(here.device)

    def prepare(picture):
        return processor(picture, return_tensors="pt")["pixel_values"][0]

    @torch.inference_mode()
    def embed(batch):
        return network(batch.to(here.device)).last_hidden_state[:, 0].cpu()

    return prepare, embed
    ### END SOLUTION


# %% tags=["check:open-dino:4"]
report_2 = ex5.check_open_dino(open_dino)
display(report_2)
report_2.points(4)

# %% [markdown]
# ## Part 3: the features of many pictures
#
# Write `extract(pictures, prepare, embed, batch_size)`: from a list of PIL pictures to their features, one array or tensor `(len(pictures), D)`. Row i belongs to picture i. Pictures go through the network
# `batch_size` at a time, and the last batch may be smaller.
#
# <details><summary>Hint</summary>
# <code>range(0, len(pictures), batch_size)</code> gives the beginnings of the batches, <code>torch.stack</code> makes a batch of a list.
# </details>


# %% tags=["solution:extract"]
def extract(pictures, prepare, embed, batch_size):
    """Features (N, D) of a list of N pictures, in order."""
    ### BEGIN SOLUTION
    pieces = []
    for first in range(0, len(pictures), batch_size):
        inputs = [prepare(picture) for picture in pictures[first : first + batch_size]]
        pieces.append(embed(torch.stack(inputs)))
    return torch.cat(pieces).numpy()
    ### END SOLUTION


# %% tags=["check:extract:3"]
report_3 = ex5.check_extract(extract)
display(report_3)
report_3.points(3)

# %% [markdown]
# ## Part 4: a linear SVM
#
# Write `svm_accuracy(train, test)`. Each of the two is a pair: features `(N, D)` and labels `(N,)`, which may be numbers or words. Standardise the features, fit a linear SVM with
# `C=0.1` on `train`, and return the share of `test` that it gets right, from 0 to 1.
#
# Whatever is fitted, the scaler too, is fitted on `train` alone. The arrays stay as they are.
#
# <details><summary>Hint 1: why scale?</summary>
# The SVM pays for large weights. A feature in thousandths needs a large weight, one in thousands a small one: unscaled, the units decide which features count.
# </details>
#
# <details><summary>Hint 2: how not to forget it in one of the two sets</summary>
# <code>make_pipeline</code> joins scaler and SVM to one classifier; its <code>fit</code> and <code>score</code> do the right thing with both.
# </details>


# %% tags=["solution:svm"]
def svm_accuracy(train, test):
    """The share of test that a linear SVM gets right which was fitted on train."""
    ### BEGIN SOLUTION
    svm = LinearSVC(C=0.1, max_iter=20_000, random_state=0)
    return make_pipeline(StandardScaler(), svm).fit(*train).score(*test)
    ### END SOLUTION


# %% tags=["check:svm:4"]
report_4 = ex5.check_svm_accuracy(svm_accuracy)
display(report_4)
report_4.points(4)

# %% [markdown]
# ## Part 5: time for a picture
#
# Write `milliseconds_per_picture(work, pictures, repeats, clock)`. `work()` handles so many pictures in one call.
#
# 1. Call it once or twice without a clock: the first call allocates memory and chooses algorithms.
# 2. Then time `repeats` calls, each by itself.
# 3. Return the **median**, as **milliseconds** for **one** picture.
#
# (On a GPU a call may return before its work is done. Your `embed` copies the features to the CPU, and the copy waits for them.)
#
# <details><summary>Hint</summary>
# Read the clock right before and right after each call, and keep the difference.
# </details>
#
# `clock()` gives the seconds of a clock. Use it and no other: the check brings one of its own, and waits for nothing.


# %% tags=["solution:milliseconds"]
def milliseconds_per_picture(work, pictures, repeats, clock=time.perf_counter):
    """Median time of a warm call, in milliseconds for each picture."""
    ### BEGIN SOLUTION
    work()
    seconds = []
    for _ in range(repeats):
        began = clock()
        work()
        seconds.append(clock() - began)
    return 1000 * median(seconds) / pictures
    ### END SOLUTION


# %% tags=["check:milliseconds:3"]
report_5 = ex5.check_time(milliseconds_per_picture)
display(report_5)
report_5.points(3)

# %% [markdown]
# ## Part 6: one row of the table
#
# Write `compare(open_network, folder, train, test, clock)`. `open_network` is `open_timm`, `open_dino` or another function of that kind; `train` and `test` are pairs `(pictures, labels)`, where `labels` is a
# dictionary from questions, such as `"colour"`, to arrays `(N,)`. It returns a dictionary:
#
# | key | what |
# |---|---|
# | `"accuracy"` | a dictionary: for each question the share of test pictures that the SVM gets right |
# | `"load_s"` | seconds of opening the network, alone |
# | `"prepare_ms"` | milliseconds for a picture, of `prepare` alone |
# | `"network_ms"` | milliseconds for a picture, of `embed` alone, on a batch that is prepared, warm |
# | `"svm_s"` | seconds of fitting and scoring, all questions together, without features |
#
# Open the network once. Features do not depend on the question, so training pictures pass through it once; take the pictures for the timing from the test set. Use your functions.
#
# <details><summary>Hint</summary>
# In this order: clock, open, clock; features of both sets; clock, one SVM for each question, clock; then <code>milliseconds_per_picture</code> twice, with a <code>lambda</code> each.
# </details>
#
# `clock` is for all times. The check's own is moved by opening, preparing, the network and the SVM.


# %% tags=["solution:compare"]
def compare(open_network, folder, train, test, clock=time.perf_counter):
    """One network's accuracy and times."""
    ### BEGIN SOLUTION
    began = clock()
    prepare, embed = open_network(folder)
    row = {"load_s": clock() - began}

    x_train, x_test = (
        extract(pictures, prepare, embed, 50) for pictures, _ in (train, test)
    )
    began = clock()
    row["accuracy"] = {}
    for question, y in train[1].items():
        row["accuracy"][question] = svm_accuracy(
            (x_train, y), (x_test, test[1][question])
        )
    row["svm_s"] = clock() - began

    some = test[0][:25]
    batch = torch.stack([prepare(picture) for picture in some])
    row["prepare_ms"] = milliseconds_per_picture(
        lambda: [prepare(p) for p in some], len(some), 5, clock
    )
    row["network_ms"] = milliseconds_per_picture(
        lambda: embed(batch), len(some), 5, clock
    )
    return row
    ### END SOLUTION


# %% tags=["check:compare:4"]
report_6 = ex5.check_compare(compare)
display(report_6)
report_6.points(4)

# %% [markdown]
# ## The comparison
#
# First the pictures, each with its own labels. On a laptop these are rendered scenes of a small object in wide surroundings, and three questions are asked about each: what *shape* is the object, what *colour* has it, and
# what *ground* does it stand on? With `MODARCH_PROFILE=gpu` they are real photographs with one label each.

# %%
TRAIN, TEST, VAL = 1_200, 600, 400


def labelled(split, n):
    """A list of n PIL pictures, and for each question about them the labels (n,)."""
    if here.classification == "scenes":
        streams = {"train": 1, "test": 2, "val": 3}
        found = scenes.load(n, 64, seed=streams[split], framing="wide")
        labels = {
            question: found.labels(question).numpy() for question in scenes.CLASSES
        }
    else:  # these have two sets: the end of the first one is for validation
        found = datasets.load(
            here.classification, "val" if split == "test" else "train", n=TRAIN + VAL
        )
        part = {"train": slice(TRAIN), "test": slice(TEST), "val": slice(TRAIN, None)}[
            split
        ]
        found = found._replace(images=found.images[part], labels=found.labels[part])
        labels = {"class": found.labels.numpy()}
    arrays = found.images.permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array) for array in arrays], labels


train, test = labelled("train", TRAIN), labelled("test", TEST)
print(f"{len(train[0])} pictures to fit on, {len(test[0])} to test")

# %% tags=["hide-input"]
shown = [np.array(picture) for picture in test[0][:12]]
plots.show(
    plots.image_grid(
        torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2), ncols=6, size=1.2
    ),
    alt="Twelve pictures of the test set in two rows. On a laptop each shows a small coloured solid on a ground of squares, wood, grass or tiles.",
    caption="Twelve of the test pictures.",
)

# %% [markdown]
# Now the honest part: **what has each network been told?** Features are compared here, and labels make features.
#
# | network | labels that it has seen | pictures that it has seen |
# |---|---|---|
# | `mini-convnext`, `mini-efficientnetv2` | the *shape* of 16,000 scenes; never a colour or a ground | scenes, framed close |
# | `mini-dinov2` | none of a scene; but it learnt from a network that had ImageNet's labels | scenes, framed close |
# | `convnext_tiny.fb_in1k` | ImageNet-1k | photographs |
# | `tf_efficientnetv2_s.in21k_ft_in1k` | ImageNet-21k, then ImageNet-1k | photographs, many more |
# | `dinov2-with-registers-small` | none; distilled from a giant that had none either | 142 million photographs |
#
# No row of this table is fair to another. The table of results says which *file* serves a question better, and not which *architecture* is better. The laptop's networks have seen none of these
# test pictures, and no scene with so small an object.
#
# **Predict before you go on**: which of the laptop's networks is best at shape, which at colour, which at ground? And which is the fastest?

# %% tags=["profile-dependent"]
reports = report_1, report_2, report_3, report_4, report_5, report_6
all_right = all(report.passed for report in reports)
table = {}
if all_right:
    convnets = profile.pick(
        laptop=("mini-convnext", "mini-efficientnetv2"),
        gpu=("convnext_tiny", "tf_efficientnetv2_s"),
    )
    networks = {name: (open_timm, zoo.folder(name)) for name in convnets}
    networks[here.dino] = open_dino, zoo.folder(here.dino)
    for name, (open_network, folder) in networks.items():
        table[name] = compare(open_network, folder, train, test)
    print("rows:", ", ".join(table))
else:
    print("The comparison comes as soon as all rows above are right.")

# %% tags=["nbval-ignore-output"]
for name, row in table.items():
    shares = ", ".join(
        f"{question} {100 * share:.1f} %" for question, share in row["accuracy"].items()
    )
    print(f"{name}: {shares}")
    print(
        f"  opened in {row['load_s']:.2f} s; for a picture {row['prepare_ms']:.2f} ms to prepare and "
        f"{row['network_ms']:.2f} ms in the network; SVM {row['svm_s']:.1f} s"
    )

# %% tags=["hide-input"]
if all_right:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), width_ratios=(3, 2))
    questions, hues = (
        list(test[1]),
        [plots.PALETTE[c] for c in ("blue", "orange", "green")],
    )
    for k, ((name, row), hue) in enumerate(zip(table.items(), hues, strict=True)):
        at = np.arange(len(questions)) + 0.26 * (k - 1)
        shares = [100 * row["accuracy"][q] for q in questions]
        left.bar(at, shares, 0.24, color=hue, label=name)
        right.barh(k, row["network_ms"], 0.5, color=hue)
        right.barh(
            k, row["prepare_ms"], 0.5, left=row["network_ms"], color=hue, alpha=0.4
        )
    for k, question in enumerate(questions):
        chance = 100 / len(np.unique(test[1][question]))
        left.plot(
            [k - 0.4, k + 0.4], [chance] * 2, color=plots.PALETTE["ink"], lw=1, ls=":"
        )
    left.set_xticks(range(len(questions)), questions)
    left.set(ylabel="right (%)", ylim=(0, 100))
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    right.set_yticks(range(len(table)), list(table), fontsize=7)
    right.invert_yaxis()
    right.set(xlabel="ms for a picture (pale: preparing)")
    words = "; ".join(
        f"{name} "
        + ", ".join(f"{q} {100 * s:.0f} %" for q, s in row["accuracy"].items())
        + f", {row['network_ms']:.1f} ms"
        for name, row in table.items()
    )
    plots.show(
        figure,
        alt=f"Bars of the share right for each question and network, and of the time for a picture. {words}.",
        caption=f"A linear SVM on frozen features, {len(train[0])} labelled pictures; the dotted line is chance. Times are "
        "medians of warm batches on this machine, and another machine may order them in another way. Each network has been told other things before.",
    )

# %% [markdown]
# <details><summary>How to read it</summary>
# Compare within a question, and keep the table of labels beside it. A network that was trained to name shapes <em>in whatever colour</em> has no reason to keep the colour: where it
# still can be read from the features, it is because nothing has removed it. One that was not told the question in advance may keep more of everything. Neither says that one architecture is better.
# And with 600 test pictures, a share of 80 % has a standard error of 1.6 points: smaller differences are none.
# </details>
#
# ## Stretch: how strong shall the rule be?
#
# The SVM's `C` says how much an error costs against large weights. You were told to take 0.1, and not why. Write `choose_strength(train, val, strengths)`: fit the scaled SVM on `train` with each `C` of the list
# `strengths`, and return the one with the largest share on `val`; among equals the smallest. The list may come in any order and stays as it is. The test set has no part in it: whoever chooses on it reports the luckiest
# of several tries.
#
# <details><summary>Hint</summary>
# Go through <code>sorted(strengths)</code>, and take a new one only if it is <em>better</em>.
# </details>


# %% tags=["solution:choose-strength"]
def choose_strength(train, val, strengths):
    """The C with the largest share on val; among equals the smallest."""
    ### BEGIN SOLUTION
    chosen, most = None, -1.0
    for strength in sorted(strengths):
        svm = LinearSVC(C=strength, max_iter=20_000, random_state=0)
        share = make_pipeline(StandardScaler(), svm).fit(*train).score(*val)
        if share > most:
            chosen, most = strength, share
    return chosen
    ### END SOLUTION


# %%
report_7 = stretch.check_choose_strength(choose_strength)
report_7

# %% [markdown]
# ## Stretch: no training at all
#
# DINOv2's authors report another number first: the vote of the nearest neighbours. Write `knn_accuracy(train, test, k)`: for each test picture, the `k` training pictures with the largest **cosine** similarity vote,
# and the majority decides. Return the share of `test` that is right.
#
# <details><summary>Hint</summary>
# <code>KNeighborsClassifier</code> has a <code>metric</code>. Or make all features as long as 1: then Euclid's order is the cosine's.
# </details>


# %% tags=["solution:knn"]
def knn_accuracy(train, test, k):
    """The share of test that the k nearest training pictures get right, by direction."""
    ### BEGIN SOLUTION
    vote = make_pipeline(Normalizer(), KNeighborsClassifier(k))
    return vote.fit(*train).score(*test)
    ### END SOLUTION


# %%
report_8 = stretch.check_knn(knn_accuracy)
report_8

# %% [markdown]
# ## Stretch: how sure is the order?
#
# Another choice of training pictures gives another share. Write `mean_and_error(shares)`: from the shares of several runs to their mean and the **standard error** of that mean, the standard deviation (with n - 1) divided by
# $\sqrt{n}$. Fewer than two shares raise `ValueError`.
#
# <details><summary>Hint</summary>
# NumPy's <code>std</code> divides by n unless <code>ddof</code> says otherwise.
# </details>


# %% tags=["solution:mean-and-error"]
def mean_and_error(shares):
    """The mean of the shares, and its standard error."""
    ### BEGIN SOLUTION
    if len(shares) < 2:
        raise ValueError(
            f"The error of a mean needs at least two shares, not {len(shares)}."
        )
    return np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))
    ### END SOLUTION


# %%
report_9 = stretch.check_mean_and_error(mean_and_error)
report_9

# %% [markdown]
# All three at work, on the first question: five runs, each with another 300 of the training pictures; in each `C` is chosen on validation pictures.

# %% tags=["nbval-ignore-output"]
if all_right and report_7.passed and report_8.passed and report_9.passed:
    question = next(iter(test[1]))
    val = labelled("val", VAL)
    print(f"{question}, from 300 labels, five choices of them:")
    for name, (open_network, folder) in networks.items():
        opened = open_network(folder)
        x, v, t = (extract(part[0], *opened, 50) for part in (train, val, test))
        y, to_choose, asked = (
            train[1][question],
            (v, val[1][question]),
            (t, test[1][question]),
        )
        svm, votes = [], []
        for seed in range(5):
            few = np.random.default_rng(seed).permutation(len(y))[:300]
            strength = choose_strength((x[few], y[few]), to_choose, [1e-3, 1e-2, 1e-1])
            tuned = make_pipeline(
                StandardScaler(), LinearSVC(C=strength, max_iter=20_000)
            )
            svm.append(tuned.fit(x[few], y[few]).score(*asked))
            votes.append(knn_accuracy((x[few], y[few]), asked, 5))
        words = [
            f"{100 * m:.1f} ± {100 * e:.1f} %"
            for m, e in map(mean_and_error, (svm, votes))
        ]
        print(f"  {name:28} SVM {words[0]}, neighbours {words[1]}")
else:
    print("The table comes as soon as all rows above are right.")

# %% [markdown]
# ## Predict, then unfold
#
# **1.** A colleague calls `fit_transform` on the test features "because they must be scaled, too". When does the share hardly change, and when does it collapse?
#
# <details><summary>Answer</summary>
# It hardly changes where training and test set are large and drawn alike: their means are nearly the same. It collapses where they are not: a test set with one class almost alone has its mean in the middle of that class, and half of
# it lands on the wrong side. Of a single picture, the mean is the picture itself.
# </details>
#
# **2.** The loader was made for one network and used for all three. Which of them suffers, and how would you notice?
#
# <details><summary>Answer</summary>
# Those whose size, mean and deviation differ from the loader's. Nothing fails: convolutions take any size, and features come out. You notice only by comparing with their own preprocessing, or not at all.
# </details>
#
# **3.** You take the median, and your colleague the mean of five times. The machine starts an update during the third. Whose number is right?
#
# <details><summary>Answer</summary>
# The median still tells how long the work takes; the mean is moved by the update. If you have to plan for a machine that does start updates, report the spread as well.
# </details>
#
# **4.** In the gpu profile, could Imagenette be the data set of this comparison?
#
# <details><summary>Answer</summary>
# It is a part of ImageNet: two of the networks were trained to tell just these classes, with labels, and the third without. The table would mostly measure that. CIFAR-10 is no part of ImageNet, though most of its classes have
# relatives there.
# </details>
