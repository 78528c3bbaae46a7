"""What may happen a thousand times a second is logged once a minute."""

import time

__all__ = ["is_due"]

SECONDS = 60.0
MAX_KINDS = 1000

_logged_at: dict[str, float] = {}


def is_due(kind: str, seconds: float = SECONDS) -> bool:
    """Whether nothing of this kind was logged in the last ``seconds``. It counts as logged from now on."""
    now = time.monotonic()
    if now - _logged_at.get(kind, -seconds) < seconds:
        return False
    if len(_logged_at) >= MAX_KINDS:
        _logged_at.clear()
    _logged_at[kind] = now
    return True
