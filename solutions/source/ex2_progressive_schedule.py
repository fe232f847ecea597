# %% [markdown]
# # Exercise 2: a progressive schedule
#
# Your group has a week of one GPU, and a training that takes ten days. Someone suggests small images first and large images later,
# with augmentation that grows along {cite:p}`tan2021efficientnetv2`. The training loop can do it: before every epoch it asks a function
# for the settings. That function is yours to write. It looks like ten minutes' work. The trap is at the edges: an epoch in the wrong stage, a last stage
# that never comes, a loop that runs on quietly with settings for an epoch that does not exist.
#
# **You need** chapter 03, "Progressive learning". **Time**: 30 to 45 minutes, the stretch parts 10 minutes each. Everything
# runs in a second.

# %%
import matplotlib.pyplot as plt
from IPython.display import display
from modarch_utils import plots
from modarch_utils.checks import ex2
from modarch_utils.checks.ex2 import stretch

plots.use_style()

# %% [markdown]
# ## Part 1: three stages
#
# Write `three_stages(epoch)` for the lesson's schedule. Epochs count from 0, and there are 150 of them.
#
# | epochs | `image_size` (pixels, an `int`) | `randaugment` (magnitude) | `mixup` (alpha) |
# |---|---|---|---|
# | 0 to 49 | 128 | 5 | 0 |
# | 50 to 99 | 192 | 10 | 0.2 |
# | 100 to 149 | 256 | 15 | 0.4 |
#
# It returns a dictionary with these three keys, and no others; the caller may change it without harm. **Any other epoch**,
# below 0 or from 150 on, raises `ValueError` with a sentence that helps. (Why so strict? A loop that runs one epoch too long has a bug somewhere. It
# should hear of it.)
#
# <details><summary>Hint</summary>
# Refuse first, then look up. Whole-number division tells the stage.
# </details>


# %% tags=["solution:three-stages"]
def three_stages(epoch):
    """The settings of an epoch from 0 to 149; ValueError for any other."""
    ### BEGIN SOLUTION
    if not 0 <= epoch < 150:
        raise ValueError(f"There are epochs 0 to 149, not {epoch}.")
    size, magnitude, alpha = [(128, 5, 0.0), (192, 10, 0.2), (256, 15, 0.4)][
        epoch // 50
    ]
    return {"image_size": size, "randaugment": magnitude, "mixup": alpha}
    ### END SOLUTION


# %% [markdown]
# The check tabulates your function over all epochs. The number below the table is your points of 3.

# %% tags=["check:three-stages:3"]
report = ex2.check_three_stages(three_stages)
display(report)
report.points(3)

# %% [markdown]
# ## Part 2: any number of stages
#
# Now the general rule, the paper's algorithm 1. Write `progressive_schedule(epoch, total_epochs, num_stages, first, last)`,
# where `first` and `last` are dictionaries like those that you return: the settings of the first and of the last stage.
#
# * Epochs 0 to `total_epochs - 1` exist; any other raises `ValueError`.
# * Stage $i$ of $M$ (from 0) begins at epoch $i \cdot T / M$ with $T$ = `total_epochs`. **An epoch belongs to the stage in which it begins.** Where
#   $M$ does not divide $T$, stages differ by an epoch: 10 epochs in 4 stages make 3, 2, 3 and 2.
# * Each setting goes from `first` to `last` in $M - 1$ equal steps. Within a stage nothing changes.
# * `image_size` is rounded to the nearest multiple of 32 (`first` and `last` are multiples already) and an `int`. The other two may be fractions.
# * With `num_stages=1`, `first` and `last` are equal, and so is the answer.
# * `first` and `last` stay as they are, whatever the caller does with your answer.
#
# <details><summary>Hint 1: the stage of an epoch</summary>
# Which stages have begun at epoch e? Those with i·T/M ≤ e, that is i ≤ e·M/T. Whole numbers all the way spare you surprises:
# multiply first, divide last.
# </details>
#
# <details><summary>Hint 2: the steps</summary>
# Between M posts there are M - 1 gaps. What does that do to a schedule with one stage?
# </details>


# %% tags=["solution:progressive-schedule"]
def progressive_schedule(epoch, total_epochs, num_stages, first, last):
    """The settings of an epoch from 0 to total_epochs - 1; ValueError for any other."""
    ### BEGIN SOLUTION
    if not 0 <= epoch < total_epochs:
        raise ValueError(f"There are epochs 0 to {total_epochs - 1}, not {epoch}.")
    stage = epoch * num_stages // total_epochs
    share = stage / max(num_stages - 1, 1)
    settings = {key: first[key] + (last[key] - first[key]) * share for key in first}
    settings["image_size"] = 32 * round(settings["image_size"] / 32)
    return settings
    ### END SOLUTION


