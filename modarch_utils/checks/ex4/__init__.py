"""Exercise 4: DDIM and LCM-LoRA compared (Song et al. 2021; Luo et al. 2023b).

One check for each function of the exercise. Pipelines are small, with random weights; nothing is
loaded from a hub, and no clock is waited for.
"""

from modarch_utils.checks.ex4.clock import check_timed
from modarch_utils.checks.ex4.compare import check_compare
from modarch_utils.checks.ex4.count import check_count_evaluations
from modarch_utils.checks.ex4.draw import check_draw
from modarch_utils.checks.ex4.pipelines import check_ddim_pipeline, check_lcm_pipeline

__all__ = [
    "check_compare",
    "check_count_evaluations",
    "check_ddim_pipeline",
    "check_draw",
    "check_lcm_pipeline",
    "check_timed",
]
