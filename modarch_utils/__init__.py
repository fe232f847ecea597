"""Helpers of the course *Modern Deep Learning Architectures*.

Every room is imported by its own name, for example ``from modarch_utils import plots`` or
``from modarch_utils.models.convnext import ConvNeXt``; importing the package alone loads nothing
heavy.
"""

__version__ = "0.1.0"
