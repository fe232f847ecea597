"""Exercise 5: three networks as frozen features, compared with a linear SVM.

One check for each function of the exercise. Networks are small, with random weights, saved in the
formats of timm and transformers; nothing is loaded from a hub.
"""

from modarch_utils.checks.ex5.extract import check_extract
from modarch_utils.checks.ex5.opening import check_open_dino, check_open_timm
from modarch_utils.checks.ex5.svm import check_svm_accuracy
from modarch_utils.checks.ex5.table import check_compare
from modarch_utils.checks.ex5.timed import check_time

__all__ = [
    "check_compare",
    "check_extract",
    "check_open_dino",
    "check_open_timm",
    "check_svm_accuracy",
    "check_time",
]
