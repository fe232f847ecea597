"""Exercise 3, the patches: which of a network's vectors a student's function returns, and where.

Small networks with random weights, with and without registers, are given to the function in
transformers' form. What it returns is looked up among the vectors of this package's network with
the same weights: the rows compare what was found.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from operator import itemgetter

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from modarch_utils.checks.core import Part, Report, each, near, one_row, returned, seeded, tensor
from modarch_utils.models.dinov2 import DinoVisionTransformer, transformers_state

DIM, LAYERS = 12, 2


@dataclass(frozen=True)
class Case:
    """A network and pictures for it."""

    registers: int = 2
    patch: int = 5
    grid: tuple[int, int] = (6, 6)
    rest: tuple[int, int] = (0, 0)
    """Pixels that fill no patch, below and at the right."""
    pictures: int = 2
    dropout: float = 0.0
    double: bool = False

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.pictures, *self.grid, DIM


# Mistakes that fix a number in the code still fit one of these, so that the other rows can be seen.
BASES = (Case(), Case(registers=0), Case(registers=4, patch=14, grid=(16, 16)))


def check_patch_grid(function: Callable[[nn.Module, Tensor], Tensor], seed: int = 0) -> Report:
    """All findings on a function that cuts a network's patches out.

    Args:
        function: ``function(model, pixel_values)``; ``model`` is transformers' ``Dinov2Model`` or
            ``Dinov2WithRegistersModel``, ``pixel_values`` ``(N, 3, H, W)``. It returns
            ``(N, rows, columns, dim)``.
        seed: decides weights and pictures.
    """
    reports = []
    with seeded(seed):
        for base in BASES:
            part = patch_grid(seed, base)
            reports.append(part.check(lambda model, pixels, *_: function(model, pixels)))
            if reports[-1].findings[0].passed:
                return reports[-1]
    return reports[0]


def networks(case: Case) -> tuple[DinoVisionTransformer, nn.Module]:
    """One network with random weights twice: this package's, and in transformers' form."""
    ours = DinoVisionTransformer(
        6 * case.patch, case.patch, DIM, LAYERS, 2, registers=case.registers, layer_scale=1.0
    )
    with torch.no_grad():
        for p in ours.parameters():
            p.normal_(std=0.5)
    config, state = transformers_state(ours)
    dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), case.dropout)
    theirs = AutoModel.from_config(AutoConfig.for_model(**config, **dropout))
    theirs.load_state_dict(state)
    theirs.train(case.dropout > 0)
    if case.double:
        ours.double(), theirs.double()
    return ours.eval(), theirs


# Where a network's vectors can be taken from, and how they can be laid out.

LAST, HIDDEN = "last_hidden_state", "tokens before the last normalisation"
FIRST, UNIT = "patches before the first block", "vectors of length 1"
ROWS = "row by row"
LAYOUTS: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    ROWS: lambda t, grid: t.unflatten(1, grid),
    "column by column": lambda t, grid: t.unflatten(1, grid[::-1]).transpose(1, 2),
    "scrambled": lambda t, grid: t.reshape(len(t), t.shape[2], *grid).permute(0, 2, 3, 1),
    "upside down": lambda t, grid: t.unflatten(1, grid).flip(1),
    "mirrored": lambda t, grid: t.unflatten(1, grid).flip(2),
}


@torch.no_grad()
def _layers(ours: DinoVisionTransformer, pixels: Tensor, case: Case) -> list[tuple[str, Tensor]]:
    """Tokens ``(N, 1 + R + P, dim)`` of each layer, with its name."""
    rows, columns = (n * case.patch for n in case.grid)
    pixels = pixels[:, :, :rows, :columns]
    hidden = [ours.embed(pixels)]
    for block in ours.blocks:
        hidden.append(block(hidden[-1]))
    last = ours.norm(hidden[-1])
    # Without class token or registers: as many empty tokens in front, so that counting agrees.
    bare = nn.functional.pad(ours.patch_embed(pixels), (0, 0, 1 + case.registers, 0))
    unit = nn.functional.normalize(last, dim=-1)
    return [
        (LAST, last),
        *((HIDDEN, tokens) for tokens in hidden[::-1]),
        (UNIT, unit),
        (FIRST, bare),
    ]


def _identify(result: Tensor, args: tuple) -> dict[str, object]:
    """How a result can be had from the network: a layer's name, the first token, and a layout."""
    _, pixels, case, ours = args
    right = 1 + case.registers
    starts = sorted(range(right + 1), key=lambda start: start != right)
    for layer, tokens in _layers(ours, pixels, case):
        for start in starts:
            for layout, arrange in LAYOUTS.items():
                taken = tokens[:, start : start + case.patches]
                if near(result.double(), arrange(taken, case.grid).double(), 1e-4):
                    first = {"the first patch is token": start}
                    return {"layer": layer, "start": first, "layout": layout}
    return {"layer": "none of the network's vectors", "start": None, "layout": None}


