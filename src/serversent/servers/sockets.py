"""Questions to the kernel about a client's socket."""

import select
import sys
from typing import Any

__all__ = ["is_hung_up", "queued_bytes"]

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]


def is_hung_up(transport: Any) -> bool:
    """Return whether the client has closed its side, even if it has sent something before that nobody has read."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "POLLRDHUP"):
        return False  # a later write fails
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def queued_bytes(sock: Any) -> int:
    """Return how many bytes the client has not acknowledged."""
    if sock is None or not hasattr(termios, "TIOCOUTQ"):
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0
