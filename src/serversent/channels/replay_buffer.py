"""The replay buffer: the newest events of a broker as frames. Reconnects and slow clients are served from it."""

import bisect
import heapq
import itertools
from collections import deque
from collections.abc import Collection, Iterator

__all__ = ["ReplayBuffer"]


# The memory of an event beside its frame: tuples, integers, the slots of lists.
OVERHEAD_BYTES = 200

_TRIM = 256


class _Channel:
    """One channel's part: two lists that grow at the end and are cut at the front now and then."""

    __slots__ = ("frames", "offsets", "start")

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.frames: list[bytes] = []
        self.start = 0

    def after(self, offset: int) -> Iterator[tuple[int, bytes]]:
        index = bisect.bisect_right(self.offsets, offset, lo=self.start)
        return zip(itertools.islice(self.offsets, index, None), itertools.islice(self.frames, index, None), strict=True)

    def drop_first(self) -> bytes:
        frame = self.frames[self.start]
        self.frames[self.start] = b""
        self.start += 1
        if self.start >= _TRIM and self.start * 2 >= len(self.offsets):
            del self.offsets[: self.start]
            del self.frames[: self.start]
            self.start = 0
        return frame


class ReplayBuffer:
    """Holds every event with an offset above ``after``, of all channels, in at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.clear(0)

    def clear(self, after: int) -> None:
        """Hold nothing, and nothing up to this offset."""
        self.after = after
        self.bytes = 0
        self._order: deque[tuple[int, str]] = deque()
        self._channels: dict[str, _Channel] = {}

    def append(self, offset: int, channel: str, frame: bytes) -> None:
        kept = self._channels.get(channel)
        if kept is None:
            kept = self._channels[channel] = _Channel()
        kept.offsets.append(offset)
        kept.frames.append(frame)
        self._order.append((offset, channel))
        self.bytes += len(frame) + OVERHEAD_BYTES
        while self.bytes > self._max_bytes:
            self._drop_first()

    def _drop_first(self) -> None:
        self.after, channel = self._order.popleft()
        kept = self._channels[channel]
        self.bytes -= len(kept.drop_first()) + OVERHEAD_BYTES
        if kept.start == len(kept.offsets):
            del self._channels[channel]

    def read(self, channels: Collection[str], after: int, size: int) -> list[tuple[int, bytes]] | None:
        """Return the first frames above ``after``, about ``size`` bytes; ``None`` if some may not be held any more."""
        if after < self.after:
            return None
        found = [kept.after(after) for channel in channels if (kept := self._channels.get(channel)) is not None]
        chosen: list[tuple[int, bytes]] = []
        for offset, frame in found[0] if len(found) == 1 else heapq.merge(*found):
            chosen.append((offset, frame))
            size -= len(frame)
            if size <= 0:
                break
        return chosen
