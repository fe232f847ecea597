"""Train the small EfficientNetV2 whose frozen features exercise 5 compares, with labels of shapes.

``python -m recipes.mini_efficientnetv2`` trains on one thread, goes on where it was
stopped, and ends by writing ``weights/mini-efficientnetv2`` in timm's format and the course of the
training to ``records/mini_efficientnetv2.json``; called again, it writes both again without
training. Its pictures are smaller than mini-convnext's, and normalised in another way: the two
are as different there as published networks are.
"""

from recipes import mini_classifiers
from recipes.mini_classifiers import Mini

MINI = Mini(
    name="mini-efficientnetv2",
    architecture="tf_efficientnetv2_b0",
    model_args={"channel_multiplier": 0.35, "depth_multiplier": 0.5},
    train_args={"drop_path_rate": 0.05},
    image_size=48,
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

if __name__ == "__main__":
    mini_classifiers.make(MINI)
