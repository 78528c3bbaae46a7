"""Messages that somebody could cause a thousand times a second are logged once a minute."""

import time

__all__ = ["is_due", "times"]

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
