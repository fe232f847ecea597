"""Time and memory of attention, convolution, Mamba and Hyena as the input grows.

Not resumable, as it takes minutes. Sizes take turns, so that a slow moment of the machine does not
bend one curve; on the CPU the clock counts only the time that this thread had the core.
"""

import time
from collections.abc import Callable

import torch
from torch import nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from modarch_utils import measure, records
from modarch_utils.models.mamba import Mamba
from modarch_utils.studies import lengths

ROUNDS = 9
SCAN_LENGTH, SCAN_DIM = 512, 256
SIZES = {"sequence": lengths.LENGTHS, "image": lengths.SIDES}
LAYERS = {"sequence": lengths.SEQUENCE, "image": lengths.IMAGE}


def against_the_library() -> dict:
    """Our Mamba and transformers' own fallback for machines without CUDA, with equal weights."""
    started = time.perf_counter()
    ours = Mamba(SCAN_DIM)
    library = MambaMixer(MambaConfig(hidden_size=SCAN_DIM, num_hidden_layers=1), 0)
    library.load_state_dict(ours.state_dict())
    x = torch.randn(1, SCAN_LENGTH, SCAN_DIM)

    def training_step(mixer: nn.Module) -> Callable[[], None]:
        return lambda: mixer(x).square().mean().backward()

    result = measure.compare(
        training_step(ours),
        training_step(library),
        warmup=1,
        repeats=ROUNDS,
        clock=time.process_time,
    )
    return {
        "kind": "library",
        "length": SCAN_LENGTH,
        "dim": SCAN_DIM,
        "ratio": round(result.ratio, 1),
        "quartiles": [round(result.q1, 1), round(result.q3, 1)],
        "ours_ms": round(1e3 * result.ours_s, 1),
        "library_ms": round(1e3 * result.reference_s, 1),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """Measure everything and write the record."""
    torch.set_num_threads(1)
    results = []
    for kind, layers in LAYERS.items():
        for name in layers:
            started = time.perf_counter()
            steps = {size: lengths.step(kind, name, size) for size in SIZES[kind]}
            times: dict[int, list[float]] = {size: [] for size in steps}
            for turn in range(ROUNDS + 2):
                for size, step in steps.items():
                    before = time.process_time()
                    step()
                    if turn >= 2:  # the first two are warm-up
                        times[size].append(time.process_time() - before)
            results.append(
                {
                    "kind": kind,
                    "layer": name,
                    "sizes": list(steps),
                    "milliseconds": [[round(1e3 * t, 3) for t in times[size]] for size in steps],
                    "bytes": [measure.peak_memory(step) for step in steps.values()],
                    "seconds": round(time.perf_counter() - started, 1),
                }
            )
            print(results[-1], flush=True)
    results.append(against_the_library())
    print(results[-1], flush=True)
    settings = {
        "dim": lengths.DIM,
        "heads": lengths.HEADS,
        "window": lengths.WINDOW,
        "rounds": ROUNDS,
    }
    print(records.save("cost_of_length", settings=settings, results=results))


if __name__ == "__main__":
    main()
