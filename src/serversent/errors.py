"""Every error of the package, in one tree.

ServerSentError
 +-- InvalidEvent (also ValueError)      an event that cannot be put on the wire
 +-- EventTooLarge                       a received event that outgrew the parser's bound
 +-- TooManySyncStreams                  the pool of threads for sync generators is full
 +-- AsyncStreamUnderWSGI                an async generator on a server that has no event loop
"""

__all__ = [
    "AsyncStreamUnderWSGI",
    "EventTooLarge",
    "InvalidEvent",
    "ServerSentError",
    "TooManySyncStreams",
]


class ServerSentError(Exception):
    """The base of every error that this package raises."""


class InvalidEvent(ServerSentError, ValueError):
    """An event that cannot be put on the wire. ``field`` names the part that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


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


class AsyncStreamUnderWSGI(ServerSentError):
    """An async generator stream was asked for on a WSGI server. ``view`` names it."""

    def __init__(self, view: str) -> None:
        super().__init__(
            f"{view} is an async generator stream, and this is a WSGI server, which has no event loop to run it. "
            "Serve the project with an ASGI server (daphne, uvicorn) and serversent.asgi.get_asgi_application(), "
            "or write the stream as a sync generator."
        )
        self.view = view
