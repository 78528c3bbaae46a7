"""sse-checklist, encoder: rules 1 to 8."""

import datetime
import decimal
import enum
import time
import uuid

import pytest
from django.utils.translation import gettext_lazy

from serversent.errors import InvalidEvent
from serversent.event import ServerSentEvent, encode
from serversent.wire.frames import END_FRAME, comment_frame, retry_frame


def test_utf8_without_bom_and_lf_only():
    frame = encode(ServerSentEvent("né\r\nb", event="x", id="1", retry=500, comment="c"))
    assert frame == ": c\nretry: 500\nevent: x\nid: 1\ndata: né\ndata: b\n\n".encode()
    assert b"\r" not in frame


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_data_is_split_on_the_three_line_ends(end):
    assert encode(f"a{end}b") == b"data: a\ndata: b\n\n"


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_data_is_split_on_nothing_else(character):
    assert encode(f"a{character}b") == f"data: a{character}b\n\n".encode()


def test_a_lone_cr_does_not_make_a_field_of_data():
    assert encode("x\rid: 7\revent: hack") == b"data: x\ndata: id: 7\ndata: event: hack\n\n"


def test_one_space_after_every_colon():
    assert encode("") == b"data: \n\n"
    assert encode(" x") == b"data:  x\n\n"
    assert encode("a\n") == b"data: a\ndata: \n\n"
    assert encode("\n\n") == b"data: \ndata: \ndata: \n\n"


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
def test_cr_lf_nul_are_refused_in_event_and_id(field, character):
    with pytest.raises(InvalidEvent, match=f"^{field}: must not contain CR, LF or NUL") as caught:
        ServerSentEvent("x", **{field: f"a{character}b"})
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["open", "error", "ready", "reset", "end"])
def test_reserved_types_are_refused(name):
    with pytest.raises(InvalidEvent, match=f"event: '{name}' cannot be used"):
        ServerSentEvent("x", event=name)


@pytest.mark.parametrize("id", ["é", "a\tb", " a", "a ", "x" * 201, "end", "\x7f"])
def test_ids_that_would_not_come_back_are_refused(id):
    with pytest.raises(InvalidEvent, match="^id: "):
        ServerSentEvent("x", id=id)


def test_an_empty_id_resets():
    assert encode(ServerSentEvent("x", id="")) == b"id: \ndata: x\n\n"


@pytest.mark.parametrize("field", ["event", "id"])
def test_no_block_without_data(field):
    with pytest.raises(InvalidEvent, match=f"{field}: a block without data"):
        ServerSentEvent(**{field: "x"})
    with pytest.raises(InvalidEvent):
        ServerSentEvent()


def test_retry_and_comment_alone_end_no_block():
    assert encode(ServerSentEvent(retry=1000)) == b"retry: 1000\n"
    assert encode(ServerSentEvent(comment="a\nb\rc")) == b": a\n: b\n: c\n"
    assert comment_frame("hb") == b": hb\n"
    assert retry_frame(3000) == b"retry: 3000\n"


@pytest.mark.parametrize("retry", [0, 499, -1, 2**31, 10**300])
def test_retry_out_of_range_is_refused(retry):
    with pytest.raises(InvalidEvent, match="^retry: must be 500 to 2147483647 milliseconds"):
        ServerSentEvent("x", retry=retry)


@pytest.mark.parametrize("retry", [True, 1.5, "1000"])
def test_retry_of_a_wrong_type_is_refused(retry):
    with pytest.raises(InvalidEvent, match="^retry: must be int"):
        ServerSentEvent("x", retry=retry)


@pytest.mark.parametrize("field", ["event", "id", "comment"])
@pytest.mark.parametrize("value", [7, b"x", ["x"]])
def test_wrong_types_are_refused_by_name(field, value):
    with pytest.raises(InvalidEvent, match=f"^{field}: must be str, not {type(value).__name__}"):
        ServerSentEvent("x", **{field: value})


@pytest.mark.parametrize("fields", [{"data": "a\ud800"}, {"comment": "a\ud800"}, {"event": "a\ud800"}])
def test_lone_surrogates_are_refused_with_their_place(fields):
    fields = {"data": "x", **fields}
    with pytest.raises(InvalidEvent, match="a lone surrogate at character 1"):
        ServerSentEvent(**fields)


def test_a_lone_surrogate_in_yielded_text_and_json():
    with pytest.raises(InvalidEvent, match="^data: a lone surrogate at character 3"):
        encode("abc\udfff")
    with pytest.raises(InvalidEvent, match="^data: a lone surrogate"):
        encode({"a": "\ud800"})


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_are_refused(value):
    with pytest.raises(InvalidEvent, match="^data: .* has no known encoding"):
        encode(value)
    with pytest.raises(InvalidEvent):
        ServerSentEvent(value)


@pytest.mark.parametrize("value", [object(), {1j: 2}, float("nan"), {"a": float("inf")}, {object(): 1}])
def test_a_value_that_is_no_json_is_refused(value):
    with pytest.raises(InvalidEvent, match="^data: .* cannot be written as JSON"):
        encode(value)


def test_a_value_that_contains_itself_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(InvalidEvent, match="cannot be written as JSON"):
        encode(value)


def test_anything_but_text_is_json():
    assert encode({"a": "é\n"}) == 'data: {"a": "é\\n"}\n\n'.encode()
    assert encode(None) == b"data: null\n\n"
    assert encode(3) == b"data: 3\n\n"
    assert ServerSentEvent([1]).data == "[1]"
    identity = uuid.UUID(int=1)
    moment = datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC)
    assert encode([identity, moment, decimal.Decimal("1.5"), gettext_lazy("x")]) == (
        b'data: ["00000000-0000-0000-0000-000000000001", "2030-01-02T00:00:00Z", "1.5", "x"]\n\n'
    )


class Kind(str, enum.Enum):  # noqa: UP042
    UPDATED = "updated"


class Delay(int, enum.Enum):
    SLOW = 9000


def test_members_of_enums_are_their_values():
    event = ServerSentEvent(Kind.UPDATED, event=Kind.UPDATED, id=Kind.UPDATED, retry=Delay.SLOW, comment=Kind.UPDATED)
    assert encode(event) == b": updated\nretry: 9000\nevent: updated\nid: updated\ndata: updated\n\n"
    assert encode(Kind.UPDATED) == b"data: updated\n\n"


def test_lazy_text_is_text():
    assert encode(gettext_lazy("x")) == b"data: x\n\n"


def test_the_end():
    assert END_FRAME == b"event: end\nid: end\ndata: {}\n\n"


def test_events_are_values():
    event = ServerSentEvent("x", event="y")
    assert event == ServerSentEvent("x", event="y")
    assert hash(event) == hash(ServerSentEvent("x", event="y"))
    with pytest.raises(AttributeError):
        event.data = "other"


def test_huge_data_is_encoded_in_linear_time():
    def seconds(size):
        begin = time.perf_counter()
        encode("x\r" * size)
        return time.perf_counter() - begin

    def ratio():
        """One beside ten of a tenth, at the same time on the same machine."""
        return seconds(2_000_000) / sum(seconds(200_000) for _ in range(10))

    assert min(ratio() for _ in range(3)) < 5  # 1, if it is linear; 10, if it is quadratic
