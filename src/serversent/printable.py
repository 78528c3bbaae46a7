"""Text from outside on its way to a log or a terminal: its control characters are shown, not obeyed."""

import re

__all__ = ["printable"]

# C0, DEL, C1, and the separators that some viewers break lines at.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with each control character as ``\x1b`` or the like, but for those of ``keep``."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)