def _read(result: object, args: tuple) -> dict[str, object]:
    """What the rows compare: how the result can be had, whether it has a graph, and its dtype."""
    result = returned(result, Tensor, "Return one tensor; torch.from_numpy makes one of an array.")
    values = tensor(result, args[2].shape, partial(_wrong_shape, case=args[2]))
    graph = {"a graph behind the result": result.requires_grad}
    return _identify(values, args) | {"graph": graph, "dtype": str(result.dtype)}


def _patches(
    layer: str = LAST, start: Callable[[int], int] = lambda r: 1 + r, layout: str = ROWS
) -> Callable:
    """The patches, taken from another layer or from another token on, or laid out otherwise.

    Args:
        layer: a name of :func:`_layers`.
        start: from the number of registers to the first patch.
        layout: a key of :data:`LAYOUTS`.
    """

    def function(_: nn.Module, pixels: Tensor, case: Case, ours: DinoVisionTransformer) -> Tensor:
        first = start(case.registers)
        tokens = dict(reversed(_layers(ours, pixels, case)))[layer]
        return LAYOUTS[layout](tokens[:, first : first + case.patches], case.grid)

    return function


SOURCES = {
    "This is the patch projection of the picture, which knows nothing of its surroundings: run "
    "the whole network.": _patches(FIRST),
    "hidden_states end before the final LayerNorm: take last_hidden_state.": _patches(HIDDEN),
    "They are normalised already: return them as they are, the cosine comes later.": _patches(UNIT),
}
PLACES = {
    "The order is column by column: patches come row by row, (rows, columns).": _patches(
        layout="column by column"
    ),
    "A reshape has mixed patches and channels: `reshape` does not swap axes, `permute` and "
    "`transpose` do.": _patches(layout="scrambled"),
    "The last row comes first.": _patches(layout="upside down"),
    "The last column comes first.": _patches(layout="mirrored"),
}
NO_REGISTERS = {
    "The class token, the first of all, counts as a patch, and the last patches are cut.": _patches(
        start=lambda r: 0
    )
}
REGISTERS = NO_REGISTERS | {
    "Registers count as patches, and the last patches are cut: registers come right after the "
    "class token, so patches begin at 1 + R.": _patches(start=lambda r: 1),
    "Off by one: the class token is a token too, so patches begin at 1 + R.": _patches(
        start=lambda r: max(r, 1)
    ),
}


@cache
def patch_grid(seed: int = 0, base: Case = BASES[0]) -> Part:
    """Networks like `base`, with one thing changed at a time.

    Functions take this package's network, too: ``function(model, pixel_values, case, ours)``.
    """

    def network(**changes: object) -> Callable:
        case = replace(base, **changes)
        ours, theirs = networks(case)
        sides = [n * case.patch + more for n, more in zip(case.grid, case.rest, strict=True)]
        dtype = torch.float64 if case.double else torch.float32
        pixels = torch.randn(case.pictures, 3, *sides, dtype=dtype)
        return lambda: (copy.deepcopy(theirs), pixels.clone(), case, ours)

    expected = {
        "runs": "(N, rows, columns, dim) from pixels (N, 3, H, W)",
        "without registers": "the class token is dropped, and nothing else",
        "registers": "R of them, 1 to 8, are dropped along with the class token",
        "places": "the patch in row r and column c is at [:, r, c]",
        "last layer": "the network's last word, after its last normalisation",
        "not square": "H // patch rows, W // patch columns",
        "rest": "pixels that fill no patch are left out, as the network does",
        "patch size": "is the network's",
        "one picture": "keeps its axis N",
        "inference": "dropout is off, also if the network comes in training mode",
        "no graph": "the result asks for no gradient",
        "float64": "a network in float64 gives float64",
    }
    other = (
        "Return the patches of last_hidden_state as they are: nothing added, averaged or scaled. "
        "Was the network changed?"
    )
    fixed = "The number of registers is fixed in the code: the model's config knows it."
    same = "Something in the code is fixed that depends on the network or on the picture's size."
    noise = "Other numbers at every call, dropout is at work: call model.eval() first."
    graph = (
        "Every picture keeps all its layers in memory: compute under torch.no_grad() or "
        "torch.inference_mode()."
    )
    dtype = "Convert nothing: the network's dtype is the result's."
    with seeded(seed):
        plain = [network()]
        several = [network(registers=r) for r in (3, 8, 1) if r != base.registers]
        oblong = [network(grid=grid) for grid in ((4, 9), (7, 3))]  # 36 is also 6 · 6
        rows = (
            ("last layer", "layer", plain, other, SOURCES),
            ("places", "layout", plain, other, PLACES),
            ("without registers", "start", [network(registers=0)], fixed, NO_REGISTERS),
            ("registers", "start", several, fixed, REGISTERS),
            ("not square", "layout", oblong, same, {}),
            ("rest", "layout", [network(rest=(3, 2))], same, {}),
            ("patch size", "layout", [network(patch=base.patch + 2)], same, {}),
            ("one picture", "layout", [network(pictures=1)], same, {}),
            ("inference", "layout", [network(dropout=0.5)], noise, {}),
            ("no graph", "graph", plain, graph, {}),
            ("float64", "dtype", [network(double=True)], dtype, {}),
        )
    looks = [one_row("runs", plain, "", view=len)]
    for name, of, cases, otherwise, known in rows:
        after = ("last layer",) if of in ("start", "layout") else ()
        carries = name in ("last layer", "places")
        view = each(itemgetter(of))
        looks.append(one_row(name, cases, otherwise, known, view, after=after, carries=carries))
    otherwise = "Print the shape after every line."
    return Part("patch_grid", expected, _patches(), tuple(looks), _read, _hint, otherwise)


