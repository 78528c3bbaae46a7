"""A client on a plain socket: every byte of the answer is seen, and the connection can be cut at any point."""

import json
import socket
import ssl
import struct
import time
import urllib.parse
from typing import Any

from serversent.event import EventParser, ReceivedEvent

from .waiting import DEADLINE_SECONDS

__all__ = ["Stream", "get", "request_bytes"]


def request_bytes(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Stream:
    """One open HTTP response."""

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        seconds: float = DEADLINE_SECONDS,
        receive_bytes: int | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        self.path = parts.path
        self._deadline_seconds = seconds
        self.socket = socket.socket()
        self.socket.settimeout(seconds)
        if receive_bytes is not None:  # it decides on the window, so it is set before connecting
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._buffer = b""
        self._method = method
        self.body = bytearray()
        self.chunks = 0
        self.ended = False  # properly: by the last chunk or the length
        self.closed = False  # by the server, in whatever way
        self.parser = EventParser()
        self._events: list[ReceivedEvent] = []
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            self.socket.connect((parts.hostname, parts.port or 80))
            if parts.scheme == "https":  # what its certificate says is not what these tests are about
                self.socket = ssl._create_unverified_context().wrap_socket(self.socket)
            self.socket.sendall(request_bytes(method, path, headers, body))
            self._read_head()
        except BaseException:
            self.socket.close()
            raise

    def _read_head(self) -> None:
        deadline = time.monotonic() + self._deadline_seconds
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive(deadline):
                raise ConnectionError(f"closed before the headers: {self._buffer!r}")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.headers: dict[str, str] = {}
        self.cookies: list[str] = []
        for line in lines:
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
            if name.lower() == "set-cookie":
                self.cookies.append(value)
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        length = self.headers.get("content-length")
        self._left = int(length) if length is not None else None
        if self._method == "HEAD" or self.status in (204, 304) or self._left == 0:
            self.ended = True
        self._decode()

    def _receive(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing more came; body so far: {self.body[-300:]!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise TimeoutError(f"nothing more came; body so far: {self.body[-300:]!r}") from None
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return False
        self._buffer += data
        return True

    def _decode(self) -> None:
        while not self.ended:
            if not self._chunked:
                piece, self._buffer = self._buffer, b""
                if self._left is not None:
                    self._left -= len(piece)
                    self.ended = self._left <= 0
                self._take(piece)
                return
            size, separator, rest = self._buffer.partition(b"\r\n")
            if not separator:
                return
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            self._buffer = rest[length + 2 :]
            if length == 0:
                self.ended = True
                return
            self.chunks += 1
            self._take(rest[:length])

    def _take(self, piece: bytes) -> None:
        self.body += piece
        self._events += self.parser.feed(piece)

    def _more(self, deadline: float) -> bool:
        """Read on; say whether anything can come still."""
        if self.ended or self.closed:
            return False
        alive = self._receive(deadline)
        self._decode()
        return alive

    def next(self) -> ReceivedEvent:
        deadline = time.monotonic() + self._deadline_seconds
        while not self._events:
            if not self._more(deadline):
                raise EOFError(f"the stream ended: {self.body[-300:]!r}")
        return self._events.pop(0)

    def take(self, count: int) -> list[ReceivedEvent]:
        return [self.next() for _ in range(count)]

    def wait_for_bytes(self, wanted: bytes) -> None:
        deadline = time.monotonic() + self._deadline_seconds
        while wanted not in self.body:
            if not self._more(deadline):
                raise EOFError(f"the stream ended without {wanted!r}: {self.body[-300:]!r}")

    def wait_for_size(self, size: int) -> None:
        deadline = time.monotonic() + self._deadline_seconds
        while len(self.body) < size:
            if not self._more(deadline):
                raise EOFError(f"the stream ended after {len(self.body)} bytes: {self.body[-300:]!r}")

    def read_to_end(self) -> bytearray:
        deadline = time.monotonic() + self._deadline_seconds
        while self._more(deadline):
            pass
        return self.body

    def json(self) -> Any:
        return json.loads(self.body or self.read_to_end())

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def get(url: str, **options: Any) -> Stream:
    """Return a whole answer."""
    with Stream(url, **options) as answer:
        answer.read_to_end()
    return answer
