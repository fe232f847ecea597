"""Exercise 3: DINOv2's patches and how alike they are (Oquab et al. 2023, figure 1).

One check for each function of the exercise. Networks are small, with random weights, and come with
0 to 8 registers (Darcet et al. 2024); nothing is loaded from a hub.
"""

from modarch_utils.checks.ex3.drawing import check_draw_map
from modarch_utils.checks.ex3.loading import check_load, check_to_input
from modarch_utils.checks.ex3.similarity import check_cosine, check_patch_map
from modarch_utils.checks.ex3.tokens import check_patch_grid

__all__ = [
    "check_cosine",
    "check_draw_map",
    "check_load",
    "check_patch_grid",
    "check_patch_map",
    "check_to_input",
]
