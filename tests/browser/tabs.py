"""What tests of several tabs share: who sends, and what all of them must have seen."""

import threading
from typing import Any
from urllib.parse import quote

from tests.processes import Server
from tests.waiting import wait_for

from .client import Listening, listen

__all__ = ["APPLICATION", "Publisher", "check_all", "connections", "listen_all", "send", "wait_for_one"]

APPLICATION = "tests.project.static_asgi:application"


def connections(server: Server, channel: str) -> int:
    return server.get(f"/connections/?channel={channel}").json()


def wait_for_one(server: Server, channel: str) -> None:
    wait_for(lambda: connections(server, channel) == 1, "one connection")


def send(server: Server, channel: str, *data: object) -> None:
    for each in data:
        assert server.get(f"/send/?channel={channel}&data={quote(str(each))}").status == 200


def listen_all(tabs: list[Any], url: str, **options: Any) -> list[Listening]:
    listening = [listen(tab, url, **options) for tab in tabs]
    for it in listening:
        it.wait_state("open")
    return listening


def check_all(listening: list[Listening], sent: list[str]) -> None:
    """Check that each, which listened before, has seen all that was sent: none lost, none doubled, in their order."""
    for it in listening:
        wait_for(lambda it=it: len(it.data) >= len(sent), f"all {len(sent)}")
        assert it.data == sent


class Publisher:
    """Sends numbers, one after another, until it is stopped."""

    def __init__(self, server: Server, channel: str, pause_seconds: float = 0.02) -> None:
        self.sent: list[str] = []
        self.server = server
        self._channel, self._pause_seconds = channel, pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(self._pause_seconds):
            send(self.server, self._channel, number)
            self.sent.append(str(number))
            number += 1

    def wait_more(self, count: int = 20) -> int:
        """Wait until so many more were sent; return how many there were before."""
        before = len(self.sent)
        wait_for(lambda: len(self.sent) > before + count, f"{count} more events")
        return before

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()
