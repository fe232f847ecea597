# %% [markdown]
# # Exercise 1: a ConvNeXt block
#
# You join a team that looks after a small vision model. Its author has left, the library it was written with no longer
# installs, and what remains is a file of weights and figure 4 of {cite:t}`liu2022convnet`. Nobody needs the whole
# library back. They need one block, written by someone who knows what each of its lines is for.
#
# **You need** chapter 02, "The block, one line at a time". **Time**: 30 to 45 minutes, the stretch parts 15 minutes
# each. Everything runs in seconds on a laptop.
#
# **You will practise** keeping track of axes, telling the shortcut from the branch, and reading a check that looks at
# what your code *does*: it perturbs one pixel, silences one parameter, bends one activation, and tells you what it saw.

# %%
import torch
from IPython.display import display
from modarch_utils.checks import ex1
from modarch_utils.checks.ex1 import stretch
from torch import nn
from torch.nn import functional as F

# %% [markdown]
# ## The task
#
# Write `ConvNeXtBlock(dim)`, an `nn.Module` that maps `(N, C, H, W)` to `(N, C, H, W)` with
# `C = dim`, at every height and width. For example `(2, 64, 32, 32)` to `(2, 64, 32, 32)`. Its branch has, in this order:
#
# 1. a **depthwise** 7×7 convolution, padded with zeros so that the picture keeps its size;
# 2. a **LayerNorm** over the C channels at each position, with `eps=1e-6` and with weight and bias;
# 3. an **inverted bottleneck**: a 1×1 layer to 4C channels, the exact GELU, a 1×1 layer back to C;
# 4. **LayerScale**: a learnable number for each channel that multiplies the branch, 1e-6 at first.
#
# The block returns `x` plus the branch, and leaves `x` itself as it was. All convolutions and linear layers have a bias, so that
# there are 8C² + 58C parameters. How you write it is up to you: names, linear layers or 1×1 convolutions, layers or
# functions.
#
# <details><summary>Hint 1: which layer is the depthwise one?</summary>
# An ordinary convolution in which every channel is a group of its own. Look at the argument <code>groups</code>.
# </details>
#
# <details><summary>Hint 2: where do the axes go?</summary>
# Write the shape behind every line. <code>nn.LayerNorm</code> and <code>nn.Linear</code> work on the last axis, convolutions on the
# second. You need two permutations, or none if you normalise by hand and use 1×1 convolutions.
# </details>
#
# <details><summary>Hint 3: what makes a tensor learnable?</summary>
# It has to be an <code>nn.Parameter</code> that is assigned to <code>self</code>. A plain tensor never meets the optimizer, and does
# not move to the GPU with the model.
# </details>


# %% tags=["solution:convnext-block"]
class ConvNeXtBlock(nn.Module):
    """Maps (N, dim, H, W) to (N, dim, H, W)."""

    def __init__(self, dim):
        super().__init__()
        ### BEGIN SOLUTION
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        y = self.dwconv(x).permute(0, 2, 3, 1)  # (N, H, W, C)
        y = F.gelu(self.pwconv1(self.norm(y)))  # (N, H, W, 4C)
        y = self.gamma * self.pwconv2(y)  # (N, H, W, C)
        return x + y.permute(0, 3, 1, 2)  # (N, C, H, W)
        ### END SOLUTION


# %% [markdown]
# ## The check
#
# Run it as often as you like: it costs nothing, and it shows all that it found. Rows that say "not yet" wait for another
# row. The number below the table is your points of 6.

# %% tags=["check:convnext-block:6"]
report = ex1.check(ConvNeXtBlock)
display(report)
report.points(6)

# %% [markdown]
# ## Stretch: GRN, as a function
#
# ConvNeXt V2 {cite:p}`woo2023convnextv2` drops LayerScale and puts Global Response Normalization between the GELU and the
# second 1×1 layer. Write it as a function of `x` `(N, H, W, C)` and two vectors `(C,)`:
#
# * the *energy* of a channel is its Euclidean norm over H and W, for each sample by itself;
# * its *share* is its energy, divided by the mean energy of all channels (plus 1e-6);
# * the result is `gamma * (x * share) + beta + x`.
#
# <details><summary>Hint</summary>
# <code>keepdim=True</code> keeps shapes that broadcast: the energy is (N, 1, 1, C).
# </details>


# %% tags=["solution:grn"]
def grn(x, gamma, beta):
    """Maps (N, H, W, C) to (N, H, W, C)."""
    ### BEGIN SOLUTION
    energy = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    share = energy / (energy.mean(dim=-1, keepdim=True) + 1e-6)
    return gamma * (x * share) + beta + x
    ### END SOLUTION


# %%
stretch.check_grn(grn)

# %% [markdown]
# ## Stretch: the weights from the library
#
# Back to the file of weights. timm has the same block under other names; `print(timm.models.convnext.ConvNeXtBlock(8))`
# shows them. Write `from_timm(theirs)`: it takes one of timm's blocks and returns a `ConvNeXtBlock` of yours that gives the same
# numbers, with weights of its own (a later change of theirs must not change yours).
#
# <details><summary>Hint</summary>
# <code>theirs.conv_dw.in_channels</code> is the width. Inside of <code>torch.no_grad()</code>,
# <code>mine.copy_(other)</code> copies numbers. Or rename the keys of <code>theirs.state_dict()</code>, and let
# <code>load_state_dict</code> complain about what you forgot.
# </details>


# %% tags=["solution:from-timm"]
def from_timm(theirs):
    """A ConvNeXtBlock with the weights of timm's block."""
    ### BEGIN SOLUTION
    names = {
        "conv_dw": "dwconv",
        "norm": "norm",
        "mlp.fc1": "pwconv1",
        "mlp.fc2": "pwconv2",
    }
    state = {"gamma": theirs.gamma}
    for old, new in names.items():
        for kind in ("weight", "bias"):
            state[f"{new}.{kind}"] = theirs.get_parameter(f"{old}.{kind}")
    mine = ConvNeXtBlock(theirs.conv_dw.in_channels)
    mine.load_state_dict(state)
    return mine
    ### END SOLUTION


# %%
stretch.check_from_timm(from_timm)

# %% [markdown]
# ## Predict, then unfold
#
# **1.** Ten of these blocks in a row, all at one resolution. How many pixels wide is the part of the input that one output position
# can see?
#
# <details><summary>Answer</summary>
# Each block adds three pixels on every side, and only its depthwise convolution does: 1 + 10·6 = 61 pixels.
# </details>
#
# **2.** A fresh block, with gamma at 1e-6, is almost the identity. Which of its parameters gets the largest gradient in the first step?
#
# <details><summary>Answer</summary>
# gamma itself. Every other gradient of the branch is multiplied by gamma, a millionth, on its way. gamma grows first, and opens the
# branch for the others. At exactly 0 the others would get nothing in the first step.
# </details>
#
# **3.** The check runs your block at 19×17 pixels with 8 channels. What would a test at `(2, 32, 32, 32)` alone have missed?
#
# <details><summary>Answer</summary>
# A LayerNorm over the width: with W equal to C it runs without an error, and every shape is right.
# </details>
