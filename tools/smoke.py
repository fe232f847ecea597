"""Try an installed package: ``python -P tools/smoke.py``, from any folder.

Every module imports, every shipped checkpoint loads, exercise 1 checks a right and a wrong answer,
and what is written goes to the current folder, none of it into the package. CI runs it on each
system, and on the wheel. ``-P`` keeps this clone's own files out of the way.
"""

import importlib
import os
import pkgutil
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]


def files(folder: Path) -> dict[Path, int]:
    """``{file: time of its last change}``, without Python's own cache."""
    found = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {path: path.stat().st_mtime_ns for path in found}


def modules(package) -> int:
    """Import every module of a package; returns how many."""
    names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for name in names:
        importlib.import_module(name)
    return len(names)


def checkpoints() -> list[str]:
    """Load every checkpoint that needs no download; returns their names.

    ``zoo`` raises where a hash differs, or where a library leaves a tensor out.
    """
    import timm
    from diffusers import UNet2DConditionModel
    from transformers import AutoModel

    from modarch_utils import zoo
    from modarch_utils.models import reader

    names = [c.name for c in zoo.CHECKPOINTS.values() if c.kind != "hub"]
    for name in names:
        if zoo.find(name).timm_name:
            zoo.load_timm(name)
            continue
        file, folder = zoo.path(name), zoo.folder(name)
        if file.name == "model_index.json":
            zoo.load_pipeline(name)
        elif file.name == "pytorch_lora_weights.safetensors":
            pipe = zoo.load_pipeline("mini-sd")
            pipe.load_lora_weights(folder)
            zoo.whole(pipe.unet, file)
        elif file.name == "diffusion_pytorch_model.safetensors":
            zoo.whole(UNet2DConditionModel.from_pretrained(folder), file)
        elif "dinov2" in name:
            zoo.whole(AutoModel.from_pretrained(folder), file)
        elif name == "mini-reader":
            reader.load(folder)
        else:
            timm.create_model(f"local-dir:{folder}", pretrained=True)
    return names


def check() -> None:
    """Ask exercise 1's check about a right answer and a wrong one."""
    from torch import nn

    from modarch_utils.checks import ex1
    from modarch_utils.models.convnext import Block

    assert ex1.check(Block).points(6) == 6, "a right answer loses points"
    assert ex1.check(lambda dim: nn.Identity()).points(6) < 6, "a wrong answer gets all points"


def written() -> None:
    """Save a record: it goes into the current folder."""
    from modarch_utils import records

    path = records.save("smoke", settings={}, results=[{"seconds": 0.0}])
    assert path.resolve().is_relative_to(Path.cwd()), f"the record went to {path}"


def main() -> None:
    import modarch_utils

    package = Path(modarch_utils.__file__).parent
    installed = not package.is_relative_to(CLONE)
    before = files(package)
    print(f"{modules(modarch_utils)} modules of {package} import.", flush=True)
    print(f"Loaded: {', '.join(checkpoints())}.", flush=True)
    check()
    print("Exercise 1 tells right from wrong.", flush=True)
    if installed:
        written()
        assert files(package) == before, "something was written into the package"
        print(f"What was written is in {os.getcwd()}.", flush=True)


if __name__ == "__main__":
    main()
