"""Exercise 3, the patches: which of a network's vectors a student's function returns, and where.

Small networks with random weights, with and without registers, are given to the function in
transformers' form. The right answer comes from this package's network with the same weights.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from modarch_utils.checks.core import AFTER, RIGHT, Report, Rows, Seen, Unusable, call, near, wrong
from modarch_utils.checks.ex3.guess import tensor
from modarch_utils.models.dinov2 import DinoVisionTransformer, transformers_state

DIM, LAYERS = 12, 2
EXPECTED = {
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


class Found(NamedTuple):
    """How the student's numbers can be had from the network."""

    layer: str
    """A key of :data:`LAYERS_SAID`, or ``"right"``."""
    start: int
    """The token that is taken for the first patch."""
    layout: str
    """A key of :data:`LAYOUTS`."""


LAYERS_SAID = {
    "projection": (
        "patches before the first block",
        "This is the patch projection of the picture, which knows nothing of its surroundings: "
        "run the whole network.",
    ),
    "hidden": (
        "tokens of a layer before the last normalisation",
        "hidden_states end before the final LayerNorm: take last_hidden_state.",
    ),
    "unit": (
        "vectors of length 1",
        "They are normalised already: return them as they are, the cosine comes later.",
    ),
}
LAYOUTS: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    "rows": lambda t, grid: t.unflatten(1, grid),
    "columns": lambda t, grid: t.unflatten(1, grid[::-1]).transpose(1, 2),
    "scrambled": lambda t, grid: t.reshape(len(t), t.shape[2], *grid).permute(0, 2, 3, 1),
    "upside down": lambda t, grid: t.unflatten(1, grid).flip(1),
    "mirrored": lambda t, grid: t.unflatten(1, grid).flip(2),
}
LAYOUTS_SAID = {
    "columns": "The order is column by column: patches come row by row, (rows, columns).",
    "scrambled": "A reshape has mixed patches and channels: `reshape` does not swap axes, "
    "`permute` and `transpose` do.",
    "upside down": "The last row comes first.",
    "mirrored": "The last column comes first.",
}


def check_patch_grid(function: Callable[[nn.Module, Tensor], Tensor], seed: int = 0) -> Report:
    """All findings on a function that cuts a network's patches out.

    Args:
        function: ``function(model, pixel_values)``; ``model`` is transformers' ``Dinov2Model`` or
            ``Dinov2WithRegistersModel``, ``pixel_values`` ``(N, 3, H, W)``. It returns
            ``(N, rows, columns, dim)``.
        seed: decides weights and pictures.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _Patches(function).report()


class _Patches:
    def __init__(self, function: Callable):
        self.function, self.base, self.found = function, BASES[0], None

    def report(self) -> Report:
        rows = Rows(EXPECTED)
        if rows.add("runs", self._runs).passed:
            base = self.base
            alone = replace(base, registers=0)
            several = [replace(base, registers=r) for r in (3, 8, 1) if r != base.registers]
            rows.add("without registers", lambda: self._starts(alone))
            rows.add("registers", lambda: self._starts(*several))
            rows.add("places", self._places)
            rows.add("last layer", self._layer)
            rows.add("not square", self._not_square)
            rows.add("rest", lambda: self._same(replace(base, rest=(3, 2))))
            rows.add("patch size", lambda: self._same(replace(base, patch=base.patch + 2)))
            rows.add("one picture", lambda: self._same(replace(base, pictures=1)))
            rows.add("inference", self._inference)
            rows.add("no graph", self._no_graph)
            rows.add("float64", self._float64)
        return rows.report("patch_grid")

    def _runs(self) -> Seen:
        first = None
        for case in BASES:
            try:
                self.found = self._look(case)
            except Unusable as problem:
                first = first or problem
            else:
                self.base = case
                return RIGHT
        raise first

    def _run(self, case: Case) -> tuple[object, DinoVisionTransformer, Tensor]:
        """The student's raw result, the network behind it, and the pixels that count."""
        ours, theirs = networks(case)
        sides = [n * case.patch + more for n, more in zip(case.grid, case.rest, strict=True)]
        dtype = torch.float64 if case.double else torch.float32
        pixels = torch.randn(case.pictures, 3, *sides, dtype=dtype)
        result = call(
            self.function,
            theirs,
            pixels.clone(),
            hint=lambda message: _hint(message, case),
            otherwise="Print the shape after every line.",
        )
        inside = pixels[:, :, : case.grid[0] * case.patch, : case.grid[1] * case.patch]
        return result, ours, inside

    def _look(self, case: Case) -> Found | None:
        """Which of the network's vectors came; None if they are no such vectors."""
        result, ours, pixels = self._run(case)
        result = tensor(result, case.shape, lambda shape: _wrong_shape(shape, case))
        return _identify(result, ours, pixels, case)

    def _starts(self, *cases: Case) -> Seen:
        """Whether the first patch is the first token that is no other."""
        for case in cases:
            found = self._look(case)
            if not found:
                return AFTER  # the row on the last layer tells what is wrong
            if found.start != 1 + case.registers:
                return wrong(
                    f"patches from token {found.start} on, with {case.registers} registers",
                    _wrong_start(found.start, case.registers),
                )
        return RIGHT

    def _places(self) -> Seen:
        if not self.found:
            return AFTER
        layout = self.found.layout
        if layout == "rows":
            return RIGHT
        return wrong(f"the patches are {layout}", LAYOUTS_SAID[layout])

    def _layer(self) -> Seen:
        if not self.found:
            return wrong(
                "numbers that are none of the network's vectors",
                "Return the patches of last_hidden_state as they are: nothing added, averaged or "
                "scaled. Was the network changed?",
            )
        layer = self.found.layer
        return RIGHT if layer == "right" else wrong(*LAYERS_SAID[layer])

    def _same(self, case: Case) -> Seen:
        """Whether one change of the case leaves what was found as it was."""
        found = self._look(case)
        if not self.found:
            return AFTER
        if found and (found.layer, found.layout) == (self.found.layer, self.found.layout):
            return RIGHT
        return wrong(
            f"other vectors than before (patch size {case.patch}, {case.rest} pixels left over)",
            "Something in the code is fixed that depends on the network or on the picture's size.",
        )

    def _not_square(self) -> Seen:
        for grid in ((4, 9), (7, 3)):  # 36 is also 6 · 6
            seen = self._same(replace(self.base, grid=grid))
            if not seen.passed:
                return seen
        return RIGHT

    def _inference(self) -> Seen:
        if not self.found:
            return AFTER
        if self._look(replace(self.base, dropout=0.5)):
            return RIGHT
        return wrong(
            "other numbers at every call, from a network in training mode",
            "Dropout is at work: call model.eval() first.",
        )

    def _no_graph(self) -> Seen:
        result, *_ = self._run(self.base)
        if not result.requires_grad:
            return RIGHT
        return wrong(
            "a result with a graph behind it",
            "Every picture keeps all its layers in memory: compute under torch.no_grad() or "
            "torch.inference_mode().",
        )

    def _float64(self) -> Seen:
        result, *_ = self._run(replace(self.base, double=True))
        if result.dtype == torch.float64:
            return RIGHT
        return wrong(f"{result.dtype}", "Convert nothing: the network's dtype is the result's.")


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