# %% tags=["check:progressive-schedule:5"]
report = ex2.check_schedule(progressive_schedule)
display(report)
report.points(5)

# %% [markdown]
# See it at work: the lesson's ends in two, three and seven stages.

# %%
if report.passed:
    first = {"image_size": 128, "randaugment": 5, "mixup": 0.0}
    last = {"image_size": 256, "randaugment": 15, "mixup": 0.4}
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8))
    for axis, key in zip(axes, first, strict=True):
        for number in (2, 3, 7):
            line = [
                progressive_schedule(e, 150, number, first, last)[key]
                for e in range(150)
            ]
            axis.step(range(150), line, where="post", label=f"{number} stages")
        axis.set(title=key, xlabel="epoch")
    axes[0].legend(fontsize=8)
    plots.show(
        figure,
        alt="Three panels of stairs over 150 epochs: image size from 128 to 256, RandAugment from 5 to 15, "
        "mixup from 0 to 0.4, each in two, three and seven steps.",
        caption="The same ends in two, three and seven stages. The image size keeps to multiples of 32, so with seven "
        "stages its stairs are uneven.",
    )
else:
    print("The figure comes as soon as all rows above are right.")

# %% [markdown]
# ## Stretch: what does it save?
#
# A convolution's time grows with the number of pixels. Write `share_of_pixels(schedule, total_epochs)`: `schedule` is a function from an
# epoch to a dictionary with `image_size`, and the answer is the pixels of the whole training, relative to a training that has the
# *largest* size throughout.
#
# Before you run it: what do you expect for the lesson's schedule, a half, or more?
#
# <details><summary>Hint</summary>
# A picture of side s has s·s pixels. Stages need not be equally long, so add up epochs.
# </details>


# %% tags=["solution:share-of-pixels"]
def share_of_pixels(schedule, total_epochs):
    """Pixels of a schedule, relative to its largest size throughout: above 0, at most 1."""
    ### BEGIN SOLUTION
    pixels = [schedule(epoch)["image_size"] ** 2 for epoch in range(total_epochs)]
    return sum(pixels) / (max(pixels) * len(pixels))
    ### END SOLUTION


# %%
stretch.check_share_of_pixels(share_of_pixels)

# %% [markdown]
# <details><summary>And the lesson's schedule?</summary>
# (128² + 192² + 256²) / (3 · 256²) = 0.604. It saves two fifths of the pixels. Of the time it saves less: loading pictures, updating weights
# and starting kernels do not shrink along. Chapter 03 measured it.
# </details>
#
# ## Stretch: more pictures at once
#
# Small pictures leave memory free. Write `batch_size(image_size, largest_size, largest_batch)`: the largest multiple of 8 whose
# pixels fit where `largest_batch` pictures of `largest_size` fit. At least 8, and always an `int`.
#
# (A larger batch means fewer updates, and wants another learning rate: a gain in speed that has to be paid for with tuning. The course's own trainings keep
# the batch as it is.)
#
# <details><summary>Hint</summary>
# Compare whole numbers of pixels; a float that should be 64 may be 63.999.
# </details>


# %% tags=["solution:batch-size"]
def batch_size(image_size, largest_size, largest_batch):
    """A multiple of 8, at least 8."""
    ### BEGIN SOLUTION
    fits = largest_batch * largest_size**2 // image_size**2
    return max(8, fits // 8 * 8)
    ### END SOLUTION


# %%
stretch.check_batch_size(batch_size)

# %% [markdown]
# ## Predict, then unfold
#
# **1.** A colleague writes `stage = epoch // (total_epochs // num_stages)`. With 150 epochs in 3 stages all is well. When does it break,
# and how?
#
# <details><summary>Answer</summary>
# Where num_stages does not divide total_epochs. 10 // 4 is 2, so epochs 8 and 9 get stage 4 of 0 to 3: an IndexError if you are lucky, and
# settings beyond the last if you interpolate.
# </details>
#
# **2.** Another one divides by `num_stages` instead of `num_stages - 1`. The training runs, and no error comes. What does the test score suffer from?
#
# <details><summary>Answer</summary>
# The last stage never reaches the full image size: the network is tested at a size that it has not been trained at.
# </details>
