"""What a residual block does, found from outside: by its inputs, outputs and parameters' sizes.

Nothing here asks for a layer, a name or a type. A parameter is recognised by what happens to the
output when it changes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modarch_utils.checks.core import call, near, returned, tensor

MODULE = "Let the class inherit from nn.Module."
# Odd sides that differ from each other and from the channels: a mixed-up axis cannot hide.
HEIGHT, WIDTH = 19, 17
CENTRE = (HEIGHT // 2, WIDTH // 2)
# Relative sizes below which a change is none, in a difference of outputs and in an output.
LEAK, SAME = 1e-6, 1e-8
FAR = 7  # beyond this many positions no kernel reaches, only a statistic over the picture

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "GELU": F.gelu,
    "the tanh approximation of GELU": lambda t: F.gelu(t, approximate="tanh"),
    "GELU twice": lambda t: F.gelu(F.gelu(t)),
    "ReLU": F.relu,
    "SiLU": F.silu,
    "no activation": lambda t: t,
    "leaky ReLU": F.leaky_relu,
    "ELU": F.elu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "Hardswish": F.hardswish,
}


class BlockProbe:
    """A student's block with random weights in float64, in eval mode.

    It seeds torch's global generator: the caller keeps that one's state.

    Args:
        make: the student's class, called with the number of channels.
        dim: channels C, a power of two, so that no layer's size is a multiple of a kernel's.
        seed: decides weights and inputs.
        hint: from an error's message to the likely mistake, or to "".

    Raises:
        Unusable: it cannot be built or run.
    """

    def __init__(self, make: Callable, dim: int, seed: int, hint: Callable[[str], str]):
        self.dim, self.hint = dim, hint
        self.random = torch.Generator().manual_seed(seed)
        self.block = returned(call(make, dim, hint=hint), nn.Module, MODULE)
        nn.Module.double(self.block)
        nn.Module.eval(self.block)
        self.params = list(nn.Module.parameters(self.block))
        self.first = [p.detach().clone() for p in self.params]
        with torch.no_grad():
            for p in self.params:
                size = 0.5 + torch.rand(p.shape, generator=self.random, dtype=torch.float64)
                sign = torch.randint(0, 2, p.shape, generator=self.random) * 2 - 1
                p.copy_(size * sign * max(1.0, p.numel() / (4 * dim)) ** -0.5)
        self.silencer, self.kind = self._find_shortcut()
        self.gamma = self.silencer
        if self.kind == "late" and not self._idles(self.silencer):
            self.gamma = None  # it was the norm's weight

    def input(self, *shape: int) -> Tensor:
        """Normal noise; without `shape` as large as the probes need: ``(2, C, 19, 17)``."""
        shape = shape or (2, self.dim, HEIGHT, WIDTH)
        return torch.randn(shape, generator=self.random, dtype=torch.float64)

    def run(self, x: Tensor) -> Tensor:
        """The block's output, without gradients; `x` itself is out of the block's reach."""
        torch.manual_seed(0)  # a Dropout then drops the same, and two runs can be compared
        with torch.no_grad():
            y = call(self.block, x.clone(), hint=self.hint)
        return tensor(y, x.shape, lambda _: "Keep the shape at every size.")

    @contextmanager
    def values(self, *changes: tuple[Tensor, Tensor | float]) -> Iterator[None]:
        """Give parameters other values for a while."""
        kept = [(p, p.detach().clone()) for p, _ in changes]
        try:
            with torch.no_grad():
                for p, value in changes:
                    p.copy_(torch.as_tensor(value, dtype=p.dtype).expand_as(p))
            yield
        finally:
            with torch.no_grad():
                for p, value in kept:
                    p.copy_(value)

    def sized(self, *numbers: int) -> list[Tensor]:
        """The parameters with so many elements."""
        return [p for p in self.params if p.numel() in numbers]

    def per_channel(self, p: Tensor) -> Tensor:
        """One value for each channel, or one for all, laid along ``(1, C, 1, 1)``."""
        return p.detach().reshape(1, -1, 1, 1)

    # The shortcut and gamma.

    def _find_shortcut(self) -> tuple[Tensor | None, str]:
        """The parameter that scales the branch, and what becomes of x beside the branch.

        The kinds: "right"; "missing"; "scaled" (gamma scales the sum); "gamma" (gamma scales
        the shortcut); "late" (taken after the first layer); "touched" (something follows).
        """
        x, other = self.input(), self.input()
        full = self.run(x)
        with self.values(*((p, 0.0) for p in self.params)):
            bare = self.run(x)
        empty = not bare.abs().max() > SAME
        kind = "right" if near(bare, x, 1e-4) else "missing" if empty else "touched"
        if near(full, bare):  # no branch arrives, so nothing can be seen to scale it
            return None, kind
        late = None
        for p in self.sized(self.dim, 1):
            with self.values((p, 0.0)):
                without = self.run(x)
                if near(without, bare) or (empty and not without.abs().max() > SAME):
                    rest = [(q, 0.0) for q in self.params if q is not p]
                    if kind != "missing":
                        return p, kind
                    with self.values((p, 1.0), *rest):
                        return p, "scaled" if near(self.run(x), x) else "missing"
                if kind != "missing":
                    continue
                bend = self.run(x + other) - without - self.run(other) + self.run(0 * x)
                if not bend.abs().max() > SAME and not near(without, self.run(other)):
                    late = p if late is None or self._idles(p) else late
            if near(full - without, self.per_channel(p) * x):
                return p, "gamma"
        return (None, kind) if late is None else (late, "late")

    def _idles(self, p: Tensor) -> bool:
        """Whether some other parameter no longer matters once `p` is 0."""
        x = self.input()
        with self.values((p, 0.0)):
            base = self.run(x)
            for q in self.params:
                if q is not p:
                    with self.values((q, 0.0)):
                        if near(self.run(x), base):
                            return True
        return False

    def shortcut(self, x: Tensor) -> Tensor:
        """What reaches the output beside the branch."""
        if self.kind == "missing":
            return torch.zeros_like(x)
        if self.kind in ("scaled", "gamma"):
            return self.per_channel(self.silencer) * x
        if self.kind == "late":
            with self.values((self.silencer, 0.0)):
                return self.run(x)
        return x

    def branch(self, x: Tensor) -> Tensor:
        """The output without the shortcut: ``(N, C, H, W)``."""
        return self.run(x) - self.shortcut(x)

    # Where a position's change arrives.

    def reach(self, train: bool = False) -> Tensor:
        """How far each output position moves with the input's centre: ``(N, H, W)``, at most 1.

        The change is in sample 0; the other sample should not move at all.
        """
        self.block.train(train)
        x = self.input()
        moved = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.float64)
        for c in range(self.dim):
            x = -x  # what an activation cuts off with one sign it lets through with the other
            changed = x.clone()
            changed[0, c, CENTRE[0], CENTRE[1]] += 1
            moved += (self.branch(changed) - self.branch(x)).abs().sum(1)
        self.block.eval()
        return moved / moved.max().clamp(min=1e-300)

    def mixing(self, window: Tensor) -> float:
        """Second over first singular value of the centre's effect, by offset and channel.

        On constant channels, a layer that keeps channels apart changes each position of its window
        along the same direction: then it is 0.

        Args:
            window: ``(H, W)`` bool, the positions that the centre reaches.
        """
        level = self.input(1, self.dim, 1, 1)
        x = level.expand(1, self.dim, HEIGHT, WIDTH).clone()
        changed = x.clone()
        changed[0, 0, CENTRE[0], CENTRE[1]] += 1e-4
        effect = (self.branch(changed) - self.branch(x))[0][:, window]
        values = torch.linalg.svdvals(effect)
        return (values[1] / values[0].clamp(min=1e-300)).item()

    def ignores_scale(self, channel: int | None = None) -> bool:
        """Whether the branch forgets how large its input is, or one channel of it."""
        x = 1e3 * self.input()
        scaled = x.clone()
        scaled[:, slice(None) if channel is None else channel] *= 100
        return near(self.branch(x), self.branch(scaled), 0.05)

    # The two 1×1 layers.

    def first_layer(self) -> tuple[Tensor, Tensor] | None:
        """Weight and bias of the layer before the activation, or None.

        With this weight at zero the input no longer counts, but the bias still does.
        """
        x, other = self.input(), self.input()
        found = None
        for w in self.params:
            if w.numel() % self.dim or w.numel() <= self.dim:
                continue
            with self.values((w, 0.0)):
                base = self.branch(x)
                if not near(base, self.branch(other), LEAK):
                    continue
                for b in self.sized(w.numel() // self.dim):
                    if b is self.gamma or b is w:
                        continue
                    with self.values((b, 0.5)):
                        if not near(base, self.branch(x), LEAK):
                            found = found or (w, b)
                            # As narrow as the block, other biases look alike: a bend decides.
                            if self.curve(w, b)[1] != "no activation":
                                return w, b
        return found

    def curve(self, weight: Tensor, bias: Tensor) -> tuple[float, str]:
        """How unlike the channels' responses to one shared hidden value are, and their shape.

        Returns:
            Largest difference between channels (0 when nothing bends after the second layer), and
            a key of :data:`ACTIVATIONS`, or "another function".
        """
        times = torch.linspace(-4, 4, 17, dtype=torch.float64)
        x, heights = self.input(), []
        for t in times.tolist():
            with self.values((weight, 0.0), (bias, t)):
                heights.append(self.branch(x)[0, :, CENTRE[0], CENTRE[1]])
        y = torch.stack(heights)  # (17, C)
        y = (y - y[8]) / (y[16] - y[8])
        unlike = (y - y[:, :1]).abs().max().item()
        for name, function in ACTIVATIONS.items():
            should = function(times)
            should = (should - should[8]) / (should[16] - should[8])
            if (y[:, 0] - should).abs().max() < 1e-5:
                return unlike, name
        return unlike, "another function"

    def odd_before(self, weight: Tensor) -> bool:
        """Whether nothing bends before the first 1×1 layer, which has this weight.

        Then x and -x differ by a sign, which one parameter can undo: the norm's weight, or that of
        the 1×1 layer where the norm has none.
        """
        x = 1e6 * self.input()
        base = self.branch(x)
        for p in (weight, *self.sized(self.dim)):
            if p is not self.gamma:
                with self.values((p, -p.detach().clone())):
                    if near(base, self.branch(-x), 1e-3):
                        return True
        return False


def extent(window: Tensor) -> tuple[int, int]:
    """Height and width of the smallest rectangle around the marked positions."""
    rows, columns = window.any(1).nonzero(), window.any(0).nonzero()
    if not len(rows):
        return 0, 0
    return (rows.max() - rows.min() + 1).item(), (columns.max() - columns.min() + 1).item()


def sizes(params: Sequence[Tensor]) -> str:
    """Shapes in words, for a message."""
    return ", ".join(str(tuple(p.shape)) for p in params)
