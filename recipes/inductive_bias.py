"""Convolution against attention, and Swin's shift on and off.

``hunger``: a ConvNet, a ViT and a hybrid on 512 to 8,192 images, equal steps; ``longer``: 16,384
images and twice the steps; ``moved``: tested on moved images too. ``swin``: with and
without the shift on the same pictures. ``windows``: the same on a task in which windows must talk
to each other. Every network has, in every case, a learning rate of its own.
"""

from dataclasses import asdict
from functools import lru_cache

import torch

from modarch_utils import records
from modarch_utils.data import renderer, scenes
from modarch_utils.measure import count_macs, count_params
from modarch_utils.studies import inductive_bias as bias
from modarch_utils.studies.inductive_bias import MOVED, SETTINGS, STUDIES, WINDOWS
from modarch_utils.training.loop import evaluate
from recipes import jobs, streams

NETS = ("convnet", "vit", "hybrid")
SWINS = ("swin", "swin_unshifted")
COMPARED = {"windows": SWINS, "swin": SWINS, "moved": NETS[:2], "hunger": NETS, "longer": NETS[:2]}
SEEDS = {SWINS: (0, 1, 2, 3, 4), NETS: (0, 1, 2), NETS[:2]: (0, 1, 2)}  # the shift may do little


@lru_cache
def wide_test() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Test scenes with a margin around them: images, object masks, labels."""
    n, margin = MOVED.moved_images, max(MOVED.shifts)
    test = streams.load(MOVED.test_images, MOVED.image_size, 2, MOVED.framing)[:n]
    factors = bias.wider(test.factors, MOVED.image_size, margin)
    images, mask, _ = renderer.draw(factors, MOVED.image_size + 2 * margin)
    return images, mask, test.shape


def load(framing: str) -> list[streams.Labelled]:
    """Scenes to train on, to choose a rate with and to test on."""
    most = max(n for s in STUDIES.values() if s.framing == framing for n in s.sizes)
    counts = (most, SETTINGS.val_images, SETTINGS.test_images)
    return streams.shapes(streams.each(counts, SETTINGS.image_size, framing))


def one_run(study: str, name: str, n: int, lr: float, seed: int) -> dict:
    """Train and test one network; accuracies in percent."""
    if study == "windows":
        return windows(name == "swin", lr, seed)
    return pictures(study, name, n, lr, seed)


def pictures(study: str, name: str, n: int, lr: float, seed: int) -> dict:
    """Train on scenes; accuracies on validation and test images, in one study on moved ones."""
    settings = STUDIES[study]
    (images, labels), val, test = load(settings.framing)
    net, _ = bias.train(name, lr, seed, (images[:n], labels[:n]), settings, progress=False)
    result = streams.scores(net, val, test)
    if study == "moved":
        result |= moved(net)
    return result


def moved(net: torch.nn.Module) -> dict:
    """Accuracies for each of ``shifts``: images moved left or right, and moved up or down."""
    images, _, labels = wide_test()
    result = {"sideways": [], "up_down": []}
    for pixels in MOVED.shifts:
        cuts = bias.moved(images, MOVED.image_size, pixels)
        hits = [100 * evaluate(net, (cut, labels)).accuracy for cut in cuts]
        for key, part in (("sideways", hits[:2]), ("up_down", hits[-2:])):
            result[key].append(round(sum(part) / len(part), 2))
    return result


def windows(shift: bool, lr: float, seed: int) -> dict:
    """Train on the window task; test accuracies inside windows and across their border too."""
    net, _ = bias.train_windows(shift, lr, seed, progress=False)
    val, (maps, labels, column) = (bias.neighbours(WINDOWS.test_maps, i) for i in (1, 2))

    def among(part: torch.Tensor) -> float:
        return streams.accuracy(net, (maps[part], labels[part]))

    crosses = bias.crosses(column)
    return {
        **streams.scores(net, val[:2], (maps, labels)),
        "across": among(crosses),
        "inside": among(~crosses),
        "by_column": [among(column == c) for c in range(WINDOWS.side - 1)],
    }


def visible() -> list[float]:
    """How much of the objects is still in the frame after each shift, in percent of before."""
    mask, size = wide_test()[1].float(), MOVED.image_size
    whole = bias.moved(mask, size, 0)[0].sum()
    shares = []
    for pixels in MOVED.shifts:
        cuts = bias.moved(mask, size, pixels)
        shares.append(round(100 * float(sum(cut.sum() for cut in cuts) / len(cuts) / whole), 1))
    return shares


def cost(name: str) -> dict:
    """Parameters and multiply-adds of one image."""
    net = bias.build(name, 0)
    shape = (1, 3, SETTINGS.image_size, SETTINGS.image_size)
    return {"params": count_params(net), "macs": count_macs(net, shape)}


def main() -> None:
    """Run what is missing and write the record."""
    # Rendered once, before the processes start.
    data = {framing: load(framing) for framing in ("wide", "close")}
    settings = {
        **{study: asdict(shared) for study, shared in STUDIES.items()},
        "windows": asdict(WINDOWS),
        "rates": bias.RATES,
        "window_rates": bias.WINDOW_RATES,
        "scenes": scenes.version(),
    }

    def tried(case: dict) -> tuple[float, ...]:
        return bias.WINDOW_RATES if case["study"] == "windows" else bias.RATES[case["name"]]

    sizes = {study: shared.sizes for study, shared in STUDIES.items()}
    sizes["windows"] = (WINDOWS.train_maps,)
    results, chosen = [], []
    for study, nets in COMPARED.items():
        cases = jobs.grid([{"study": study}], name=nets, n=sizes[study])
        found = jobs.search("inductive_bias", one_run, cases, tried, SEEDS[nets], settings)
        results, chosen = results + found[0], chosen + found[1]
    settings |= {
        "seeds": {study: SEEDS[nets] for study, nets in COMPARED.items()},
        "best_lr": chosen,
        "visible": visible(),
        "cost": {name: cost(name) for name in (*NETS, *SWINS)},
        "trivial": {
            framing: {
                n: streams.trivial((train[0][:n], train[1][:n]), val, test) for n in (2048, 8192)
            }
            for framing, (train, val, test) in data.items()
        },
    }
    print(records.save("inductive_bias", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
