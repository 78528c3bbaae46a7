"""The public API as a typed program sees it. Checked by mypy, and never run."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, assert_type

from django.http import HttpRequest, HttpResponse
from django.urls import path

from serversent import EventStreamResponse, ServerSentEvent, event_stream
from serversent.asgi import ASGIHandler, get_asgi_application
from serversent.event import EventParser, ReceivedEvent


@event_stream
async def clock(request: HttpRequest) -> AsyncGenerator[str]:
    yield "now"


@event_stream(methods=["POST"], hold_connection=True, restart=True)
def rows(request: HttpRequest, pk: int) -> Generator[ServerSentEvent | dict[str, Any]]:
    yield ServerSentEvent({"pk": pk}, event="row", id="1", retry=1000, comment="c")
    yield {"pk": pk}


def other(request: HttpRequest) -> HttpResponse | EventStreamResponse:
    return EventStreamResponse(iter(["x"]))


urlpatterns = [path("clock/", clock), path("rows/<int:pk>/", rows), path("other/", other)]

assert_type(get_asgi_application(), ASGIHandler)
assert_type(ServerSentEvent("x").data, str | None)
assert_type(EventParser().feed(b""), list[ReceivedEvent])
