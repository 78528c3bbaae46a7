"""Encode, then parse: the event comes back, for all text and any chunking."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from serversent.errors import InvalidEvent
from serversent.event import EventParser, ReceivedEvent, ServerSentEvent, encode

text = st.text(st.characters(exclude_categories=["Cs"]))
# Line ends are the standard's own business and everything else is text.
awkward = st.text(st.sampled_from("a :\r\n\0\u2028\x85\x0b\x0c\x1c\ufeff😀"))
names = text.filter(lambda name: not re.search("[\r\n\0]", name))
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200)


def chunked(body, cuts):
    ends = sorted({cut % (len(body) + 1) for cut in cuts} | {len(body)})
    begin = 0
    for end in ends:
        yield body[begin:end]
        begin = end


def as_received(value):
    return value.replace("\r\n", "\n").replace("\r", "\n")


@given(
    st.lists(st.tuples(text | awkward, st.none() | names, st.none() | ids, st.none() | awkward), max_size=5),
    st.lists(st.integers(min_value=0), max_size=20),
)
@example([("\r", None, None, None)], [7])
@example([("a\r\n", "", "", "\r")], list(range(40)))
def test_events_survive_the_wire(parts, cuts):
    events, expected, last_id = [], [], ""
    for data, name, id, comment in parts:
        try:
            events.append(ServerSentEvent(data, event=name, id=id, comment=comment))
        except InvalidEvent:
            continue  # a reserved name, or the id "end"
        last_id = last_id if id is None else id
        expected.append(ReceivedEvent(as_received(data), name or "message", last_id))
    body = b"".join(encode(event) for event in events)
    parser = EventParser()
    assert [event for chunk in chunked(body, cuts) for event in parser.feed(chunk)] == expected


@given(st.binary(), st.lists(st.integers(min_value=0), max_size=20))
def test_any_bytes_parse_the_same_in_any_chunking(body, cuts):
    whole, pieces = EventParser(), EventParser()
    expected = whole.feed(body)
    assert [event for chunk in chunked(body, cuts) for event in pieces.feed(chunk)] == expected
    assert (pieces.last_event_id, pieces.retry) == (whole.last_event_id, whole.retry)
