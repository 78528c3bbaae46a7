"""Reads of the log for all streams of a hub. If several streams want the same at one time, it is read once.

Streams that replay different positions of the same channels are served from the same pages: a page begins at a round
offset, and the last few are kept. So a thousand streams that lag cause as many reads as one that reads the whole log,
and none of them has a memory of its own.
"""

import asyncio
import bisect
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

from ..brokers import Batch, Broker
from ..concurrency.tasks import SharedCalls, spawn_detached
from ..errors import BrokerUnavailable, CursorExpired
from ..wire.cursor import Cursor
from ..wire.frames import END_FRAME

__all__ = ["Beginning", "Frames", "LogReader", "WriteChunk"]

# Offsets and frames, in offset order.
Frames = list[tuple[int, bytes]]

Beginning = Literal["latest", "oldest"]
_Key = tuple[frozenset[str], int | Beginning]

# Replayed frames are joined into writes of at least this size.
WRITE_BYTES = 32 * 1024

# Pages begin at multiples of this offset: about as far apart as a page of one busy channel reaches.
PAGE_OFFSETS = 500

# All pages together.
KEPT_BYTES = 1024 * 1024
KEPT_PAGES = 64

# All chunks together.
CHUNK_BYTES = 256 * 1024
CHUNK_PLACES = 64


class WriteChunk(NamedTuple):
    """Frames that are written at once. ``offset``: of the last one. ``closes``: whether a channel was closed there."""

    offset: int
    frames: bytes
    closes: bool


def _chunks_of(frames: Frames) -> list[WriteChunk]:
    chunks: list[WriteChunk] = []
    joined: list[bytes] = []
    size, closes = 0, False
    for number, (offset, frame) in enumerate(frames, 1):
        if frame is END_FRAME:
            closes = True
        else:
            joined.append(frame)
            size += len(frame)
        if size >= WRITE_BYTES or number == len(frames):
            chunks.append(WriteChunk(offset, b"".join(joined), closes))
            joined, size, closes = [], 0, False
    return chunks


class _Page(NamedTuple):
    """All frames of a set of channels with ``after < offset <= end``."""

    after: int
    end: int
    frames: Frames

    def size(self) -> int:
        return sum(len(frame) for _, frame in self.frames)

    def part(self, after: int) -> tuple[Frames, int]:
        return self.frames[bisect.bisect_right(self.frames, after, key=_offset) :], self.end


