"""Data: the rendered ``scenes``, photographs that ship with packages, and real data sets."""
