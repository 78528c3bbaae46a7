"""The wire format, both ways: events to frames (bytes), and frames back to events. Pure: no I/O.

Source: WHATWG HTML, section 9.2. A *frame* is an encoded event.
"""

import re
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidEvent
from .json_text import to_text

__all__ = ["ServerSentEvent"]


MIN_RETRY_MILLISECONDS = 500  # 0 made browsers connect 4,700 times in 11 s
MAX_RETRY_MILLISECONDS = 2**31 - 1
MAX_ID_CHARACTERS = 200  # it comes back as a request header

# The id of a stream that is over. A client that sends it back is told not to come again.
END_ID = "end"

RESERVED_TYPES = {
    "open": "its listeners would collide with the connection's own",
    "error": "its listeners would collide with the connection's own",
    "ready": "it is reserved for the protocol",
    "reset": "it is reserved for the protocol",
    "end": "it is reserved for the protocol",
}
LINE_BREAKING = re.compile("[\r\n\0]")


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
        raise lone_surrogate(field, value) from None


def _check_type(value: object) -> None:
    _check_text("event", value)
    if value is None:
        return
    assert isinstance(value, str)
    if LINE_BREAKING.search(value):
        raise InvalidEvent("event", "must not contain CR, LF or NUL")
    if value in RESERVED_TYPES:
        raise InvalidEvent("event", f"{value!r} cannot be used: {RESERVED_TYPES[value]}")


def _check_id(value: object) -> None:
    _check_text("id", value)
    if value is None:
        return
    assert isinstance(value, str)
    if LINE_BREAKING.search(value):
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


def lone_surrogate(field: str, text: str) -> InvalidEvent:
    position = next(index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    return InvalidEvent(field, f"a lone surrogate at character {position} cannot be sent as UTF-8")
