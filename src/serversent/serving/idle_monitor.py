"""The idle monitor of a connection: when a heartbeat is due, and whether the client reads."""

__all__ = ["IdleMonitor"]

UNKNOWN_BYTES = 2**62


class IdleMonitor:
    """Notes silences and clients that do not read. It is asked about once a second; writing asks no clock.

    Times are of ``time.monotonic()``.
    """

    __slots__ = ("_blocked_since", "_silent_since", "_unsent", "_write_count", "is_silent")

    def __init__(self) -> None:
        self.is_silent = False  # nothing was written since the last look; a write sets it to False
        self._silent_since = 0.0
        self._write_count = 0  # of the source, at the last look
        self._blocked_since = 0.0  # since when bytes wait for the client, as far as it was seen; 0.0: none do
        # How many bytes waited for the client then. 0: none did, and only heartbeats were written since.
        self._unsent = UNKNOWN_BYTES

    @property
    def is_blocked(self) -> bool:
        return self._blocked_since > 0

    def is_quiet(self, now: float, heartbeat_seconds: float, write_count: int) -> bool:
        """Return whether nothing was written since the last look, and no heartbeat is due."""
        return self.is_silent and now - self._silent_since < heartbeat_seconds and write_count == self._write_count

    def look(self, now: float, write_count: int) -> bool:
        """Return whether the silence goes on. If something was written, another silence begins now."""
        if self.is_silent and write_count == self._write_count:
            return True
        self.is_silent, self._silent_since, self._write_count = True, now, write_count
        self._blocked_since, self._unsent = 0.0, UNKNOWN_BYTES
        return False

    def is_heartbeat_due(self, now: float, heartbeat_seconds: float) -> bool:
        return now - self._silent_since >= heartbeat_seconds

    def on_heartbeat(self, now: float) -> None:
        """A heartbeat was written."""
        self._silent_since = now

    def on_sent(self) -> None:
        """A write that had to wait is over."""
        self._blocked_since = 0.0

    def may_have_unsent(self) -> bool:
        """Return whether bytes may wait for the client, so that it is worth asking the kernel."""
        return self._unsent > 0

    def blocked_seconds(self, now: float, unsent: int, *, is_waiting: bool) -> float:
        """Return for how long the client has read nothing.

        ``unsent``: how many bytes wait for it, as far as that is known. ``is_waiting``: a write waits for it.
        """
        if not (is_waiting or unsent):
            self._blocked_since, self._unsent = 0.0, 0
            return 0.0
        if not self._blocked_since or unsent < self._unsent:  # it reads, however slowly
            self._blocked_since = now
        self._unsent = unsent
        return now - self._blocked_since
