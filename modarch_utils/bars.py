"""Progress bars that stay readable in a notebook that is opened again, where a widget would not."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from modarch_utils import profile


def bar(
    iterable: Iterable | None = None,
    *,
    progress: bool | None = None,
    needed: bool = True,
    **options,
) -> tqdm:
    """Return a bar with the time left, written as text to standard output.

    Args:
        iterable: what it goes through; none where the caller updates it.
        progress: show it; None: as the profile says.
        needed: whether there is anything to wait for, and this process is the one that tells.
        options: of ``tqdm``.
    """
    shown = needed and (profile.current().progress if progress is None else progress)
    return tqdm(iterable, file=sys.stdout, disable=not shown, **options)
