"""The leaves of the decision tree: candidates, what is known of each, their order (chapter 08)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modarch_utils import claims
from modarch_utils.studies.choosing.costs import (
    NETWORKS,
    cost,
    evaluations,
    picture_macs,
    unet_cost,
)
from modarch_utils.studies.choosing.evidence import (
    Cited,
    Counted,
    Fact,
    FewLabels,
    FewSteps,
    Recorded,
)


@dataclass(frozen=True)
class Candidate:
    """One that may be chosen."""

    name: str
    get: str
    """How to get it, in one line."""
    facts: tuple[Fact, ...]
    network: str = ""
    """Name in ``choosing.costs.NETWORKS``: what is timed; empty if it cannot be timed here."""
    closed: str = ""
    """What rules it out wherever a model is to be run or measured."""


@dataclass(frozen=True)
class Leaf:
    """Where the questions end."""

    name: str
    candidates: tuple[Candidate, ...]
    order: tuple[tuple[str, int], ...]
    """Keys of evidence, the first decides; 1: more is better, -1: less is. Empty: no number orders
    them, and none is the first."""
    ordered: str
    """The same in words."""
    wants: Mapping[str, str] = field(default_factory=dict)
    """Keys that a choice should rest on, in words: what is missing is said to be unknown."""
    note: str = ""
    times: bool = False
    """Whether candidates are timed even without a limit."""


def _counts(network: str) -> tuple[Counted, Counted]:
    side = NETWORKS[network].side
    return (
        Counted("gmacs", f"multiply-adds at {side} pixels", "G", lambda: cost(network).macs / 1e9),
        Counted("params", "parameters", "M", lambda: cost(network).params / 1e6),
    )


def _classifier(name: str, *more: Fact) -> Candidate:
    timm_name = NETWORKS[name].timm
    known = claims.paper("choosing.top1")[timm_name]
    first = "" if known["labels"] == "IN-1k" else f", {known['labels']} before"
    text = f"ImageNet-1k top-1 at {known['side']} pixels{first}"
    facts = [Cited("top1", text, "%", "choosing.top1", f"{timm_name}.top1"), *_counts(name), *more]
    if timm_name in claims.paper("choosing.laptop_cpu"):
        text = "one picture on a Core i7-12700H"
        facts.append(Cited("elsewhere", text, "ms", "choosing.laptop_cpu", timm_name))
    get = f'timm.create_model("{timm_name}.{known["tag"]}")'
    return Candidate(name, get, tuple(facts), name)


def _phone(pixel: int) -> Cited:
    figure = f"mobilenetv3_large.pixel_{pixel}"
    return Cited("phone", f"one picture on a Pixel {pixel}", "ms", "choosing.phone", figure)


LARGE = tuple(map(_classifier, ("ConvNeXt V2-L", "Swin-L", "EfficientNetV2-L")))
MOBILE = (
    _classifier("MobileNetV3-L", _phone(1), _phone(3)),
    _classifier("EfficientNet-B0"),
    _classifier("EfficientNet-B1"),
)
SMALL = (
    *map(_classifier, ("EfficientNetV2-S", "EfficientNet-B4", "ConvNeXt-T")),
    *MOBILE,
)
SCORED = {"top1": "its accuracy", "ms": "its time for one picture"}

ACCURACY = Leaf(
    "Accuracy first",
    LARGE,
    (("top1", 1),),
    "by accuracy",
    {"top1": "its accuracy"},
    "All three learned from ImageNet-21k or 22k before 1k; differences of tenths mean nothing.",
)
SPEED = Leaf(
    "Speed first",
    SMALL,
    (("ms", -1), ("top1", 1)),
    "by time, measured here",
    SCORED,
    times=True,
)
LIMIT = Leaf("A limit in milliseconds", SMALL, (("top1", 1),), "by accuracy, if in time", SCORED)
EDGE = Leaf(
    "On a phone or a small board",
    MOBILE,
    (("top1", 1),),
    "by accuracy",
    SCORED,
    "Time on another device does not follow from the time here: measure it there.",
)


def _dinov2(size: str, figure: str) -> Candidate:
    network = f"DINOv2-{size}"
    linear, knn = (
        Cited(key, f"ImageNet top-1, frozen, {text}", "%", "dinov2.models", f"{figure}.{key}")
        for key, text in (("linear", "linear classifier"), ("knn", "k-NN"))
    )
    get = f'AutoModel.from_pretrained("facebook/dinov2-{figure}")'
    return Candidate(network, get, (linear, knn, *_counts(network)), network)


FEATURES = Leaf(
    "Frozen features",
    tuple(
        _dinov2(*size) for size in (("g", "giant"), ("L", "large"), ("B", "base"), ("S", "small"))
    ),
    (("linear", 1),),
    "by linear accuracy",
    {"linear": "its accuracy"},
    "Whether they suit your pictures is not known: compare two on a hundred labels of your own.",
)

LITE0 = 'zoo.load_timm("efficientnet_lite0")'


def _few(name: str, method: str, network: str = "EfficientNet-Lite0", get: str = LITE0):
    facts = tuple(FewLabels(method, key) for key in ("right", "behind", "learn_s"))
    return Candidate(name, get, (*facts, *_counts(network)), network)


FEW = Leaf(
    "Few labels",
    (
        _few("frozen ImageNet features and a linear classifier", "probe"),
        _few("fine-tuning, layer decay", "layer_decay"),
        _few("fine-tuning, two rates", "fine_tune"),
        _few("fine-tuning, unfreezing layer by layer", "unfreeze"),
        _few("the same network from scratch", "scratch", get="timm, without weights"),
        _few(
            "a small ConvNet from scratch",
            "small",
            "small ConvNet",
            'inductive_bias.build("convnet", seed=0)',
        ),
        _dinov2("B", "base"),
    ),
    (("behind", -1), ("learn_s", -1)),
    "cheapest to learn of the measurably best",
    {"right": "its accuracy with few labels"},
    "Measured on rendered scenes of 64 pixels, with few steps.",
)


def _scenes(key: str, what: str, name: str, text: str) -> Recorded:
    return Recorded(key, text, "%", "dinov2_features", what, (("name", name),))


def _linear(table: str, figure: str, network: str) -> Cited:
    text = f"ImageNet top-1, frozen {network}, linear classifier"
    return Cited("linear", text, "%", table, f"{figure}.linear")


SHAPES = "shapes of scenes, frozen, linear classifier"
OWN = Leaf(
    "Pictures of your own",
    (
        Candidate(
            "frozen ImageNet features, no training",
            LITE0,
            (_scenes("scenes", "shape_linear", "teacher", SHAPES),),
            "EfficientNet-Lite0",
        ),
        Candidate(
            "DINO",
            "chapter 04",
            (
                _scenes(
                    "scenes",
                    "shape_linear",
                    "mini-dinov2-pretrained",
                    f"{SHAPES}, trained on 16,000 scenes with DINOv2's losses",
                ),
                _scenes("before", "shape_linear", "untrained", f"{SHAPES}, before training"),
                _linear("choosing.dino", "vit_b16", "ViT-B/16"),
            ),
        ),
        Candidate(
            "MAE",
            "chapter 02, FCMAE: the same for ConvNets",
            (
                *(
                    Recorded(
                        "fine_tuned_scenes" if pretrained else "before",
                        f"shapes of scenes, 48 epochs of 500 labels, {how}",
                        "%",
                        "masked_pretraining",
                        "test",
                        (("grn", True), ("pretrained", pretrained), ("epochs", 48)),
                    )
                    for pretrained, how in (
                        (True, "FCMAE on 6,000 first"),
                        (False, "nothing first"),
                    )
                ),
                _linear("choosing.mae", "vit_b16", "ViT-B/16"),
                Cited(
                    "fine_tuned",
                    "ImageNet top-1, fine-tuned ViT-B/16",
                    "%",
                    "choosing.mae",
                    "vit_b16.fine_tuned",
                ),
            ),
        ),
        Candidate(
            "SimCLR",
            "google-research/simclr",
            (_linear("choosing.simclr", "resnet50", "ResNet-50"),),
        ),
    ),
    (("scenes", 1), ("linear", 1)),
    "by what our scenes say, then by linear accuracy",
    {"scenes": "frozen features on scenes", "linear": "frozen features on ImageNet"},
    "Begin with the first: a method has to beat features that cost nothing. MAE is made to be "
    "fine-tuned.",
)


SD = "Stable Diffusion 1.5"


def _picture(model: str, steps: int, *, guided: bool, scheduler: str = "ddim") -> tuple[Fact, ...]:
    passes = evaluations(steps, guided=guided, scheduler=scheduler)
    return (
        Counted("unet", "parameters of the U-Net", "M", lambda: unet_cost(model).params / 1e6),
        Counted("passes", "passes of the U-Net for a picture", "", lambda: passes),
        Counted(
            "tmacs", "multiply-adds for a picture", "T", lambda: picture_macs(model, passes) / 1e12
        ),
    )


def _drawn(method: str, steps: int) -> tuple[Fact, ...]:
    return tuple(FewSteps(method, steps, key) for key in ("frechet", "follows", "batch_s"))


def _fid(method: str) -> Cited:
    steps = claims.paper("choosing.lcm")["steps"].index(4)
    text = "FID at 512 pixels, 4 steps (secondary source)"
    return Cited("fid", text, "", "choosing.lcm", f"{method}.fid.{steps}")


FAST = Leaf(
    "Few steps",
    (
        Candidate(
            "LCM, 4 steps",
            'LatentConsistencyModelPipeline, "SimianLuo/LCM_Dreamshaper_v7"',
            (_fid("lcm"), *_picture(SD, 4, guided=False), *_drawn("lcm", 4)),
        ),
        Candidate(
            "LCM-LoRA, 4 steps",
            'pipe.load_lora_weights("latent-consistency/lcm-lora-sdv1-5")',
            (
                *_picture(SD, 4, guided=False),
                Cited(
                    "trained", "parameters trained", "M", "choosing.lcm_lora", "sd15.trained", 1e6
                ),
                *_drawn("lcm_lora", 4),
            ),
        ),
        Candidate(
            "DPM++, 4 steps",
            "DPMSolverMultistepScheduler",
            (_fid("dpm"), *_picture(SD, 4, guided=True), *_drawn("dpm++", 4)),
        ),
        Candidate(
            "DDIM, 4 steps",
            "DDIMScheduler",
            (_fid("ddim"), *_picture(SD, 4, guided=True), *_drawn("ddim", 4)),
        ),
    ),
    (("fid", -1), ("frechet", -1), ("passes", -1)),
    "by Fréchet distance, less is better",
    {"fid": "its FID", "ms": "its time for one picture"},
    "LCM is one model; LCM-LoRA goes with any model that was fine-tuned from the same base.",
)
QUALITY = Leaf(
    "Best quality",
    (
        Candidate(
            "SDXL, 50 steps",
            '"stabilityai/stable-diffusion-xl-base-1.0"',
            (
                *_picture("SDXL", 50, guided=True),
                Cited(
                    "times",
                    "its U-Net against that of earlier ones, times",
                    "",
                    "choosing.sdxl",
                    "unet_times",
                ),
            ),
        ),
        Candidate(
            "Stable Diffusion 1.5, 50 steps",
            '"stable-diffusion-v1-5/stable-diffusion-v1-5"',
            (*_picture(SD, 50, guided=True, scheduler="pndm"), *_drawn("ddim", 50)),
        ),
        Candidate(
            "DALL-E 3",
            "nothing to get",
            (),
            closed="a closed service: its weights were never published, so that nobody can measure "
            f"it at home; its provider says: {claims.paper('choosing.dalle3')['status']} "
            f"[{claims.paper('choosing.dalle3')['source']}, "
            f"{claims.paper('choosing.dalle3')['date']}]",
        ),
    ),
    (),
    "in no order: no figure traced that covers them",
    {"quality": "a figure of quality that covers all of them", "ms": "its time for one picture"},
    "Draw your own prompts with both, and look.",
)
