"""What a network costs, and how near two sets of features are.

Counts are exact. Times are medians of many repeats, and two things are compared only within one
run, taking turns, because a laptop's speed drifts by more than most differences worth knowing.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from modarch_utils import devices

# A torch built for CUDA warns at this import that it found no triton, which nothing here needs.
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

Step = Callable[[], Any]
T = TypeVar("T")


def count_params(model: nn.Module, *, trainable: bool = False) -> int:
    """Number of parameters (of those that require gradients, if `trainable`)."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@torch.no_grad()
def count_macs(model: nn.Module, input_shape: tuple[int, ...], *, norms: bool = False) -> int:
    """Multiply-adds of one forward pass in eval mode: what vision papers call FLOPs.

    Counts convolutions, matrix products and attention (products of both, not the softmax), by
    torch's FLOP counter, halved. Biases, activations, pooling and FFTs are free. BatchNorm is free
    too, as it folds into a convolution; `norms=True` adds LayerNorm and GroupNorm at 5 per
    element, fvcore's convention, for tables that were made with it.

    Args:
        model: may live on the meta device, where counting costs neither time nor memory: build it
            under `with torch.device("meta")`.
        input_shape: with the batch, for example (1, 3, 224, 224).
    """
    first = next(model.parameters(), torch.empty(0))
    inputs = torch.zeros(input_shape, dtype=first.dtype, device=first.device)

    def norm_flops(shape: torch.Size, *args: Any, **kwargs: Any) -> int:
        return 2 * 5 * shape.numel()

    aten = torch.ops.aten
    extra = {aten.native_layer_norm: norm_flops, aten.native_group_norm: norm_flops}
    counter = FlopCounterMode(display=False, custom_mapping=extra if norms else None)
    training, fastpath = model.training, torch.backends.mha.get_fastpath_enabled()
    # The fused attention kernels are ones that the counter may not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        model.eval()
        with sdpa_kernel(SDPBackend.MATH), counter:
            model(inputs)
    finally:
        model.train(training)
        torch.backends.mha.set_fastpath_enabled(fastpath)
    return counter.get_total_flops() // 2


@dataclass(frozen=True)
class Latency:
    """Seconds per call: the median, and the quartiles around it."""

    median: float
    q1: float
    q3: float

    def __str__(self) -> str:
        return f"{1e3 * self.median:.1f} ms (quartiles {1e3 * self.q1:.1f}-{1e3 * self.q3:.1f})"


@dataclass(frozen=True)
class Ratio:
    """`ratio` = reference / ours, so above 1 ours is the faster; with quartiles, and seconds."""

    ratio: float
    q1: float
    q3: float
    ours_s: float
    reference_s: float

    def __str__(self) -> str:
        return (
            f"{self.ratio:.2f} times as fast (ours {1e3 * self.ours_s:.1f} ms, "
            f"reference {1e3 * self.reference_s:.1f} ms)"
        )


def latency(fn: Step, *, warmup: int = 3, repeats: int = 20) -> Latency:
    """Times `fn()`, which may run on a GPU; the first `warmup` calls are not counted."""
    return _latency(_in_turns({"fn": fn}, warmup, repeats)["fn"])