class _PageCache:
    """The last few pages of a log."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[frozenset[str], int], _Page] = OrderedDict()
        self._bytes = 0

    def __contains__(self, key: tuple[frozenset[str], int]) -> bool:
        return key in self._pages

    def find(self, channels: frozenset[str], after: int) -> _Page | None:
        """Return a page of these channels that has the first events above an offset."""
        for key, page in self._pages.items():
            if key[0] == channels and page.after <= after < page.end:
                self._pages.move_to_end(key)
                return page
        return None

    def add(self, channels: frozenset[str], page: _Page) -> None:
        if replaced := self._pages.pop((channels, page.after), None):
            self._bytes -= replaced.size()
        self._pages[channels, page.after] = page
        self._bytes += page.size()
        while self._bytes > KEPT_BYTES or len(self._pages) > KEPT_PAGES:
            _, dropped = self._pages.popitem(last=False)
            self._bytes -= dropped.size()


class LogReader:
    """Reads one log. A hub makes another reader for another epoch.

    ``frames_of`` makes frames of a batch of events.
    """

    def __init__(self, broker: Broker, frames_of: Callable[[Batch], Frames]) -> None:
        self._broker = broker
        self._frames_of = frames_of
        self._pages = _PageCache()
        # Chunks that were made since the hub's last batch: clients that come back at one time want the same.
        self._chunks: dict[_Key, tuple[list[WriteChunk], int]] = {}
        self._chunk_bytes = 0
        self._calls = SharedCalls()
        self._asked: dict[int, tuple[set[str], asyncio.Task[set[str]]]] = {}
        self._asking = asyncio.Lock()
        self._is_closing = False

    def close(self) -> None:
        """Begin no more reads: the broker is about to be closed. Streams that wait get ``BrokerUnavailable``."""
        self._is_closing = True

    async def head(self) -> Cursor:
        """Return the log's head. The call may be shared with one that began a moment ago."""
        return await self._calls.call("head", self._broker.head)

    async def closed(self, channels: Collection[str], offset: int) -> set[str]:
        """Return which of some channels are closed as of an offset, and maybe others that are closed."""
        if offset not in self._asked:
            names: set[str] = set()
            self._asked[offset] = names, spawn_detached(self._ask_closed(names, offset))
        names, answer = self._asked[offset]
        names.update(channels)
        return await asyncio.shield(answer)

    async def _ask_closed(self, names: set[str], offset: int) -> set[str]:
        async with self._asking:  # while one call is out, the channels of the next are gathered
            del self._asked[offset]
            self._check_open()
            return await self._broker.closed(names, offset)

    async def page(self, channels: frozenset[str], after: int, end: int) -> tuple[Frames, int]:
        """Return the first frames of channels above an offset, and the offset up to which they are complete.

        ``end``, above ``after``: how far to read. Raises ``CursorExpired``, ``BrokerUnavailable``.
        """
        start = after - after % PAGE_OFFSETS
        page = self._pages.find(channels, after)
        if page is None and start != after and (channels, start) not in self._pages:
            with contextlib.suppress(CursorExpired):  # the events that were pruned may be before ``after``
                page = await self._read(channels, start, end)
        if page is None or page.end <= after:
            page = await self._read(channels, after, end)
        return page.part(after)

    async def first(self, channels: frozenset[str], beginning: Beginning, end: int) -> tuple[Frames, int]:
        """Return the oldest events that the log has, as a page; or the newest of each channel."""
        page = await self._read(channels, beginning, end)
        return page.frames, page.end

    async def kept(self, channels: frozenset[str], after: int, end: int) -> tuple[list[WriteChunk], int]:
        """Return the first events above an offset that are kept, although others were pruned, and how far they reach.

        One channel is read after the other: above its own floor, a channel is complete.
        """
        return await self._calls.call((channels, after, "kept"), lambda: self._read_kept(channels, after, end))

    async def _read_kept(self, channels: frozenset[str], after: int, end: int) -> tuple[list[WriteChunk], int]:
        batches = [await self._read_channel(channel, after, end) for channel in channels]
        end = min(batch.end for batch in batches)
        events = (event for batch in batches for event in batch.events if after < event.offset <= end)
        return _chunks_of(self._frames_of(Batch(sorted(events), after, end))), end

    async def _read_channel(self, channel: str, after: int, end: int) -> Batch:
        self._check_open()
        try:
            return await self._broker.read([channel], after, end)
        except CursorExpired:
            batch = await self._broker.read([channel], None, end)
            if batch.end <= after:  # it would be read for ever
                raise
            return batch

    async def _read(self, channels: frozenset[str], after: int | Beginning, end: int) -> _Page:
        return await self._calls.call((channels, after), lambda: self._read_page(channels, after, end))

    async def _read_page(self, channels: frozenset[str], after: int | Beginning, end: int) -> _Page:
        self._check_open()
        if after == "latest":
            batch = await self._broker.latest(channels, end)
        else:
            batch = await self._broker.read(channels, None if after == "oldest" else after, end)
        frames = self._frames_of(batch)
        if isinstance(after, str):  # not kept for others: read() compared no offset with the floors
            return _Page(0, batch.end, frames)
        page = _Page(after, batch.end, frames)
        self._pages.add(channels, page)
        return page

    def chunks(self, channels: frozenset[str], after: int | Beginning) -> tuple[list[WriteChunk], int] | None:
        """Return the earlier result of ``make_chunks()`` for the same arguments, if it is kept."""
        return self._chunks.get((channels, after))

    def make_chunks(
        self, channels: frozenset[str], after: int | Beginning, frames: Frames, end: int
    ) -> tuple[list[WriteChunk], int]:
        """Join frames, which are complete up to ``end``, and keep the chunks for other streams."""
        made = _chunks_of(frames), end
        size = sum(len(chunk.frames) for chunk in made[0])
        if self._chunk_bytes + size > CHUNK_BYTES or len(self._chunks) == CHUNK_PLACES:
            self.drop_chunks()
        self._chunk_bytes += size
        self._chunks[channels, after] = made
        return made

    def drop_chunks(self) -> None:
        self._chunks.clear()
        self._chunk_bytes = 0

    def _check_open(self) -> None:
        if self._is_closing:
            raise BrokerUnavailable(self._broker.alias, "it is being closed")


def _offset(entry: tuple[int, bytes]) -> int:
    return entry[0]
