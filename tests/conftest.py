"""What every test runs under: no progress bars, no hub, no window, one thread."""

import os

os.environ.setdefault("MODARCH_PROGRESS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# On the small shared machines that run the tests a second thread costs more than it gives, and one
# thread sums in one order. Set before torch is imported; a test of threads sets its own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
