"""The wire format, both ways: events to frames (bytes), and frames back to events. Pure: no I/O.

Source: WHATWG HTML, section 9.2. A *frame* is an encoded event.
"""

import codecs
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import EventTooLarge, InvalidEvent
from .jsontext import to_text

__all__ = [
    "END_FRAME",
    "EventParser",
    "ReceivedEvent",
    "ServerSentEvent",
    "comment_frame",
    "encode",
    "encode_text",
    "end_frame",
    "id_frame",
    "last_retry_frame",
    "logged_frame",
    "ready_frame",
    "retry_frame",
    "state_frame",
]

MIN_RETRY_MILLISECONDS = 500  # 0 made browsers connect 4,700 times in 11 s
MAX_RETRY_MILLISECONDS = 2**31 - 1
MAX_ID_CHARACTERS = 200  # it comes back as a request header

# The id of a stream that is over. A client that sends it back is told not to come again.
END_ID = "end"
END_FRAME = b"event: end\nid: end\ndata: {}\n\n"

_RESERVED_TYPES = {
    "open": "its listeners would collide with the connection's own",
    "error": "its listeners would collide with the connection's own",
    "ready": "it is reserved for the protocol",
    "reset": "it is reserved for the protocol",
    "end": "it is reserved for the protocol",
}
_LINE_BREAKING = re.compile("[\r\n\0]")
_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True, slots=True, init=False)
class ServerSentEvent:
    """One event, validated as it is made, so that an error points at the line that made it.

    ``data``: text as it is, anything else as JSON, ``None`` for none. ``event``: its type, ``message`` if not given.
    ``id``: at most 200 printable ASCII characters; ``""`` resets the client's. ``retry``: milliseconds, 500 to 2^31-1.
    ``comment``: text that clients ignore.

    An event with a type or an id needs data, because clients drop or misread a block without (pass ``data=""``).
    Raises ``InvalidEvent``, a ``ValueError``, that names the field.
    """

    data: str | None
    event: str | None
    id: str | None
    retry: int | None
    comment: str | None

    def __init__(
        self,
        data: Any = None,
        *,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> None:
        text = None if data is None else to_text(data)
        _check_text("data", text)
        _check_type(event)
        _check_id(id)
        _check_retry(retry)
        _check_text("comment", comment)
        if text is None:
            if event is not None or id is not None:
                field = "event" if event is not None else "id"
                raise InvalidEvent(field, 'a block without data is dropped by clients; pass data="" if none is meant')
            if retry is None and comment is None:
                raise InvalidEvent("data", "an event needs data, or a retry or comment on its own")
        object.__setattr__(self, "data", text)
        # Of a member of an enum, its value: formatting would give its name.
        for name, given in (("event", event), ("id", id), ("comment", comment)):
            object.__setattr__(self, name, None if given is None else str.__str__(given))
        object.__setattr__(self, "retry", None if retry is None else int(retry))


def _check_text(field: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidEvent(field, f"must be str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _lone_surrogate(field, value) from None


def _check_type(value: object) -> None:
    _check_text("event", value)
    if value is None:
        return
    assert isinstance(value, str)
    if _LINE_BREAKING.search(value):
        raise InvalidEvent("event", "must not contain CR, LF or NUL")
    if value in _RESERVED_TYPES:
        raise InvalidEvent("event", f"{value!r} cannot be used: {_RESERVED_TYPES[value]}")


def _check_id(value: object) -> None:
    _check_text("id", value)
    if value is None:
        return
    assert isinstance(value, str)
    if _LINE_BREAKING.search(value):
        raise InvalidEvent("id", "must not contain CR, LF or NUL")
    if value and not (value.isascii() and value.isprintable() and value == value.strip()):
        raise InvalidEvent("id", "must be printable ASCII without spaces around it: it comes back as a request header")
    if len(value) > MAX_ID_CHARACTERS:
        raise InvalidEvent("id", f"must be at most {MAX_ID_CHARACTERS} characters, not {len(value)}")
    if value == END_ID:
        raise InvalidEvent("id", f"{END_ID!r} is reserved: a client that reconnects with it is told to stop")


def _check_retry(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidEvent("retry", f"must be int (milliseconds), not {type(value).__name__}")
    if not MIN_RETRY_MILLISECONDS <= value <= MAX_RETRY_MILLISECONDS:
        raise InvalidEvent("retry", f"must be {MIN_RETRY_MILLISECONDS} to {MAX_RETRY_MILLISECONDS} milliseconds")


def encode(value: Any) -> bytes:
    """Return the frame of ``value``: a ``ServerSentEvent``, or the data of one (text as it is, else JSON)."""
    if not isinstance(value, ServerSentEvent):
        return encode_text(to_text(value))
    text = ""
    if value.comment is not None:
        text += _lines("", value.comment)
    if value.retry is not None:
        text += f"retry: {value.retry}\n"
    if value.event is not None:
        text += f"event: {value.event}\n"
    if value.id is not None:
        text += f"id: {value.id}\n"
    if value.data is not None:
        text += _lines("data", value.data) + "\n"
    return text.encode()


def encode_text(text: str) -> bytes:
    """Return the frame of an event with ``text`` as its data, and nothing else."""
    framed = f"data: {text}\n\n" if "\n" not in text and "\r" not in text else _lines("data", text) + "\n"
    try:
        return framed.encode()
    except UnicodeEncodeError:
        raise _lone_surrogate("data", text) from None


def logged_frame(event: str, id: str, data: str) -> bytes:
    """Return the frame of an event from a log. Raises ``InvalidEvent``: by SQL anything may get there."""
    if event == "message":
        text = f"id: {id}\n"
    elif _LINE_BREAKING.search(event) or event in _RESERVED_TYPES:
        raise InvalidEvent("event", f"{event!r:.100} cannot be sent")
    else:
        text = f"event: {event}\nid: {id}\n"
    return text.encode(errors="replace") + encode_text(data)


def ready_frame(event: str, id: str | None) -> bytes:
    """Return a ``ready`` or ``reset`` event. Without an id the client keeps the one it has."""
    return (f"event: {event}\n" + ("" if id is None else f"id: {id}\n") + "data: {}\n\n").encode()


def id_frame(id: str) -> bytes:
    """Return a block that is no event, and sets the id with which the client comes back."""
    return f"id: {id}\n\n".encode()


def end_frame(status: int) -> bytes:
    """Return the ``end`` of a stream that would have been refused with this status, had its headers not been sent."""
    return b'event: end\nid: %s\ndata: {"status": %d}\n\n' % (END_ID.encode(), status)


def state_frame(event: ServerSentEvent, id: str | None) -> bytes:
    """Return the frame of an event of an initial state, with this id and no other: it would be taken for a cursor."""
    given = ServerSentEvent(event.data, event=event.event, id=id, retry=event.retry, comment=event.comment)
    return encode(given)


def comment_frame(text: str) -> bytes:
    """Return ``text`` as comment lines. One LF each: after a second some clients dispatch an empty event."""
    return _lines("", text).encode(errors="replace")


def retry_frame(milliseconds: int) -> bytes:
    """Return a retry line. With one LF it joins the next block; browsers apply it as soon as the line is there."""
    return b"retry: %d\n" % milliseconds


def last_retry_frame(milliseconds: int) -> bytes:
    """Return a retry line in a block of its own, for the end of a body.

    With a type and without data it is no event to a browser. htmx 4 takes a retry from such a block alone.
    """
    return b"event: retry\nretry: %d\n\n" % milliseconds


def _lines(field: str, text: str) -> str:
    # Split on CR LF, CR and LF alone: str.splitlines() would also break at U+2028, U+0085, VT, FF and FS.
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    prefix = f"{field}: "
    return prefix + text.replace("\n", "\n" + prefix) + "\n"


def _lone_surrogate(field: str, text: str) -> InvalidEvent:
    position = next(index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    return InvalidEvent(field, f"a lone surrogate at character {position} cannot be sent as UTF-8")


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
