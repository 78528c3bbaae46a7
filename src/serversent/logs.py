"""Text for the log: control characters are shown, and a repeated message is logged once a minute."""

import re
import time

__all__ = ["is_due", "printable", "times"]


# C0, DEL, C1, and the separators that some viewers break lines at.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with each control character as ``\x1b`` or the like, but for those of ``keep``."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


SECONDS = 60.0
MAX_KINDS = 1000

# When each kind was logged last, and how often it happened since.
_logged: dict[str, tuple[float, int]] = {}


def times(kind: str) -> int:
    """Return how often this has happened since it was logged last, or 0 if that was less than a minute ago.

    Whatever is returned but 0 is to be logged.
    """
    now = time.monotonic()
    logged_at, count = _logged.get(kind, (now - SECONDS, 0))
    is_due = now - logged_at >= SECONDS
    if len(_logged) >= MAX_KINDS:
        _logged.clear()
    _logged[kind] = (now, 0) if is_due else (logged_at, count + 1)
    return count + 1 if is_due else 0


def is_due(kind: str) -> bool:
    """Whether this is to be logged: it was not in the last minute."""
    return times(kind) > 0
