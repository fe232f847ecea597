"""Exercise 3: DINOv2's patches and how alike they are (Oquab et al. 2023, figure 1).

One check for each function of the exercise. Networks are small, with random weights, and come with
0 to 8 registers (Darcet et al. 2024); nothing is loaded from a hub.
"""

from .features_drawing import check_draw_map
from .features_input import check_load, check_to_input
from .features_map import check_patch_map
from .features_similarity import check_cosine
from .features_tokens import check_patch_grid

__all__ = [
    "check_cosine",
    "check_draw_map",
    "check_load",
    "check_patch_grid",
    "check_patch_map",
    "check_to_input",
]
