"""ConvNeXt with and without GRN, with and without masked pre-training, three seeds each.

What is fine-tuned, and what learns from scratch, gets a short and a long training on the same
labels, each with a learning rate of its own, so that pre-training is set against the best
that labels alone can do.
"""

import os
from dataclasses import asdict
from pathlib import Path
from zlib import crc32

from safetensors.torch import load_file, save_file

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.models.convnext import ConvNeXt
from modarch_utils.studies.pretraining import (
    RATES,
    SETTINGS,
    build,
    diversity,
    finetune,
    pretrain,
)
from recipes import jobs, streams

SEEDS = (0, 1, 2)
NAME = "masked_pretraining"


def load() -> list[streams.Labelled]:
    """Scenes to train on, to choose a rate with and to test on; the first few have labels."""
    counts = (SETTINGS.unlabelled, SETTINGS.val_images, SETTINGS.test_images)
    (images, shape), val, test = streams.shapes(
        streams.each(counts, SETTINGS.image_size, SETTINGS.framing)
    )
    return [(images, shape[: SETTINGS.labelled]), val, test]


def kept(grn: bool, seed: int) -> Path:
    """Where this machine keeps a network that was pre-trained under these settings."""
    shared = crc32(f"{SETTINGS} {scenes.version()}".encode())
    return Path("runs") / NAME / f"encoder-{grn}-{seed}-{shared:08x}.safetensors"


def encoder(grn: bool, seed: int) -> tuple[ConvNeXt, float]:
    """The network after masked pre-training, which is kept, and its last loss."""
    model, file = build(grn, seed), kept(grn, seed)
    _, history = pretrain(model, load()[0][0], seed, progress=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)
    part.replace(file)
    return model, history.train_loss[-1]


def before_labels(grn: bool, pretrained: bool, seed: int) -> dict:
    """What a network is like that has seen no label: last loss, GRN, diversity of its channels."""
    result = {}
    if pretrained:
        model, loss = encoder(grn, seed)
        result["pretrain_loss"] = round(loss, 4)
        if grn:
            gammas = [block.grn.gamma for stage in model.stages for block in stage]
            result["gamma"] = [round(g.abs().mean().item(), 4) for g in gammas]
    else:
        model = build(grn, seed)
    size, framing = SETTINGS.image_size, SETTINGS.framing
    test = streams.load(SETTINGS.test_images, size, stream=2, framing=framing)[:200]
    return result | {"diversity": [round(v, 4) for v in diversity(model, test.to_float())]}


def one_run(grn: bool, pretrained: bool, epochs: int, lr: float, seed: int) -> dict:
    """Train on labels for these epochs: accuracies in percent on validation and test scenes."""
    if epochs == 0:
        return before_labels(grn, pretrained, seed)
    (images, labels), val, test = load()
    model = build(grn, seed)
    if pretrained and kept(grn, seed).exists():
        model.load_state_dict(load_file(kept(grn, seed)))
    elif pretrained:  # on another machine of a cluster
        model, _ = encoder(grn, seed)
    finetune(model, (images[: len(labels)], labels), epochs, lr, seed, progress=False)
    return streams.scores(model, val, test)


def main() -> None:
    """Run what is missing and write the record."""
    _, val, test = data = load()
    labelled = (data[0][0][: SETTINGS.labelled], data[0][1])
    settings = {**asdict(SETTINGS), "rates": RATES, "scenes": scenes.version()}
    nets = jobs.grid([{}], grn=(False, True), pretrained=(True, False))
    first = jobs.grid(nets, epochs=[0], lr=[SETTINGS.pretrain_lr])
    results = jobs.run(NAME, one_run, jobs.grid(first, seed=SEEDS), settings)
    cases = jobs.grid(nets, epochs=SETTINGS.finetune_epochs)
    more, chosen = jobs.search(NAME, one_run, cases, lambda case: RATES, SEEDS, settings)
    settings |= {
        "seeds": SEEDS,
        "best_lr": first + chosen,
        "trivial": streams.trivial(labelled, val, test),
    }
    print(records.save(NAME, settings=settings, results=results + more))


if __name__ == "__main__":
    jobs.start(__spec__.name)
