"""Sending: what is refused, in words, and what belongs to which transaction."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test import override_settings

import serversent
from serversent import asend_event, asend_events, close_channel, send_event, send_events
from serversent.brokers.channel_names import check_channels
from serversent.channels.subscription import Subscription
from serversent.errors import (
    BrokerUnavailable,
    InvalidChannel,
    InvalidEvent,
    InvalidSubscription,
    UnknownBroker,
)
from serversent.models import Event


def logged():
    return list(Event.objects.order_by("id").values_list("channel", "event", "data"))


@pytest.mark.django_db(transaction=True)
class TestSending:
    def test_the_data(self):
        for data in ("text", {"a": 1}, None, 5, ["x"], ""):
            send_event("c", data)
        assert [data for _, _, data in logged()] == ["text", '{"a": 1}', "null", "5", '["x"]', ""]

    def test_several(self):
        send_events([("c", 1), ("d", "two", "kind"), {"channel": "e", "data": {"three": 3}}])
        send_events([])
        assert logged() == [("c", "message", "1"), ("d", "kind", "two"), ("e", "message", '{"three": 3}')]

    def test_several_are_all_or_none(self):
        with pytest.raises(InvalidChannel):
            send_events([("c", 1), ("no such name", 2)])
        assert logged() == []

    def test_more_than_one_statement_takes(self):
        send_events([("c", number) for number in range(1000)])
        assert [int(data) for _, _, data in logged()] == list(range(1000))

    async def test_async(self):
        await asend_event("c", 1, event="kind")
        await asend_events([("c", 2)])
        assert [event.data async for event in Event.objects.order_by("id")] == ["1", "2"]

    def test_a_rollback_takes_its_events_with_it_and_a_savepoint_too(self):
        with transaction.atomic():
            send_event("c", "before")
            with pytest.raises(ValueError), transaction.atomic():
                send_event("c", "in the savepoint")
                raise ValueError
            send_event("c", "after")
        with pytest.raises(ValueError), transaction.atomic():
            send_event("c", "in the transaction")
            raise ValueError
        assert [data for _, _, data in logged()] == ["before", "after"]

    def test_one_callback_for_a_transaction(self):
        with transaction.atomic():
            for number in range(5):
                send_event("c", number)
            assert len(connection.run_on_commit) == 1
            with pytest.raises(ValueError), transaction.atomic():
                send_event("c", "x")
                raise ValueError
            assert len(connection.run_on_commit) == 1

    def test_close(self):
        close_channel("c")
        assert logged() == [("c", "end", "{}")]

    def test_the_cursor(self):
        before = serversent.cursor()
        send_event("c", 1)
        after = serversent.cursor()
        assert after.epoch == before.epoch
        assert after.offset > before.offset


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ("", "the name is empty"),
        ("x" * 201, "1 to 200 characters"),
        ("a b", "1 to 200 characters"),
        ("a\n", "1 to 200 characters"),
        ("é", "1 to 200 characters"),
        ("a/b", "1 to 200 characters"),
        (5, "not int"),
        (None, "not NoneType"),
        (b"a", "not bytes"),
    ],
)
def test_names_that_are_none(channel, words):
    with pytest.raises(InvalidChannel, match=words):
        send_event(channel, "x")
    with pytest.raises(InvalidChannel, match=words):
        Subscription([channel])


@pytest.mark.parametrize(
    ("data", "event", "words"),
    [
        (object(), "message", "cannot be written as JSON"),
        (b"x", "message", "bytes"),
        (float("nan"), "message", "JSON"),
        ("\ud800", "message", "lone surrogate"),
        ("a\0b", "message", "NUL"),
        ("x", "a\nb", "CR, LF or NUL"),
        ("x", "ready", "reserved"),
        ("x", "end", "reserved"),
        ("x", "k" * 201, "200 characters"),
        ("x" * (10 * 1024 * 1024), "message", "MAX_EVENT_BYTES"),
        ("é" * 600_000, "message", "MAX_EVENT_BYTES"),
        (serversent.ServerSentEvent("x"), "message", "event="),
    ],
)
def test_events_that_are_refused(data, event, words):
    with pytest.raises(InvalidEvent, match=words):
        send_event("c", data, event=event)


@pytest.mark.parametrize("event", ["text", ("c",), ("c", 1, "kind", 2), {"channel": "c", "dta": 1}])
def test_shapes_of_several_that_are_refused(event):
    with pytest.raises(TypeError, match="an event to send"):
        send_events([event])


def test_an_unknown_broker():
    with pytest.raises(UnknownBroker, match="There are: default"):
        send_event("c", 1, using="nowhere")


@pytest.mark.django_db
def test_missing_tables_are_named_with_the_command_to_run():
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE serversent_event")
        with pytest.raises(BrokerUnavailable, match=r"run manage\.py migrate"):
            send_event("c", 1)
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": []}, "at least one"),
        ({"channels": [f"c{number}" for number in range(1000)]}, "MAX_CHANNELS"),
        ({"channels": "c", "start": "later"}, "now"),
        ({"channels": "c", "initial": 5}, "function"),
        ({"channels": "c", "expires": "soon"}, "seconds"),
        ({"channels": "c", "expires": True}, "seconds"),
    ],
)
def test_subscriptions_that_are_refused(arguments, words):
    with pytest.raises(InvalidSubscription, match=words):
        Subscription(**arguments)


def test_a_subscriptions_channels_are_a_set():
    assert check_channels(["a", "b", "a"]) == frozenset("ab")
    with override_settings(SERVERSENT={"MAX_CHANNELS": 1}), pytest.raises(InvalidSubscription):
        check_channels(["a", "b"])


@pytest.mark.parametrize(
    ("brokers", "words"),
    [
        ([], "must be a dict of the shape"),
        ({"default": "x"}, "must be a dict of the shape"),
        ({"default": {}}, "names no BACKEND"),
        ({"default": {"BACKEND": "x", "OPTION": 1}}, "unknown key 'OPTION'"),
    ],
)
def test_wrong_brokers(brokers, words):
    with override_settings(SERVERSENT={"BROKERS": brokers}), pytest.raises(ImproperlyConfigured, match=words):
        send_event("c", 1)
