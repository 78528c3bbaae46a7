"""Reads of the log for all streams of a hub: what several want at once is read once.

Pages begin at round offsets, so that streams which lag behind at different places of the same channels want the same
ones. A thousand of them cost as many reads as one that goes all the way, and no memory of their own.
"""

import asyncio
import bisect
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

from ..brokers import Broker, Events
from ..concurrency.tasks import in_no_context
from ..errors import BrokerUnavailable, CursorExpired
from ..wire.cursor import Cursor
from ..wire.frames import END_FRAME

__all__ = ["Beginning", "Frames", "Piece", "Reads"]


Frames = list[tuple[int, bytes]]
Beginning = Literal["latest", "oldest"]
_Place = tuple[frozenset[str], int | Beginning]

# What is replayed is joined into writes of at least this size.
WRITE_BYTES = 32 * 1024

# Where pages begin: as far apart as a page of one busy channel goes.
ALIGNED = 500

# Pages that are kept for who comes to them next, all together.
KEPT_BYTES = 1024 * 1024
KEPT_PAGES = 64

# What is kept joined: bytes, and places in the log.
JOINED_BYTES = 256 * 1024
JOINED_PLACES = 64


class Piece(NamedTuple):
    """Frames that are written at once, the last one's offset, and whether a channel is closed among them."""

    offset: int
    frames: bytes
    closes: bool


def _pieces_of(frames: Frames) -> list[Piece]:
    """Join frames to pieces of a useful size."""
    pieces: list[Piece] = []
    piece: list[bytes] = []
    size, closes = 0, False
    for number, (offset, frame) in enumerate(frames, 1):
        if frame is END_FRAME:
            closes = True
        else:
            piece.append(frame)
            size += len(frame)
        if size >= WRITE_BYTES or number == len(frames):
            pieces.append(Piece(offset, b"".join(piece), closes))
            piece, size, closes = [], 0, False
    return pieces


class _Page(NamedTuple):
    """All frames of a set of channels from above ``after`` up to ``upto``."""

    after: int
    upto: int
    frames: Frames

    def size(self) -> int:
        return sum(len(frame) for _, frame in self.frames)

    def part(self, after: int) -> tuple[Frames, int]:
        return self.frames[bisect.bisect_right(self.frames, after, key=_offset) :], self.upto


class Reads:
    """The reads of one log. Another epoch is another log, whose reads are others too.

    ``frames`` makes frames of events.
    """

    def __init__(self, broker: Broker, frames: Callable[[Events], Frames]) -> None:
        self._broker = broker
        self._frames = frames
        self._pages: OrderedDict[tuple[frozenset[str], int], _Page] = OrderedDict()
        self._bytes = 0
        # What was read since the last piece of the log: who comes back with others wants the same.
        self._joined: dict[_Place, tuple[list[Piece], int]] = {}
        self._joined_bytes = 0
        self._reading: dict[_Place, asyncio.Task[_Page]] = {}
        self._head: asyncio.Task[Cursor] | None = None
        self._asked: dict[int, tuple[set[str], asyncio.Task[set[str]]]] = {}
        self._asking = asyncio.Lock()
        self._is_over = False

    def end(self) -> None:
        """Begin no more reads: the broker is about to be closed. Who waits for one gets ``BrokerUnavailable``."""
        self._is_over = True

    async def head(self) -> Cursor:
        """Return the log's head. It may have been asked for by somebody before."""
        if self._head is None or self._head.done():
            self._head = in_no_context(self._broker.head())
        return await asyncio.shield(self._head)

    async def closed(self, channels: Collection[str], position: int) -> set[str]:
        """Return which of some channels are closed as of an offset, and maybe others that are."""
        if position not in self._asked:
            names: set[str] = set()
            self._asked[position] = names, in_no_context(self._ask(names, position))
        names, answer = self._asked[position]
        names.update(channels)
        return await asyncio.shield(answer)

    async def _ask(self, names: set[str], position: int) -> set[str]:
        async with self._asking:  # while one question is out, the next is put together
            del self._asked[position]
            self._check()
            return await self._broker.closed(names, position)

    async def page(self, channels: frozenset[str], after: int, upto: int) -> tuple[Frames, int]:
        """Return the first frames of channels above an offset, and the offset up to which that is all.

        ``upto``, above ``after``: how far to read. Raises ``CursorExpired``, ``BrokerUnavailable``.
        """
        start = after - after % ALIGNED
        page = self._kept(channels, after)
        if page is None and start != after and (channels, start) not in self._pages:
            with contextlib.suppress(CursorExpired):  # what is missing may be before ``after``
                page = await self._read_once(channels, start, upto)
        if page is None or page.upto <= after:
            page = await self._read_once(channels, after, upto)
        return page.part(after)

    async def first(self, channels: frozenset[str], which: Beginning, upto: int) -> tuple[Frames, int]:
        """Return the oldest events that the log has, as a page; or the newest of each channel."""
        page = await self._read_once(channels, which, upto)
        return page.frames, page.upto

    async def _read_once(self, channels: frozenset[str], after: int | Beginning, upto: int) -> _Page:
        key = channels, after
        if key not in self._reading:
            self._reading[key] = in_no_context(self._read(channels, after, upto))
        return await asyncio.shield(self._reading[key])

    async def _read(self, channels: frozenset[str], after: int | Beginning, upto: int) -> _Page:
        try:
            self._check()
            if after == "latest":
                events = await self._broker.latest(channels, upto)
            else:
                events = await self._broker.read(channels, None if after == "oldest" else after, upto)
        finally:
            del self._reading[channels, after]
        if isinstance(after, str):  # no floor was looked at: some of the channels may have lost more than others
            return _Page(0, events.upto, self._frames(events))
        page = _Page(after, events.upto, self._frames(events))
        self._keep(page, channels)
        return page

    def joined(self, channels: frozenset[str], after: int | Beginning) -> tuple[list[Piece], int] | None:
        """Return what ``join`` has returned for the same place, if that is kept still."""
        return self._joined.get((channels, after))

    def join(
        self, channels: frozenset[str], after: int | Beginning, frames: Frames, upto: int
    ) -> tuple[list[Piece], int]:
        """Join what follows a place, as far as ``upto``, and keep it for others."""
        found = _pieces_of(frames), upto
        size = sum(len(piece.frames) for piece in found[0])
        if self._joined_bytes + size > JOINED_BYTES or len(self._joined) == JOINED_PLACES:
            self.forget_joined()
        self._joined_bytes += size
        self._joined[channels, after] = found
        return found

    def forget_joined(self) -> None:
        self._joined.clear()
        self._joined_bytes = 0

    def _check(self) -> None:
        if self._is_over:
            raise BrokerUnavailable(self._broker.alias, "it is being closed")

    def _kept(self, channels: frozenset[str], after: int) -> _Page | None:
        for key, page in self._pages.items():
            if key[0] == channels and page.after <= after < page.upto:
                self._pages.move_to_end(key)
                return page
        return None

    def _keep(self, page: _Page, channels: frozenset[str]) -> None:
        if replaced := self._pages.pop((channels, page.after), None):
            self._bytes -= replaced.size()
        self._pages[channels, page.after] = page
        self._bytes += page.size()
        while self._bytes > KEPT_BYTES or len(self._pages) > KEPT_PAGES:
            _, dropped = self._pages.popitem(last=False)
            self._bytes -= dropped.size()


def _offset(entry: tuple[int, bytes]) -> int:
    return entry[0]
