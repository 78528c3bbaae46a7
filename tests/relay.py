"""A TCP relay between a client and a server, to cut connections where neither has a hand in it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

__all__ = ["Relay", "relay"]


class Relay:
    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.accepted = 0
        self._refusing = False
        self._swallowing: set[socket.socket] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refusing:
                    client.close()
                    continue
                self.accepted += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((client, server))
                for source, sink in ((client, server), (server, client)):
                    self._start(self._pump, source, sink)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with source:  # the other direction's thread closes the other end
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    self._flowing.wait()
                    if source not in self._swallowing:
                        sink.sendall(data)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Pass nothing on, until ``thaw`` or ``cut``: each end takes the other for silent."""
        self._flowing.clear()

    def swallow(self) -> None:
        """Take what is sent on the connections there are, and lose it: neither end is told. New ones go through."""
        self._swallowing.update(end for pair in self._pairs for end in pair)

    def thaw(self) -> None:
        self._flowing.set()

    def cut(self, *, refuse: bool = False) -> None:
        """Cut every connection; with ``refuse``, and each new one, until ``mend``."""
        self._refusing = refuse
        pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._flowing.set()  # at last: what was held back is lost with its connection

    def mend(self) -> None:
        self._refusing = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(20)


@contextlib.contextmanager
def relay(port: int) -> Iterator[Relay]:
    made = Relay(port)
    try:
        yield made
    finally:
        made.close()
