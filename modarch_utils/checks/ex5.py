"""Exercise 5: three networks as frozen features, compared with a linear SVM.

One check for each function of the exercise. Networks are small, with random weights, saved in the
formats of timm and transformers; nothing is loaded from a hub.
"""

from .comparison_extract import check_extract
from .comparison_open import check_open_dino, check_open_timm
from .comparison_svm import check_svm_accuracy
from .comparison_table import check_compare
from .comparison_time import check_time

__all__ = [
    "check_compare",
    "check_extract",
    "check_open_dino",
    "check_open_timm",
    "check_svm_accuracy",
    "check_time",
]
