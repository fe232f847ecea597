"""Train the small ConvNeXt whose frozen features exercise 5 compares, with labels of shapes.

``python -m recipes.mini_convnext`` trains on one thread, goes on where it was
stopped, and ends by writing ``weights/mini-convnext`` in timm's format and the course of the
training to ``records/mini_convnext.json``; called again, it writes both again without training.
"""

from recipes import mini_classifiers
from recipes.mini_classifiers import Mini

MINI = Mini(
    name="mini-convnext",
    architecture="convnext_atto",
    model_args={"depths": (2, 2, 4, 2), "dims": (16, 32, 64, 128)},
    train_args={"drop_path_rate": 0.05, "ls_init_value": 1e-2},
    image_size=64,
    interpolation="bicubic",
    mean=(0.60, 0.59, 0.54),  # those of its scenes
    std=(0.25, 0.21, 0.25),
)

if __name__ == "__main__":
    mini_classifiers.make(MINI)
