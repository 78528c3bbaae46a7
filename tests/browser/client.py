"""The page with the browser client, driven from Python."""

import json
from typing import Any

from tests.waiting import wait_for

__all__ = ["Listening", "open_client"]


class Listening:
    """What a page listens to, under one name."""

    def __init__(self, page: Any, name: str = "it") -> None:
        self._page, self._name = page, name

    def _get(self, what: str) -> Any:
        return self._page.evaluate(f"window.seen[{json.dumps(self._name)}].{what}")

    @property
    def events(self) -> list[list[str]]:
        """Type, data and id of each."""
        return self._get("events")

    @property
    def data(self) -> list[str]:
        return [event[1] for event in self.events]

    @property
    def states(self) -> list[str]:
        return [state for state, _ in self._get("states")]

    @property
    def own(self) -> list[str]:
        """The stream's own events, in their order."""
        return self._get("own")

    @property
    def why(self) -> str:
        return self._get("states.at(-1)[1]")

    @property
    def state(self) -> str:
        return self._get("stream.state")

    @property
    def cursor(self) -> str:
        return self._get("stream.cursor")

    def start(self) -> None:
        self._get("stream.start()")

    def stop(self) -> None:
        self._get("stream.stop()")

    @property
    def reads(self) -> bool:
        """Whether this page has a connection."""
        return self._page.evaluate("responses.size") > 0

    def wait_state(self, state: str, seconds: float = 20) -> None:
        wait_for(lambda: self.state == state, f"the state {state}", seconds)

    def wait_data(self, data: list[str], seconds: float = 20) -> None:
        wait_for(lambda: len(self.data) >= len(data), f"{len(data)} events", seconds)
        assert self.data == data


def listen(page: Any, url: str, name: str = "it", **options: Any) -> Listening:
    page.evaluate(f"listen({json.dumps(name)}, {json.dumps(url)}, {json.dumps(options)})")
    return Listening(page, name)


def open_client(page: Any, server_url: str, path: str = "/client/") -> None:
    page.goto(server_url + path)
    wait_for(lambda: page.evaluate("typeof window.listen === 'function'"), "the client")