def compare(
    ours: Step,
    reference: Step,
    *,
    warmup: int = 2,
    repeats: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """How many times as fast `ours()` is as `reference()`.

    The two take turns, and take turns at going first; the ratio is the median over the pairs. A
    slow second of the machine then spoils one pair and not one side. On one CPU thread
    `clock=time.process_time` is steadier still, as it stops while other programs have the core.
    """
    mine, theirs = _in_turns(
        {"ours": ours, "reference": reference}, warmup, repeats, clock
    ).values()
    q1, median, q3 = _quartiles(b / a for a, b in zip(mine, theirs, strict=True))
    return Ratio(median, q1, q3, _quartiles(mine)[1], _quartiles(theirs)[1])


def take_turns(
    steps: Mapping[str, Step],
    *,
    warmup: int = 1,
    rounds: int = 7,
    clock: Callable[[], float] | None = None,
) -> dict[str, Latency]:
    """Time several steps, one call of each in every round, in alternating order.

    A slow second of the machine then spoils one round of all and not all rounds of one. Without
    `clock`, on one CPU thread the time is the processor's, which stops while other programs have
    the core; with more threads or a GPU it is the wall clock's.

    Raises:
        ValueError: fewer than one round.
    """
    alone = torch.get_num_threads() == 1 and not torch.accelerator.is_available()
    clock = clock or (time.process_time if alone else time.perf_counter)
    return {name: _latency(s) for name, s in _in_turns(steps, warmup, rounds, clock).items()}


def throughput(fn: Step, items: int, *, warmup: int = 3, repeats: int = 20) -> float:
    """Items a second of `fn()`, which works on `items` of them (a batch of images, say)."""
    return items / latency(fn, warmup=warmup, repeats=repeats).median


@dataclass(frozen=True)
class Threads:
    """The number of CPU threads to use, and the median seconds of a step with each number."""

    threads: int
    seconds: dict[int, float]

    def __str__(self) -> str:
        times = ", ".join(f"{1e3 * s:.0f} ms with {n}" for n, s in self.seconds.items())
        return f"Using {self.threads} torch thread(s); one step takes {times}."


def best_threads(
    step: Step,
    candidates: Iterable[int] | None = None,
    *,
    warmup: int = 2,
    repeats: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> Threads:
    """Measures `step()` with several numbers of torch threads and names the best.

    More threads must win by a tenth to be chosen: on small networks and shared machines they
    often lose. The setting itself is left as it was; to use the answer, pass `.threads` to
    `torch.set_num_threads`, and print the answer, which says so in one line.

    `candidates`: 1, 2, 4, ... up to the number of cores if None.
    """
    before = torch.get_num_threads()
    if candidates is None:
        candidates = [2**i for i in range((os.cpu_count() or 1).bit_length())]

    def with_threads(n: int) -> None:
        torch.set_num_threads(n)
        step()

    steps = {n: partial(with_threads, n) for n in sorted(candidates)}
    try:
        times = _in_turns(steps, warmup, repeats, clock)
    finally:
        torch.set_num_threads(before)
    medians = {n: _quartiles(seconds)[1] for n, seconds in times.items()}
    best = min(medians)
    for n, seconds in medians.items():
        if seconds < 0.9 * medians[best]:
            best = n
    return Threads(best, medians)


def peak_memory(fn: Step) -> int:
    """Most bytes alive at once *in addition to* what existed before, during one `fn()`.

    On CUDA, by the allocator's own account. Elsewhere, by counting after every operation the
    tensors that the operations made and that are still alive, for instance because the backward
    pass will need them; scratch space inside an operation is not seen. The second account is
    exact and the same on every machine, but a lower bound of what the process takes.
    """
    if devices.current().type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        fn()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with _AliveBytes() as alive:
        fn()
    return alive.peak


def numbers_written(fn: Step) -> int:
    """How many numbers the operations of one `fn()` write, forward and backward, views apart.

    A measure of work that is the same on every machine, however busy.
    """
    with _Written() as written:
        fn()
    return written.count


class _Written(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.count += sum(t.numel() for t in tree_iter(result) if isinstance(t, Tensor))
        return result


class _AliveBytes(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.known: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = {self._ref(t) for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                ref = self._ref(tensor)
                # A view, or an in-place result, lives in memory that its input already had.
                if ref not in given:
                    self.known[ref] = tensor.untyped_storage().nbytes()
        self.known = {ref: size for ref, size in self.known.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self.known.values()))
        return result

    @staticmethod
    def _ref(tensor: Tensor) -> StorageWeakRef:
        return StorageWeakRef(tensor.untyped_storage())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017).

    |mean_a - mean_b|² + tr(S_a + S_b - 2 (S_a S_b)^½), the formula of FID, on any features:
    `a` (N, D), `b` (M, D), any float type, computed in float64. Biased upwards for small N, so
    compare only values taken with equal N. Raises ValueError for other shapes or fewer than two
    rows.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"Features must be (N, D) and (M, D) with N, M >= 2, not {tuple(a.shape)} and "
            f"{tuple(b.shape)}."
        )
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    root_a, root_b = _root(torch.cov(a.T)), _root(torch.cov(b.T))
    # The singular values of S_a^½ S_b^½ are the square roots of the eigenvalues of S_a S_b.
    cross = torch.linalg.svdvals(root_a @ root_b).sum()
    spread = root_a.square().sum() + root_b.square().sum() - 2 * cross
    return ((a.mean(0) - b.mean(0)).square().sum() + spread).clamp(min=0).item()


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(torch.atleast_2d(covariance))
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def channel_cosine_distance(x: Tensor) -> float:
    """How different the channels of a feature map are (ConvNeXt V2, section 4.1).

    The mean of ``(1 - cos(x_i, x_j)) / 2`` over all pairs of channels, each channel taken as a
    vector over the positions, and over images. 0: every channel shows the same; near 0.5: they
    are unrelated. A channel that is zero everywhere is unrelated to all others, and to itself.

    Args:
        x: features ``(N, H, W, C)``.
    """
    channels = torch.nn.functional.normalize(x.flatten(1, 2).double(), dim=1)  # (N, HW, C)
    similarity = channels.transpose(1, 2) @ channels  # (N, C, C)
    return ((1 - similarity) / 2).mean().item()


def _in_turns(
    steps: Mapping[T, Step],
    warmup: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[T, list[float]]:
    """Seconds of each step's calls: one of each in every round, in alternating order.

    Raises ValueError for less than one round.
    """
    if rounds < 1:
        raise ValueError(f"Times need repeats, at least 1, not {rounds}.")
    seconds: dict[T, list[float]] = {name: [] for name in steps}
    for i in range(-warmup, rounds):
        for name in list(steps)[:: -1 if i % 2 else 1]:
            _synchronize()
            start = clock()
            steps[name]()
            _synchronize()
            if i >= 0:
                seconds[name].append(clock() - start)
    return seconds


def _synchronize() -> None:
    """Waits for the GPU, if there is one: its work is queued, not done, when a call returns."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _latency(seconds: list[float]) -> Latency:
    q1, median, q3 = _quartiles(seconds)
    return Latency(median, q1, q3)


def _quartiles(values: Iterable[float]) -> list[float]:
    quartiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return torch.tensor(list(values), dtype=torch.float64).quantile(quartiles).tolist()
