"""How many threads torch takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this block torch, if anything has imported it, takes one thread.

    Networks as small as those of schedulers gain nothing by more: these wait for one another, and
    where a process a core has them, for cores, too. And how sums are split among them would show
    in the result.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
