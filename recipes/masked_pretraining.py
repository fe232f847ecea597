"""ConvNeXt with and without GRN, with and without masked pre-training, three seeds each."""

from dataclasses import asdict

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.studies.pretraining import SETTINGS, build, diversity, finetune, pretrain
from recipes import jobs

SEEDS = (0, 1, 2)


def one_run(grn: bool, pretrained: bool, seed: int) -> dict:
    """Train one variant: last losses, channel diversity of each block, accuracy in percent."""
    size, framing = SETTINGS.image_size, SETTINGS.framing
    pool = scenes.load(SETTINGS.unlabelled, size, seed=0, framing=framing)
    test = scenes.load(SETTINGS.test_images, size, seed=2, framing=framing)
    labelled = slice(0, SETTINGS.labelled)
    model = build(grn, seed)
    result = {}
    if pretrained:
        _, history = pretrain(model, pool.images, seed, progress=False)
        result["pretrain_loss"] = round(history.train_loss[-1], 4)
        if grn:
            gammas = [block.grn.gamma for stage in model.stages for block in stage]
            result["gamma"] = [round(g.abs().mean().item(), 4) for g in gammas]
    result["diversity"] = [round(v, 4) for v in diversity(model, test[:200].to_float())]
    history = finetune(
        model,
        (pool.images[labelled], pool.shape[labelled]),
        (test.images, test.shape),
        seed,
        progress=False,
    )
    result["test"] = round(100 * history.final_accuracy, 2)
    return result


def main() -> None:
    """Run what is missing and write the record."""
    todo = jobs.grid([{}], grn=(False, True), pretrained=(True, False), seed=SEEDS)
    settings = {**asdict(SETTINGS), "scenes": scenes.version()}
    results = jobs.run("masked_pretraining", one_run, todo, settings)
    print(records.save("masked_pretraining", settings=settings | {"seeds": SEEDS}, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