@torch.no_grad()
def _identify(
    result: Tensor, ours: DinoVisionTransformer, pixels: Tensor, case: Case
) -> Found | None:
    hidden = [ours.embed(pixels)]
    for block in ours.blocks:
        hidden.append(block(hidden[-1]))
    last = ours.norm(hidden[-1])
    layers = [("right", last), *(("hidden", tokens) for tokens in hidden)]
    layers.append(("unit", nn.functional.normalize(last, dim=-1)))
    # Without class token or registers: as many empty tokens in front, so that counting agrees.
    bare = ours.patch_embed(pixels)
    layers.append(("projection", nn.functional.pad(bare, (0, 0, 1 + case.registers, 0))))
    right = 1 + case.registers
    starts = sorted(range(right + 1), key=lambda start: start != right)
    for layer, tokens in layers:
        for start in starts:
            for layout, arrange in LAYOUTS.items():
                taken = tokens[:, start : start + case.patches]
                if near(result.double(), arrange(taken, case.grid).double(), 1e-4):
                    return Found(layer, start, layout)
    return None


def _wrong_start(start: int, registers: int) -> str:
    if start == 0:
        return "The class token, the first of all, counts as a patch, and the last patches are cut."
    if start == 1:
        return (
            "Registers count as patches, and the last patches are cut: registers come right after "
            "the class token, so patches begin at 1 + R."
        )
    if start == registers:
        return "Off by one: the class token is a token too, so patches begin at 1 + R."
    return "The number of registers is fixed in the code: the model's config knows it."


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
    """What it means that patches are laid into this grid, or no grid at all."""
    if len(grid) == 2 and grid[0] == grid[1]:
        side = grid[0]
        if side == 16:
            return "16 × 16 is fixed in the code: rows and columns are H // patch and W // patch."
        if case.grid[0] != case.grid[1] and side == int(case.patches**0.5):
            return (
                "The grid is taken for a square: its number of patches does not tell its shape, "
                "the picture's H and W do."
            )
    if grid == case.grid[::-1]:
        return "Rows and columns are swapped: H // patch rows, W // patch columns."
    sides = [n * case.patch + more for n, more in zip(case.grid, case.rest, strict=True)]
    for size in (8, 14, 16):
        if size != case.patch and grid == tuple(side // size for side in sides):
            return f"A patch size of {size} is fixed in the code: take the network's."
    if any(case.rest) and all(a in (b, b + 1) for a, b in zip(grid, case.grid, strict=False)):
        return "The grid is rounded up: what fills no patch is left out, so divide with //."
    return "Rows and columns are H // patch and W // patch, with the network's own patch size."


def _wrong_shape(shape: tuple[int, ...], case: Case) -> str:
    n, rows, columns, dim = case.shape
    if shape == (n, dim):
        return (
            "This is one vector for each picture (pooler_output?), the class token: take patches."
        )
    if shape == (n, dim, rows, columns):
        return "Channels come last: (N, rows, columns, dim)."
    if len(shape) == 3 and shape == (rows, columns, dim):
        return "The axis N is gone: [0] or squeeze() drops it."
    if len(shape) == 3 and shape[2] == dim and shape[0] == n:
        if shape[1] == case.patches:
            return "Patches stand in one row: reshape them to rows and columns."
        return _wrong_count(shape[1], case)
    if len(shape) == 4 and shape[0] == n and shape[3] == dim:
        return _wrong_grid(shape[1:3], case)
    return "Print the shape after every line: (N, tokens, dim), (N, patches, dim), the grid."


def _hint(message: str, case: Case) -> str:
    """The likely mistake behind torch's and transformers' words."""
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
        inferred = "-1" in message
        tokens = size / (case.pictures * DIM)
        grid = tuple(wanted[-3:-1]) if wanted and wanted[-1] == DIM and not inferred else ()
    elif "don't multiply up to the size of dim" in message and len(numbers) >= 4:
        grid, tokens = tuple(numbers[:2]), numbers[-1]
    else:
        return ""
    if len(grid) == 2 and tokens == case.patches:
        return _wrong_grid(grid, case)
    if tokens != case.patches:
        return _wrong_count(tokens, case)
    return "Rows times columns is not the number of patches."
