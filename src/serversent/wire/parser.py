"""Frames back to events. Pure: no I/O."""

import codecs
import re
from typing import NamedTuple

from ..errors import EventTooLarge
from .event import MAX_RETRY_MILLISECONDS

__all__ = ["EventParser", "ReceivedEvent"]

_LINE_END = re.compile("\r\n|\r|\n")


class ReceivedEvent(NamedTuple):
    """An event as a client sees it: ``data``, its type ``event``, and the last id seen up to it."""

    data: str
    event: str = "message"
    id: str = ""


class EventParser:
    """Turn the chunks of one response body into events, as a browser does.

    ``last_event_id`` is the id to send on reconnecting, ``retry`` the milliseconds to wait first (``None``: not said).
    ``max_characters`` bounds what one event may hold, line or data; ``EventTooLarge`` is raised above it.
    """

    def __init__(self, last_event_id: str = "", *, max_characters: int = 16 * 1024 * 1024) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._max_characters = max_characters
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = True
        self._after_cr = False
        self._line: list[str] = []  # pieces of the line that has not ended: joined once, so tiny chunks stay linear
        self._size = 0  # characters in _line and _data
        self._data: list[str] = []
        self._type = ""
        self._id = last_event_id

    def feed(self, chunk: bytes) -> list[ReceivedEvent]:
        """Return the events that ``chunk``, any piece of the body, completes."""
        text = self._decoder.decode(chunk)
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if self._after_cr and text:
            self._after_cr = False
            text = text.removeprefix("\n")
        events: list[ReceivedEvent] = []
        position = 0
        for end in _LINE_END.finditer(text):
            self._grow(text[position : end.start()])
            position = end.end()
            self._end_line(events)
        self._after_cr = self._after_cr or text.endswith("\r")
        if position < len(text):
            self._grow(text[position:])
        return events

    def _grow(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > self._max_characters:
            raise EventTooLarge(self._max_characters)
        self._line.append(piece)

    def _end_line(self, events: list[ReceivedEvent]) -> None:
        line = "".join(self._line)
        self._line.clear()
        if line:
            if not self._field(line):
                self._size -= len(line)
            return
        self.last_event_id = self._id
        if self._data:
            events.append(ReceivedEvent("\n".join(self._data), self._type or "message", self._id))
        self._data.clear()
        self._type = ""
        self._size = 0

    def _field(self, line: str) -> bool:
        """Take one line in; say whether it was kept as data."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
                self._size += 1  # so that endless empty data lines meet the bound too
                return True
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                # int() refuses more than 4,300 digits.
                self.retry = min(int(value), MAX_RETRY_MILLISECONDS) if len(value) < 20 else MAX_RETRY_MILLISECONDS
        return False
