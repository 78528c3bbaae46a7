"""A page of a log: the first events of some channels after an offset, found by an index range for each channel.

The offsets are found first, then the events to read are chosen, then they are read.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from ...errors import CursorExpired
from ..base import PAGE_BYTES, Batch, LoggedEvent
from ..dialects.detect import dialect_of
from ..sql import sql
from .log import PAGE_EVENTS, chunks, rows_to_events

__all__ = ["read_channels", "read_latest"]


# Of each channel at first, at least: a hundred busy channels would otherwise have 50,000 rows looked at for one page.
EVENTS_PER_CHANNEL = 5


def read_channels(connection: BaseDatabaseWrapper, channels: Collection[str], after: int | None, end: int) -> Batch:
    """Return the first events of the channels after an offset. Raises ``CursorExpired``."""
    while True:
        page, reached = _page(*_find(connection, list(set(channels)), after, end))
        events = _fetch(connection, [candidate.offset for candidate in page])
        if len(events) == len(page):
            return Batch(events, after or 0, reached)
        # Some were pruned since they were found. The next look sees that by the floors.


def read_latest(connection: BaseDatabaseWrapper, channels: Collection[str], end: int) -> Batch:
    """Return the newest event of each channel up to an offset. Ends of channels do not count."""
    while True:
        found = [offset for names in chunks(channels) for offset in _newest(connection, names, end)]
        events = _fetch(connection, found)
        if len(events) == len(found):
            return Batch(events, 0, end)


def _newest(connection: BaseDatabaseWrapper, names: list[str], end: int) -> list[int]:
    each = (
        f"SELECT id FROM serversent_event {dialect_of(connection).index_hint} "
        f"WHERE channel = %s AND id <= {end:d} AND event <> 'end' ORDER BY id DESC LIMIT 1"
    )
    statement = " UNION ALL ".join(f"SELECT * FROM ({each}) AS c{number}" for number in range(len(names)))
    return [offset for (offset,) in sql(connection, statement, names)]


class _Candidate(NamedTuple):
    offset: int
    size: int
    channel: str


def _find(
    connection: BaseDatabaseWrapper, channels: list[str], after: int | None, end: int
) -> tuple[list[_Candidate], int]:
    """Return the first events of each channel, and up to which offset these are all.

    A channel that has more than it may give ends that at its last one: beyond, its events would be missing.
    """
    limit = max(EVENTS_PER_CHANNEL, PAGE_EVENTS // len(channels))
    found = _candidates(connection, channels, after, end, limit)
    cut = _cut(found, limit)
    if 0 < len(cut) <= len(channels) // 4:  # a few busy channels may fill the page
        limit = PAGE_EVENTS // len(cut)
        found = [candidate for candidate in found if candidate.channel not in cut]
        found += _candidates(connection, list(cut), after, end, limit)
        cut = _cut(found, limit)
    return found, min(cut.values(), default=end)


def _cut(found: list[_Candidate], limit: int) -> dict[str, int]:
    """Return the channels that reached the limit, each with the last offset that was found."""
    counts = Counter(candidate.channel for candidate in found)
    return {candidate.channel: candidate.offset for candidate in sorted(found) if counts[candidate.channel] >= limit}


def _candidates(
    connection: BaseDatabaseWrapper, channels: list[str], after: int | None, end: int, limit: int
) -> list[_Candidate]:
    """Return the first events of each channel, so many of each. Raises ``CursorExpired``."""
    found: list[_Candidate] = []
    for names in chunks(channels):
        statement, parameters = _candidates_of(connection, names, after, end, limit)
        rows = sql(connection, statement, parameters)
        if floors := [floor for floor, size, _ in rows if size is None]:
            raise CursorExpired(after or 0, max(floors))
        found += (_Candidate(*row) for row in rows)
    return found


def _candidates_of(
    connection: BaseDatabaseWrapper, names: list[str], after: int | None, end: int, limit: int
) -> tuple[str, list[Any]]:
    """Return a statement, and its parameters, for the first rows of each channel, and for the floors above ``after``.

    Both in one statement, of one snapshot: floors that were looked at before the rows would let a pruning in between
    make a gap that nobody sees.
    """
    start = after or 0
    range_of = f"AND id > {start:d} AND id <= {end:d} ORDER BY id LIMIT {limit:d}"
    found, parameters = dialect_of(connection).first_of_each_channel(names, range_of)
    if after is None:
        return found, parameters
    marks = ", ".join(["%s"] * len(names))
    above = f"WHERE floor > {start:d}"
    floors = (
        f" UNION ALL SELECT floor, NULL, channel FROM serversent_channel {above} AND channel IN ({marks})"
        f" UNION ALL SELECT floor, NULL, '' FROM serversent_log {above}"
    )
    return found + floors, [*parameters, *names]


def _page(found: list[_Candidate], complete: int) -> tuple[list[_Candidate], int]:
    """Choose the events of one page, in offset order. Return them, and the offset up to which they are complete."""
    page: list[_Candidate] = []
    size = 0
    for candidate in sorted(found):
        if candidate.offset > complete or size >= PAGE_BYTES or len(page) == PAGE_EVENTS:
            return page, page[-1].offset
        page.append(candidate)
        size += candidate.size
    return page, complete


def _fetch(connection: BaseDatabaseWrapper, offsets: list[int]) -> list[LoggedEvent]:
    if not offsets:
        return []
    ids = ", ".join(map(str, offsets))
    columns = dialect_of(connection).event_columns
    return rows_to_events(sql(connection, f"SELECT {columns} FROM serversent_event AS e WHERE e.id IN ({ids})"))
