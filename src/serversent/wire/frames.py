"""Frames: events as bytes on the wire. Pure: no I/O."""

from typing import Any

from ..errors import InvalidEvent
from .event import END_ID, LINE_BREAKING, RESERVED_TYPES, ServerSentEvent, lone_surrogate
from .json_text import to_text

__all__ = [
    "END_FRAME",
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

END_FRAME = b"event: end\nid: end\ndata: {}\n\n"


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
        raise lone_surrogate("data", text) from None


def logged_frame(event: str, id: str, data: str) -> bytes:
    """Return the frame of an event from a log. Raises ``InvalidEvent``: by SQL anything may get there."""
    if event == "message":
        text = f"id: {id}\n"
    elif LINE_BREAKING.search(event) or event in RESERVED_TYPES:
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
