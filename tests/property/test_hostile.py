"""Whatever a client sends as a cursor, a token or a stream, the answer is one of those that are meant."""

import os
import string
import time
import urllib.parse
from typing import ClassVar

import pytest
from django.core import signing
from django.test import RequestFactory, override_settings
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from serversent import sse_url
from serversent.access.identity import Identity
from serversent.access.revocations import Revocation, Revocations, parse_revocation
from serversent.errors import EventTooLarge, StreamRefused
from serversent.event import EventParser
from serversent.views.request import last_event_id
from serversent.views.signed_urls import SALT, read_signed
from serversent.wire.cursor import MAX_OFFSET, Cursor

# About a minute for all of these in CI's main run.
fuzzed = settings(max_examples=int(os.environ.get("TEST_FUZZ_EXAMPLES", 4000)))

anything = st.text() | st.text("0123456789-abctm") | st.from_regex(r"[a-z0-9]{0,41}-[0-9]{0,21}", fullmatch=True)


@fuzzed
@given(anything)
@example("a-9223372036854775808")
@example("a-٣")
@example("a-1\n")
def test_a_cursor_is_one_or_none(text):
    found = Cursor.parse(text)
    if found is not None:
        assert str(found) == text
        assert 0 <= found.offset <= MAX_OFFSET
        assert found.epoch.isascii()


@fuzzed
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_of_a_header_or_a_query_are_a_cursor_or_none(header, query):
    headers = {"HTTP_LAST_EVENT_ID": header.decode("latin-1")} if header else {}
    request = RequestFactory().get("/?lastEventId=" + urllib.parse.quote(query), **headers)
    found = Cursor.parse(last_event_id(request))
    assert found is None or isinstance(found.offset, int)


@fuzzed
@given(st.lists(st.binary(max_size=200), max_size=30))
def test_the_parser_takes_any_bytes_within_its_bound(chunks):
    parser = EventParser(max_characters=500)
    try:
        for chunk in chunks:
            for event in parser.feed(chunk):
                assert len(event.data) <= 500
    except EventTooLarge:
        assert sum(map(len, chunks)) > 500


class _Session(dict):
    _session_cache: ClassVar = {}  # it is loaded
    session_key = "k" * 32


class _User:
    is_authenticated = True
    pk = 7


def a_request(path="/"):
    request = RequestFactory().get(path)
    request.user, request.session = _User(), _SESSION
    return request


_SESSION = _Session(_auth_user_id="7")


@pytest.fixture(scope="module", autouse=True)
def memory_broker():
    with override_settings(SERVERSENT={"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}):
        yield


def read(token):
    return read_signed(a_request("/?" + urllib.parse.urlencode({"token": token})))


def token_of(url):
    return urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["token"][0]


@pytest.fixture(scope="module")
def token(memory_broker):
    token = token_of(sse_url(a_request(), "order-5"))
    assert list(read(token).channels) == ["order-5"]
    return token


pieces = st.text(string.ascii_letters + string.digits + "-_:.=", max_size=3) | st.text(max_size=3)


@fuzzed
@given(position=st.integers(0, 1000), length=st.integers(0, 3), piece=pieces)
def test_a_token_that_was_changed_anywhere_grants_nothing(token, position, length, piece):
    position %= len(token)
    changed = token[:position] + piece + token[position + length :]
    assume(changed != token)
    with pytest.raises(StreamRefused):
        read(changed)


@fuzzed
@given(st.text() | st.text(string.ascii_letters + string.digits + "-_:.", max_size=200))
def test_a_token_that_was_made_up_grants_nothing(token):
    with pytest.raises(StreamRefused):
        read(token)


names = st.text(string.ascii_letters + string.digits + "-_.:@=", min_size=1, max_size=20)


@fuzzed
@given(st.lists(names, min_size=1, max_size=5), st.integers(-100, 100), st.sampled_from(["", "7", "8"]), st.booleans())
def test_a_token_grants_its_channels_to_its_user(channels, seconds, user, with_session):
    sessions = [_SESSION["_serversent"]] if with_session and "_serversent" in _SESSION else ["another"]
    said = {"channels": channels, "using": "default", "user": user, "sessions": sessions, "cursor": "", "at": "a-1"}
    token = signing.dumps({**said, "expires": time.time() + seconds}, salt=SALT, compress=True)
    if seconds > 0 and user in ("", "7") and sessions != ["another"]:
        assert list(read(token).channels) == channels
    else:
        with pytest.raises(StreamRefused):
            read(token)


# What is revoked: against the plainest model there is.

users = st.sampled_from(["", "1", "2"])
sessions = st.lists(st.sampled_from("st"), max_size=2, unique=True).map(tuple)
revocations = st.builds(
    Revocation,
    user=users,
    sessions=sessions,
    channel=st.sampled_from(["", "a", "b"]),
    session_ended=st.just(False),
    sent_at=st.just(0.0),
).filter(lambda found: found.user or found.sessions or found.channel)


@fuzzed
@given(
    st.lists(revocations, max_size=6), st.integers(0, 6), users, sessions, st.lists(st.sampled_from("abc"), unique=True)
)
def test_a_url_is_refused_if_and_only_if_something_later_means_it(taken_back, signed, user, sessions, channels):
    store = Revocations()
    for offset, each in enumerate(taken_back, start=1):
        assert parse_revocation(offset, each.data()) == each
        store.add(each, offset, "!revoked", time.time())
    identity = Identity(user, sessions, "", 0.0, Cursor("a", signed))
    expected = any(each.matches(identity, channels) for each in taken_back[signed:])
    assert store.rejects_url(identity, channels) == expected


@fuzzed
@given(st.text() | st.from_regex(r'\{"user": .{0,20}\}', fullmatch=True))
def test_invalid_revocations_are_ignored(text):
    assert parse_revocation(1, text) is None
