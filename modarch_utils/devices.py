"""The device that the course computes on, and the precision that it really computes in.

``MODARCH_DEVICE`` names it: ``cpu``, ``cuda`` or ``mps``. Without it the fastest device is taken.
That a library lists a card does not mean that it can use it: a card may be older than this torch
was built for, or know no bfloat16 convolution, or compute nonsense. So each device is tried once,
with a convolution of a few numbers, forward and backward, held against the CPU's.
"""

import functools
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import conv2d

KINDS = ("cuda", "mps", "cpu")
"""From the fastest."""
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = {torch.bfloat16: 0.05, torch.float16: 0.01, torch.float32: 0.01}
"""Relative error of the trial. Float32's allows for TF32, which a card may use."""

Trial = Callable[[str, torch.dtype], str]
"""Tries a kind of device in a precision: why it does not work, or ``""``."""


def current() -> torch.device:
    """The device named by ``MODARCH_DEVICE``, or the fastest one that works.

    Raises:
        ValueError: the variable names no device, or one that this machine lacks.
    """
    return _chosen(os.environ.get("MODARCH_DEVICE", ""))


def precision(wanted: str) -> str:
    """``wanted`` (``"bf16"``, ``"fp16"`` or ``"no"``), or what :func:`current` can do instead."""
    return wanted if wanted == "no" else _precise(current().type, wanted)


def plain_attention(device: torch.device | str) -> AbstractContextManager:
    """Attention as two matrix products, on a CPU.

    With a few dozen tokens PyTorch's fused kernel has nothing to save there, and in bfloat16 its
    backward pass took nine times as long as in float32 (41 tokens, one core of an EPYC).
    """
    return sdpa_kernel(SDPBackend.MATH) if torch.device(device).type == "cpu" else nullcontext()


def choose(wanted: str, present: Callable[[str], bool], trial: Trial) -> torch.device:
    """The device for a value of ``MODARCH_DEVICE``; see :func:`current`.

    One that is there but fails its trial is warned of, and the next one is taken.

    Args:
        present: whether this machine has a kind of device.
        trial: tries it.
    """
    wanted = wanted.strip().lower()
    if wanted and wanted not in KINDS:
        raise ValueError(
            f"MODARCH_DEVICE={wanted!r} names no device; set it to cpu, cuda or mps, or unset it."
        )
    if wanted and not present(wanted):
        raise ValueError(
            f"MODARCH_DEVICE={wanted}, but torch {torch.__version__} finds no such device here; "
            "unset it to use the fastest one that there is."
        )
    for kind in [wanted] if wanted else filter(present, KINDS):
        reason = "" if kind == "cpu" else trial(kind, torch.float32)
        if not reason:
            return torch.device(kind)
        warnings.warn(
            f"This machine's {kind} device does not work with torch {torch.__version__} "
            f"({reason}), so the course computes without it.",
            stacklevel=2,
        )
    return torch.device("cpu")


def choose_precision(kind: str, wanted: str, trial: Trial) -> str:
    """What to use in place of ``wanted`` on a kind of device; see :func:`precision`."""
    if wanted == "no" or not (reason := trial(kind, DTYPES[wanted])):
        return wanted
    # On a CPU float16 saves nothing, and Accelerate refuses it.
    half = wanted == "bf16" and kind != "cpu" and not trial(kind, torch.float16)
    warnings.warn(
        f"This machine's {kind} device does not compute in {wanted} ({reason}), so the course uses "
        f"{'fp16' if half else 'float32'}.",
        stacklevel=2,
    )
    return "fp16" if half else "no"


def present(kind: str) -> bool:
    """Whether torch lists this kind of device, working or not."""
    backends = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    return kind == "cpu" or backends[kind]()


def trial(kind: str, dtype: torch.dtype) -> str:
    """Convolve a few numbers, forward and backward; why the result is unusable, or ``""``."""
    try:
        found = _convolved(kind, dtype)
    # A driver may fail in ways of its own: anything but a result means that it does not work.
    except Exception as error:
        return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    right = _convolved("cpu", torch.float32)
    # A comparison with NaN is False, so what must hold is asked, not what must not.
    near = (
        (a - b).norm() <= TOLERANCE[dtype] * b.norm() for a, b in zip(found, right, strict=True)
    )
    return "" if all(near) else "its results are not the CPU's"


def _convolved(kind: str, dtype: torch.dtype) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    x, w = (torch.randn(shape, generator=rng) for shape in ((2, 8, 9, 9), (8, 8, 3, 3)))
    x, w = (t.to(kind, dtype).requires_grad_() for t in (x, w))
    y = conv2d(x, w, padding=1)
    y.square().mean().backward()
    return [t.detach().float().cpu() for t in (y, x.grad, w.grad)]


@functools.cache
def _chosen(wanted: str) -> torch.device:
    return choose(wanted, present, trial)


@functools.cache
def _precise(kind: str, wanted: str) -> str:
    return choose_precision(kind, wanted, trial)
