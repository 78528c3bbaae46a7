"""Signal handlers of a process with several event loops. Servers that stop: tests/servers/test_drain.py."""

import asyncio
import gc
import os
import signal
import sys

import pytest

from serversent.servers.base import ServerAdapter
from serversent.serving import shutdown
from serversent.serving.shutdown import drain_on_stop


async def send(message):
    pass


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_one_handler_for_all_loops():
    """A test suite has thousands of loops, each with streams."""
    called = []
    signal.signal(signal.SIGINT, lambda *_: called.append("the server's"))

    async def stream():
        drain_on_stop(ServerAdapter(send))

    for _ in range(3000):
        asyncio.run(stream())
    signal.raise_signal(signal.SIGINT)
    assert called == ["the server's"]
    gc.collect()
    assert len(shutdown._loops) < 100, "loops that are over are not kept"


def test_a_server_that_puts_its_own_in_place_is_chained_again():
    called = []

    async def stream():
        drain_on_stop(ServerAdapter(send))

    for name in ("first", "second"):
        signal.signal(signal.SIGTERM, lambda *_, name=name: called.append(name))
        asyncio.run(stream())
        signal.raise_signal(signal.SIGTERM)
    assert called == ["first", "second"]


@pytest.mark.parametrize("streams", [0, 1])
def test_a_process_that_ends_while_it_drains_is_not_killed(streams, monkeypatch):
    """Where SIGTERM ends the process at once, it does so after the streams; but not in the middle of another end."""
    killed = []
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr("serversent.serving.shutdown.signal.raise_signal", killed.append)
    monkeypatch.setattr("serversent.serving.shutdown.connection_registry", lambda: Connections(streams))

    async def serve():
        drain_on_stop(ServerAdapter(send))
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert killed == [signal.SIGTERM] * (streams == 0)

    asyncio.run(serve())
    assert killed == [signal.SIGTERM] * (streams == 0)


class Connections(list):
    """A registry with streams that do not end."""

    def __init__(self, streams):
        super().__init__(range(streams))

    def drain(self):
        pass


@pytest.mark.parametrize("in_gunicorn", [False, True])
def test_only_gunicorns_sigquit_stops_uvicorn(in_gunicorn, monkeypatch):
    """To others it is what the project makes of it: a dump of all stacks, for instance."""
    stopped, called = [], []
    monkeypatch.setattr("serversent.serving.shutdown.UvicornServer.stop", lambda self: stopped.append(True))
    if in_gunicorn:
        monkeypatch.setitem(sys.modules, "gunicorn.arbiter", object())
    else:
        monkeypatch.delitem(sys.modules, "gunicorn.arbiter", raising=False)
    signal.signal(signal.SIGQUIT, lambda *_: called.append(True))

    async def stream():
        drain_on_stop(ServerAdapter(send))

    asyncio.run(stream())
    signal.raise_signal(signal.SIGQUIT)
    assert called == [True]
    assert stopped == [True] * in_gunicorn
