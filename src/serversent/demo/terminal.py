"""Take Ctrl-C for this process alone, so that a ``make`` above it sees an ordinary exit and not an interrupt."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

__all__ = ["own_foreground"]


@contextlib.contextmanager
def own_foreground() -> Iterator[None]:
    """Be the terminal's foreground process group. Without a terminal, or in the background, do nothing."""
    try:
        terminal = sys.stdin.fileno()
        before = os.tcgetpgrp(terminal)
    except (OSError, ValueError, AttributeError):
        yield
        return
    if before != os.getpgrp() or os.getpid() == before:
        yield
        return
    os.setpgid(0, 0)
    _give(terminal, os.getpgrp())
    try:
        yield
    finally:
        _give(terminal, before)


def _give(terminal: int, group: int) -> None:
    # The kernel stops a background process that asks for the terminal, unless it ignores the signal.
    previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(terminal, group)
    finally:
        signal.signal(signal.SIGTTOU, previous)
