"""Exercise 4: DDIM and LCM-LoRA compared (Song et al. 2021; Luo et al. 2023b).

One check for each function of the exercise. Pipelines are small, with random weights; nothing is
loaded from a hub, and no clock is waited for.
"""

from .sampling_clock import check_timed
from .sampling_compare import check_compare
from .sampling_count import check_count_evaluations
from .sampling_ddim import check_ddim_pipeline
from .sampling_draw import check_draw
from .sampling_lcm import check_lcm_pipeline

__all__ = [
    "check_compare",
    "check_count_evaluations",
    "check_ddim_pipeline",
    "check_draw",
    "check_lcm_pipeline",
    "check_timed",
]
