"""Every error of the package, in one tree.

ServerSentError
 +-- InvalidEvent (also ValueError)      an event that cannot be put on the wire
 +-- InvalidChannel (also ValueError)    a name that no channel can have
 +-- InvalidSubscription (also ValueError)   a subscription that cannot be served
 |    +-- TooManyChannels                of more channels than the settings allow
 +-- StreamRefused                       a stream that may not be opened now: a limit, or a revoked grant
 +-- InvalidSetup (also TypeError)       PREPARE_CONNECTIONS returned a value that is no function
 +-- UnknownBroker                       an alias that SERVERSENT["BROKERS"] does not have
 +-- BrokerUnavailable                   the broker's database or server cannot be used now
 +-- CursorExpired                       events after a cursor were pruned
 +-- EventTooLarge                       a received event that outgrew the parser's bound
 +-- TooManySyncStreams                  the pool of threads for sync generators is full
 +-- AsyncStreamUnderWSGI                an async generator on a server that has no event loop
"""

from collections.abc import Iterable

__all__ = [
    "AsyncStreamUnderWSGI",
    "BrokerUnavailable",
    "CursorExpired",
    "EventTooLarge",
    "InvalidChannel",
    "InvalidEvent",
    "InvalidSetup",
    "InvalidSubscription",
    "ServerSentError",
    "StreamRefused",
    "TooManyChannels",
    "TooManySyncStreams",
    "UnknownBroker",
]


class ServerSentError(Exception):
    """The base of every error that this package raises."""


class InvalidEvent(ServerSentError, ValueError):
    """An event that cannot be put on the wire. ``field`` names the part that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class InvalidChannel(ServerSentError, ValueError):
    """A name that no channel can have. ``channel``: the name."""

    def __init__(self, channel: object, problem: str) -> None:
        super().__init__(f"{channel!r:.250} is no channel: {problem}")
        self.channel = channel


class InvalidSubscription(ServerSentError, ValueError):
    """A subscription that cannot be served. ``field`` names the part that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class TooManyChannels(InvalidSubscription):
    """A subscription of more than ``limit`` channels."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__("channels", f'{count} are more than SERVERSENT["MAX_CHANNELS"] allows, which is {limit}')
        self.limit = limit


WRONG_USER = "This page is another user's. Reload it."


class StreamRefused(ServerSentError):
    """A stream that may not be opened now. ``status`` is that of the answer, the text is for its client."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class InvalidSetup(ServerSentError, TypeError):
    """The function in ``SERVERSENT["PREPARE_CONNECTIONS"]`` has returned a value that cannot be called."""

    def __init__(self, path: str, returned: object) -> None:
        super().__init__(
            f'SERVERSENT["PREPARE_CONNECTIONS"]: {path} returned {returned!r:.100}; it takes the request, and returns '
            "a function without arguments that prepares the connections of a thread, or None"
        )


class UnknownBroker(ServerSentError):
    """``alias`` is not among the brokers of the settings."""

    def __init__(self, alias: str, known: Iterable[str]) -> None:
        super().__init__(
            f'There is no broker {alias!r} in SERVERSENT["BROKERS"]. There are: {", ".join(sorted(known))}'
        )
        self.alias = alias


class BrokerUnavailable(ServerSentError):
    """The broker ``alias`` cannot be used now. The cause is chained."""

    def __init__(self, alias: str, problem: object) -> None:
        super().__init__(f"The broker {alias!r} cannot be used: {problem}")
        self.alias = alias


class CursorExpired(ServerSentError):
    """Events of a channel after offset ``after`` are gone: ``floor`` is the highest offset that was pruned."""

    def __init__(self, after: int, floor: int) -> None:
        super().__init__(f"events after offset {after} were pruned, up to {floor}")
        self.after = after
        self.floor = floor


class EventTooLarge(ServerSentError):
    """A received event is larger than the parser's bound of ``limit`` characters."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the event is larger than {limit} characters; raise max_characters if that is meant")
        self.limit = limit


class TooManySyncStreams(ServerSentError):
    """All ``limit`` threads for sync generators are taken."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} sync generator streams are open, one thread each. Raise "
            f'SERVERSENT["MAX_SYNC_STREAMS"], or write the stream as an async generator: it needs no thread.'
        )
        self.limit = limit


_UNDER_WSGI = (
    "and this is a WSGI server, which has no event loop to run it. Serve the project with an ASGI server (daphne, "
    "uvicorn) and serversent.asgi.get_asgi_application(), or write the stream as a sync generator."
)
_IN_TEST = """which django.test.Client cannot read. In a test, write

    from serversent.testing import open_stream

    with open_stream(self.client, url) as stream:
        event = stream.next()
"""


class AsyncStreamUnderWSGI(ServerSentError):
    """An async generator stream was asked for on a WSGI server. ``view`` names it."""

    def __init__(self, view: str, *, in_test: bool = False) -> None:
        problem = _IN_TEST if in_test else _UNDER_WSGI
        super().__init__(f"{view} is an async generator stream, {problem}")
        self.view = view
