"""``start="oldest"``, and the defaults of the contract: a busy channel was pruned beside a quiet one."""

import pytest
from django.test import override_settings

from serversent import Subscription
from serversent.brokers import Broker, OutgoingEvent
from tests.channel_client import Client

from .test_contract import in_thread, texts

QUIET = [OutgoingEvent("quiet", "message", f"quiet {number}" + "x" * 600) for number in range(900)]
BUSY = [OutgoingEvent("busy", "message", f"busy {number}") for number in range(1100)]


@pytest.fixture(autouse=True)
async def pruned_log(kind, make_broker):
    """The events of the quiet channel fill more than a page, and the floor of the busy one is above all of them."""
    broker = make_broker()
    configured = {"BACKEND": f"{type(broker).__module__}.{type(broker).__name__}", "OPTIONS": dict(broker.options)}
    with override_settings(SERVERSENT={"BROKERS": {broker.alias: configured}}):
        await in_thread(broker.append, QUIET + BUSY)
        await in_thread(broker.prune, 86_400, 1000)
        yield broker
    await broker.aclose()


async def test_every_event_that_is_kept_is_sent_once(pruned_log):
    subscription = Subscription(["quiet", "busy"], start="oldest")
    async with Client(subscription, using=pruned_log.alias) as client:
        await client.take(1 + len(QUIET) + 1000)
        await in_thread(pruned_log.append, [OutgoingEvent("quiet", "message", "new")])
        events = await client.take(2 + len(QUIET) + 1000)
    assert events[0].event == "ready"
    assert [event.data for event in events[1:]] == [event.data for event in [*QUIET, *BUSY[100:]]] + ["new"]


async def test_the_defaults_read_each_channel_by_itself(pruned_log):
    end = (await pruned_log.head()).offset
    batch = await Broker.latest(pruned_log, ["quiet", "busy", "nobody"], end)
    assert texts(batch.events) == [QUIET[-1].data, BUSY[-1].data]
    await in_thread(pruned_log.append, [OutgoingEvent("quiet", "end", "")])
    end = (await pruned_log.head()).offset
    assert await Broker.closed(pruned_log, ["quiet", "busy", "nobody"], end) == {"quiet"}
