"""Events and their wire format, for projects that read or write event streams themselves."""

from .wire.event import ServerSentEvent
from .wire.frames import encode
from .wire.parser import EventParser, ReceivedEvent

__all__ = ["EventParser", "ReceivedEvent", "ServerSentEvent", "encode"]
