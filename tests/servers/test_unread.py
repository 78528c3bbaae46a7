"""Clients that do not read, or that leave in a way that their server does not tell: each is noticed on every server."""

import json
import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.events
import pytest
import trustme

from tests.processes import ASGI_SERVERS, free_port, serve
from tests.waiting import wait_for

# Uvicorn's two protocols on both loops: what a paused connection still tells differs.
_UVICORN = ["-m", "uvicorn", "--port", "{port}", "{application}"]
SERVERS = {
    "uvicorn-httptools-uvloop": [*_UVICORN, "--http", "httptools", "--loop", "uvloop"],
    "uvicorn-httptools-asyncio": [*_UVICORN, "--http", "httptools", "--loop", "asyncio"],
    "uvicorn-h11-asyncio": [*_UVICORN, "--http", "h11", "--loop", "asyncio"],
    "hypercorn": None,
    "daphne": None,
    "granian": None,
}
TIMEOUT_SECONDS = 3


@pytest.fixture(params=SERVERS)
def server(request, server_folder, sqlite_file):
    settings = {"SEND_TIMEOUT_SECONDS": TIMEOUT_SECONDS, "HEARTBEAT_SECONDS": 1}
    command = SERVERS[request.param] and [sys.executable, *SERVERS[request.param]]
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": json.dumps(settings)}
    with serve(request.param, server_folder, command=command, environment=environment) as found:
        found.kind = request.param
        yield found


def connect(server, *requests, buffer=None):
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect(("127.0.0.1", server.port))
    for path in requests:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return client


def wait_for_streams(server, count):
    wait_for(lambda: server.state()["open"] == count, f"{count} streams")


@pytest.mark.parametrize("how", ["at once", "later", "much"])
def test_a_client_that_pipelines_and_leaves(server, how):
    """A second request stands behind the stream, and hides the end of the connection."""
    clients = []
    for _ in range(5):
        if how == "at once":
            clients.append(connect(server, "/silent/", "/"))
        else:
            client = connect(server, "/silent/")
            client.recv(1000)
            padding = "?" + "x" * 3000 if how == "much" else ""
            for _ in range(30 if how == "much" else 1):
                client.sendall(f"GET /{padding} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            clients.append(client)
    wait_for_streams(server, 5)
    for client in clients:
        client.close()
    wait_for_streams(server, 0)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("megabytes", [1, 6])
def test_a_client_that_reads_nothing_of_a_channel_that_is_quiet_afterwards(server, megabytes):
    """What waits for it is in the server or in the kernel; nothing else is ever written to it."""
    if server.kind == "granian":
        pytest.skip("Granian tells nobody what waits for a client: docs/howto-servers.md says so")
    client = connect(server, "/channels/?channel=quiet", buffer=4096)
    wait_for_streams(server, 1)
    for _ in range(megabytes):
        server.get("/send/?channel=quiet&data=x&padding=1000000")
    wait_for_streams(server, 0)
    client.close()
    assert "has not read for 3 s" in server.log


def test_a_slow_reader_is_not_cut(server):
    """It reads all the time, far slower than it is sent to."""
    if server.kind == "granian":
        pytest.skip("one write that takes longer than SEND_TIMEOUT_SECONDS is cut there")
    client = connect(server, "/channels/?channel=slow", buffer=65536)
    wait_for_streams(server, 1)
    for _ in range(3):
        server.get("/send/?channel=slow&data=x&padding=1000000")
    received, began = 0, time.monotonic()
    client.settimeout(20)
    while received < 3_000_000:
        piece = client.recv(60_000)
        assert piece, f"cut after {received} bytes and {time.monotonic() - began:.1f} s"
        received += len(piece)
        time.sleep(0.1)
    assert time.monotonic() - began > TIMEOUT_SECONDS
    client.close()
    wait_for_streams(server, 0)


class Http2Client:
    """A connection over TLS, whose streams are read without opening their windows."""

    def __init__(self, port):
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        assert self.socket.selected_alpn_protocol() == "h2"
        self.protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.protocol.initiate_connection()
        self.received = {}  # bytes, by stream
        self.reset = set()

    def get(self, path):
        stream = self.protocol.get_next_available_stream_id()
        headers = {":method": "GET", ":path": path, ":scheme": "https", ":authority": "127.0.0.1"}
        self.protocol.send_headers(stream, list(headers.items()), end_stream=True)
        self.socket.sendall(self.protocol.data_to_send())
        return stream

    def read(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.socket.settimeout(0.2)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            for event in self.protocol.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
                elif isinstance(event, h2.events.StreamReset):
                    self.reset.add(event.stream_id)
            self.socket.sendall(self.protocol.data_to_send())


def test_daphne_over_http2(server_folder, sqlite_file):
    """A stream that is not read is reset; other connections, their heartbeats and the timer go on."""
    settings = {"SEND_TIMEOUT_SECONDS": TIMEOUT_SECONDS, "HEARTBEAT_SECONDS": 1}
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": json.dumps(settings)}
    certificate = trustme.CA().issue_cert("127.0.0.1")
    key, chain = server_folder / "http2-key.pem", server_folder / "http2-chain.pem"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    port = free_port()
    endpoint = f"ssl:{port}:privateKey={key}:certKey={chain}:interface=127.0.0.1"
    command = [sys.executable, *ASGI_SERVERS["daphne"][:-1], "-e", endpoint, "{application}"]
    with serve("daphne", server_folder, command=command, environment=environment) as server:
        other, unread = Http2Client(port), Http2Client(port)
        silent, blocked = other.get("/silent/"), unread.get("/channels/?channel=http2")
        wait_for_streams(server, 2)
        server.get("/send/?channel=http2&data=x&padding=1000000")
        deadline = time.monotonic() + 40
        while blocked not in unread.reset and time.monotonic() < deadline:
            unread.read(0.5)
        assert blocked in unread.reset
        wait_for_streams(server, 1)
        before = len(other.received.get(silent, b""))
        other.read(3.5)
        assert other.received[silent][before:].count(b": hb") >= 2
        assert not other.reset
        assert "AttributeError" not in server.log
        for client in (other, unread):
            client.socket.close()
