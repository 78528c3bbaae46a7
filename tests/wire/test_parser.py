"""sse-checklist, parser: rules 1 to 7, and the 26 vectors."""

import json
import time
from pathlib import Path

import pytest

from serversent.errors import EventTooLarge
from serversent.event import EventParser, ReceivedEvent

VECTORS = json.loads(Path(__file__).with_name("sse-vectors.json").read_text())


def parse(body, size=None):
    parser = EventParser()
    size = size or len(body) or 1
    events = [event for start in range(0, len(body), size) for event in parser.feed(body[start : start + size])]
    return events, parser


def data(body, size=None):
    return [event.data for event in parse(body, size)[0]]


def test_there_are_26_vectors():
    assert len(VECTORS) == 26


@pytest.mark.parametrize("size", [None, 1], ids=["whole", "1-byte"])
@pytest.mark.parametrize(("name", "text", "expected"), VECTORS, ids=[name for name, *_ in VECTORS])
def test_vector(name, text, expected, size):
    events, _ = parse(text.encode(), size)
    assert [[event.event, event.data, event.id] for event in events] == expected


def test_crlf_split_over_two_chunks():
    parser = EventParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\n") == []
    assert parser.feed(b"\r") == [ReceivedEvent("a")]
    assert parser.feed(b"\ndata: b\n\n") == [ReceivedEvent("b")]


def test_an_empty_chunk_between_cr_and_lf():
    parser = EventParser()
    parser.feed(b"data: a\r")
    assert parser.feed(b"") == []
    assert parser.feed(b"\ndata: b\r\n\r\n") == [ReceivedEvent("a\nb")]


def test_invalid_utf8_becomes_replacement_characters():
    assert data(b"data: \xff\xe2\x82\n\n") == ["\ufffd\ufffd"]
    assert data("data: é€😀\n\n".encode(), 1) == ["é€😀"]


def test_one_bom_and_one_space_are_stripped():
    assert data(b"\xef\xbb\xbfdata: a\n\n", 1) == ["a"]
    assert data(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n") == ["b"]
    assert data(b"data:  a\n\ndata:\ta\n\n") == [" a", "\ta"]


def test_names_are_case_sensitive_and_unknown_fields_ignored():
    assert data(b"Data: a\nfoo: b\ndata\n\n") == [""]


def test_event_without_data_dispatches_nothing_and_resets_the_type():
    assert parse(b"event: x\n\ndata: a\n\n")[0] == [ReceivedEvent("a")]


def test_ids_stick_reset_and_are_ignored_with_nul():
    events, parser = parse(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n")
    assert [event.id for event in events] == ["1", "1", "1", ""]
    assert parser.last_event_id == ""


def test_the_id_to_resume_with_is_that_of_the_last_ended_block():
    _, parser = parse(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert parser.last_event_id == "1"
    assert EventParser("7").feed(b"data: x\n\n") == [ReceivedEvent("x", id="7")]


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        ("10", 10),
        ("007", 7),
        ("", None),
        ("1a", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, 2**31 - 1),
    ],
)
def test_retry_is_of_ascii_digits(line, retry):
    assert parse(f"retry: {line}\n".encode())[1].retry == retry


def test_an_unfinished_block_is_thrown_away():
    assert data(b"data: a\n") == []


@pytest.mark.parametrize(
    "body", [b"x" * 200, b"data: " + b"x" * 200, b"data: 1234567\n" * 20, b"data\n" * 200, b": " + b"c" * 200]
)
@pytest.mark.parametrize("size", [None, 1])
def test_buffers_are_bounded(body, size):
    parser = EventParser(max_characters=100)
    size = size or len(body)
    with pytest.raises(EventTooLarge, match="larger than 100 characters"):
        for start in range(0, len(body), size):
            parser.feed(body[start : start + size])


def test_the_bound_is_for_one_event():
    parser = EventParser(max_characters=100)
    body = (b": a comment\nid: 1\nevent: x\ndata: " + b"x" * 50 + b"\n\n") * 50
    assert len(parser.feed(body)) == 50


def test_a_long_line_in_tiny_chunks_costs_linear_time():
    def seconds(size):
        parser = EventParser()
        begin = time.perf_counter()
        for _ in range(size):
            parser.feed(b"x")
        return time.perf_counter() - begin

    def ratio():
        """One line beside twenty of a twentieth, at the same time on the same machine."""
        return seconds(200_000) / sum(seconds(10_000) for _ in range(20))

    assert min(ratio() for _ in range(3)) < 5  # 1, if it is linear; 20, if it is quadratic
