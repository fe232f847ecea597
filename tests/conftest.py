"""What every test runs under: no progress bars, no hub, no window, one thread."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent

os.environ.setdefault("MODARCH_PROGRESS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# On the small shared machines that run the tests a second thread costs more than it gives, and one
# thread sums in one order. Set before torch is imported; a test of threads sets its own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every machine, and time enough for a busy one.
settings.register_profile("house", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("house")

# Files that take longer than the rest together; `make test-quick` leaves them out.
SLOW = [
    "checks/test_answers",
    *(f"checks/ex{n}/test_mutation" for n in range(1, 6)),
    "checks/test_ex1",
    "checks/test_ex4",
    "checks/test_mutants",
    "data/test_pairs",
    "data/test_scene_geometry",
    "data/test_rendering",
    "data/test_scenes",
    "grading/test_class",
    "grading/test_solutions",
    "models/test_mamba",
    "models/test_mini_sd",
    "notebooks/test_nbval",
    "parity/test_dinov2",
    "parity/test_efficientnetv2",
    "parity/test_ladder",
    "parity/test_resnet",
    "parity/test_swin",
    "parity/test_vit",
    "portability/test_encoding",
    "recipes/test_autoencoder_training",
    "recipes/test_cards",
    "recipes/test_few_steps",
    "recipes/test_jobs",
    "recipes/test_latent_diffusion",
    "recipes/test_mini_classifiers",
    "recipes/test_mini_dinov2",
    "recipes/test_mini_lcm",
    "recipes/test_mini_sd",
    "recipes/test_records",
    "recipes/test_transfer",
    "studies/test_choosing",
    "studies/test_comparison",
    "studies/test_inductive_bias",
    "studies/test_search",
    "test_bench",
    "test_exercises",
    "test_exercises_nbgrader",
    "test_house_course",
    "test_house_wheel",
    "test_shipped_dinov2",
    "test_shipped_text_to_image",
    "training/test_dino",
    "training/test_latent_consistency",
    "training/test_progressive_training",
    "training/test_resume",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue  # a notebook
        if item.path.relative_to(HERE).with_suffix("").as_posix() in SLOW:
            item.add_marker("slow")


@pytest.fixture
def one_thread():
    """Torch sums in one order, whatever the environment says."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
