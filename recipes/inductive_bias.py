"""Convolution against attention, and Swin's shift on and off: three seeds each.

``hunger``: a ConvNet, a ViT and a hybrid on 128 to 8,192 images, equal steps; those trained on
the two largest sets are tested on moved images too. ``swin``: with and without the shift on the
same pictures. ``windows``: the same on a task in which windows must talk to each other.
"""

from dataclasses import asdict
from functools import lru_cache

import torch

from modarch_utils import records
from modarch_utils.data import renderer, scenes
from modarch_utils.measure import count_macs, count_params
from modarch_utils.studies import inductive_bias as bias
from modarch_utils.studies.inductive_bias import SETTINGS, SWIN, WINDOWS
from modarch_utils.training.loop import evaluate
from recipes import jobs, streams

SEEDS = (0, 1, 2)
NETS = ("convnet", "vit", "hybrid")
TUNED_ON = 2048  # images; the rate that is best there serves all set sizes


@lru_cache
def wide_test() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Test scenes with a margin around them: images, object masks, labels."""
    n, margin = SETTINGS.moved_images, max(SETTINGS.shifts)
    test = streams.load(SETTINGS.test_images, SETTINGS.image_size, 2, SETTINGS.framing)[:n]
    factors = bias.wider(test.factors, SETTINGS.image_size, margin)
    images, mask, _ = renderer.draw(factors, SETTINGS.image_size + 2 * margin)
    return images, mask, test.shape


def one_run(study: str, name: str, n: int, lr: float, seed: int) -> dict:
    """Train and test one network; accuracies in percent."""
    if study == "windows":
        return windows(name == "swin", lr, seed)
    return pictures(study, name, n, lr, seed)


def pictures(study: str, name: str, n: int, lr: float, seed: int) -> dict:
    """Train on scenes; accuracies on validation, test and, for the largest sets, moved images."""
    settings = SWIN if study == "swin" else SETTINGS
    counts = (max(SETTINGS.sizes), settings.val_images, settings.test_images)
    sets = streams.each(counts, SETTINGS.image_size, SETTINGS.framing)
    (images, labels), val, test = streams.shapes(sets)
    net, _ = bias.train(name, lr, seed, (images[:n], labels[:n]), settings, progress=False)
    result = streams.scores(net, val, test)
    if study == "hunger" and n in SETTINGS.sizes[-2:]:
        result |= moved(net)
    return result


def moved(net: torch.nn.Module) -> dict:
    """Accuracies for each of ``shifts``: images moved left or right, and moved up or down."""
    images, _, labels = wide_test()
    result = {"sideways": [], "up_down": []}
    for pixels in SETTINGS.shifts:
        cuts = bias.moved(images, SETTINGS.image_size, pixels)
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
    mask, size = wide_test()[1].float(), SETTINGS.image_size
    whole = bias.moved(mask, size, 0)[0].sum()
    shares = []
    for pixels in SETTINGS.shifts:
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
    streams.load(max(SETTINGS.sizes), SETTINGS.image_size, 0, SETTINGS.framing)
    settings = {
        "hunger": asdict(SETTINGS),
        "swin": asdict(SWIN),
        "windows": asdict(WINDOWS),
        "rates": bias.RATES,
        "window_rates": bias.WINDOW_RATES,
        "scenes": scenes.version(),
    }
    swins = ("swin", "swin_unshifted")
    cases = (
        [{"study": "windows", "name": name, "n": WINDOWS.train_maps} for name in swins]
        + [{"study": "hunger", "name": name, "n": TUNED_ON} for name in NETS]
        + [{"study": "swin", "name": name, "n": SWIN.sizes[0]} for name in swins]
    )

    def tried(case: dict) -> tuple[float, ...]:
        return bias.WINDOW_RATES if case["study"] == "windows" else bias.RATES[case["name"]]

    results, chosen = jobs.search("inductive_bias", one_run, cases, tried, SEEDS, settings)
    hungry = [case for case in chosen if case["study"] == "hunger"]
    others = [n for n in SETTINGS.sizes if n != TUNED_ON]
    more = jobs.grid(hungry, n=others, seed=SEEDS)
    results += jobs.run("inductive_bias", one_run, more, settings)
    settings |= {
        "seeds": SEEDS,
        # For all set sizes, whatever it was chosen on.
        "best_lr": [{key: case[key] for key in ("study", "name", "lr")} for case in chosen],
        "visible": visible(),
        "cost": {name: cost(name) for name in (*NETS, *swins)},
    }
    print(records.save("inductive_bias", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
