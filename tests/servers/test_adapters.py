"""What reaches past ASGI, against uvicorn's own objects: a change in uvicorn that matters shows here."""

import asyncio
import functools

import pytest
from daphne.http_protocol import WebRequest
from hypercorn.protocol.http_stream import HTTPStream
from uvicorn.protocols.http import h11_impl, httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl

from serversent.servers.base import ServerAdapter
from serversent.servers.detect import adapter_for
from serversent.servers.uvicorn import uvicorn_cycle, write_all


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def started_cycle(*, headers=(), method="GET"):
    transport = Transport()
    cycle = httptools_impl.RequestResponseCycle(
        scope={"type": "http", "method": method, "path": "/", "http_version": "1.1", "headers": []},
        transport=transport,
        flow=FlowControl(transport),
        logger=None,
        access_logger=None,
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )
    return cycle, transport, {"type": "http.response.start", "status": 200, "headers": list(headers)}


@pytest.mark.parametrize("body", [b"a", b"data: 1\n\n", b"x" * 70_000])
async def test_a_direct_write_is_the_same_bytes_as_send(body):
    cycle, transport, start = started_cycle()
    await cycle.send(start)
    transport.written = b""
    await cycle.send({"type": "http.response.body", "body": body, "more_body": True})
    sent, transport.written = transport.written, b""
    assert write_all([adapter_for(cycle.send).fast_path], body) == []
    assert transport.written == sent != b""


async def refused(cycle, transport) -> bool:
    before = transport.written
    return write_all([cycle], b"data: 1\n\n") == [cycle] and transport.written == before


async def test_nothing_is_written_directly_where_send_would_do_otherwise():
    cycle, transport, start = started_cycle()
    assert adapter_for(cycle.send).fast_path is None, "no headers yet"
    await cycle.send(start)
    assert adapter_for(cycle.send).fast_path is cycle
    cycle.flow.pause_writing()
    assert await refused(cycle, transport), "the client does not read"
    cycle.flow.resume_writing()
    assert not await refused(cycle, transport)
    cycle.disconnected = True
    assert await refused(cycle, transport), "the client is gone"
    cycle.disconnected = False
    await cycle.send({"type": "http.response.body", "body": b""})
    assert await refused(cycle, transport), "the response is over"

    cycle, transport, start = started_cycle(headers=[(b"content-length", b"100")])
    await cycle.send(start)
    assert adapter_for(cycle.send).fast_path is None, "no chunks"


async def test_a_transport_that_fails_stops_no_other():
    cycles = []
    for _ in range(3):
        cycle, transport, start = started_cycle()
        await cycle.send(start)
        transport.written = b""
        cycles.append((cycle, transport))

    def fail(data):
        raise RuntimeError("the handler is closed")

    cycles[1][1].write = fail
    assert write_all([cycle for cycle, _ in cycles], b"data: 1\n\n") == [cycles[1][0]]
    assert cycles[0][1].written == cycles[2][1].written == b"9\r\ndata: 1\n\n\r\n"


async def test_only_a_send_of_uvicorns_own_is_passed_by():
    cycle, _, start = started_cycle()
    await cycle.send(start)

    async def middleware(message):
        await cycle.send(message)

    assert adapter_for(cycle.send).fast_path is cycle
    assert adapter_for(middleware).fast_path is None
    assert adapter_for(h11_impl.RequestResponseCycle.__new__(h11_impl.RequestResponseCycle).send).fast_path is None


def bare(cls):
    return cls.__new__(cls)


async def test_a_servers_own_send_needs_no_task():
    assert adapter_for(started_cycle()[0].send).supports_eager_send
    h11_cycle = bare(h11_impl.RequestResponseCycle)
    h11_cycle.transport = Transport()
    assert adapter_for(h11_cycle.send).supports_eager_send
    assert adapter_for(bare(HTTPStream).app_send).supports_eager_send
    assert not adapter_for(asyncio.Queue().put).supports_eager_send

    async def middleware(message):
        raise AssertionError

    assert not adapter_for(middleware).supports_eager_send


async def test_with_the_setting_off_there_is_nothing_but_asgi(settings):
    cycle, _, start = started_cycle()
    await cycle.send(start)
    settings.SERVERSENT = {"SERVER_SHORTCUTS": False}
    assert adapter_for(cycle.send).fast_path is None
    assert not adapter_for(cycle.send).supports_eager_send
    assert uvicorn_cycle(cycle.receive) is None
    request = bare(WebRequest)
    request.channel = object()
    send = functools.partial(lambda protocol, message: None, request)
    assert type(adapter_for(send)) is ServerAdapter


async def test_uvicorn_tells_of_the_disconnect_after_a_cancelled_receive():
    cycle, _, _ = started_cycle()
    cycle.more_body = False
    cycle.message_event.set()
    assert uvicorn_cycle(cycle.receive) is not None
    assert (await cycle.receive())["type"] == "http.request"
    receiving = asyncio.ensure_future(cycle.receive())
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.wait({receiving})
    cycle.disconnected = True
    cycle.message_event.set()
    async with asyncio.timeout(5):
        assert (await cycle.receive())["type"] == "http.disconnect"