# Shapes and errors.


def _wrong_count(tokens: float, case: Case) -> str:
    """What it means that so many tokens are taken for patches."""
    more = tokens - case.patches
    if more == case.registers + 1:
        return "Nothing is dropped: the class token (and registers, if any) are no patches."
    if more == case.registers > 0:
        return "Registers count as patches: they come after the class token, drop them too."
    if more > 0:
        return (
            "Too few tokens are dropped (a number of registers fixed in the code?): patches begin "
            "at 1 + R, and the model's config knows R."
        )
    return (
        "Patches are lost (a number of registers fixed in the code, or dropped twice?): patches "
        "begin at 1 + R, and a network without registers has R = 0."
    )


def _wrong_grid(grid: tuple[int, ...], case: Case) -> str:
    """What it means that patches are laid into this grid."""
    sides = [n * case.patch + more for n, more in zip(case.grid, case.rest, strict=True)]
    known = {
        tuple(-(-side // case.patch) for side in sides): (
            "The grid is rounded up: what fills no patch is left out, so divide with //."
        ),
        **{
            tuple(side // size for side in sides): (
                f"A patch size of {size} is fixed in the code: take the network's."
            )
            for size in (8, 14, 16)
        },
        case.grid[::-1]: "Rows and columns are swapped: H // patch rows, W // patch columns.",
        (int(case.patches**0.5),) * 2: (
            "The grid is taken for a square: its number of patches does not tell its shape, the "
            "picture's H and W do."
        ),
        (16, 16): "16 × 16 is fixed in the code: rows and columns are H // patch and W // patch.",
    }
    other = "Rows and columns are H // patch and W // patch, with the network's own patch size."
    return known.get(grid, other)


def _wrong_shape(shape: tuple[int, ...], case: Case) -> str:
    n, rows, columns, dim = case.shape
    known = {
        (n, dim): "This is one vector for each picture (pooler_output?), the class token: take "
        "patches.",
        (n, dim, rows, columns): "Channels come last: (N, rows, columns, dim).",
        (rows, columns, dim): "The axis N is gone: [0] or squeeze() drops it.",
        (n, case.patches, dim): "Patches stand in one row: reshape them to rows and columns.",
    }
    if shape in known:
        return known[shape]
    if len(shape) == 3 and shape[::2] == (n, dim):
        return _wrong_count(shape[1], case)
    if shape[:3] == case.shape[:3] and not case.patches * shape[3] % dim:
        return _wrong_count(case.patches * shape[3] // dim, case)
    if len(shape) == 4 and shape[::3] == (n, dim):
        return _wrong_grid(shape[1:3], case)
    return "Print the shape after every line: (N, tokens, dim), (N, patches, dim), the grid."


def _hint(message: str, args: tuple) -> str:
    """The likely mistake behind torch's and transformers' words."""
    case = args[2]
    if "num_register_tokens" in message:
        return (
            "The configuration of a network without registers has no num_register_tokens: "
            "getattr(config, name, 0) gives 0 then."
        )
    if "numpy() on Tensor that requires grad" in message:
        return "There is a graph behind it: compute under torch.no_grad()."
    numbers = [int(n) for n in re.findall(r"\d+", message)]
    if "is invalid for input of size" in message:
        *wanted, size = numbers
        tokens = size / (case.pictures * DIM)
        grid = tuple(wanted[-3:-1]) if wanted[-1:] in ([DIM], [1]) else ()  # 1 of -1
    elif "don't multiply up to the size of dim" in message and len(numbers) >= 4:
        grid, tokens = tuple(numbers[:2]), numbers[-1]
    else:
        return ""
    if len(grid) == 2 and tokens == case.patches:
        return _wrong_grid(grid, case)
    if tokens != case.patches:
        return _wrong_count(tokens, case)
    return "Rows times columns is not the number of patches."
