"""The public API as a typed program sees it. Checked by mypy, and never run."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, assert_type

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

from serversent import EventStreamResponse, ServerSentEvent, Subscription, channel_stream, event_stream, sse_url
from serversent.asgi import ASGIHandler, get_asgi_application
from serversent.event import EventParser, ReceivedEvent


@event_stream
async def clock(request: HttpRequest) -> AsyncGenerator[str]:
    yield "now"


@event_stream(methods=["POST"], hold_connection=True, restart=True)
def rows(request: HttpRequest, pk: int) -> Generator[ServerSentEvent | dict[str, Any]]:
    yield ServerSentEvent({"pk": pk}, event="row", id="1", retry=1000, comment="c")
    yield {"pk": pk}


@channel_stream
def order(request: HttpRequest, pk: int) -> str:
    return f"order-{pk}"


@channel_stream(using="other")
async def orders(request: HttpRequest) -> Subscription:
    return Subscription("orders", start="latest")


async def calls(request: HttpRequest) -> None:
    """The decorators keep the parameters of a view."""
    assert_type(rows(request, pk=1), HttpResponseBase)
    assert_type(order(request, 1), HttpResponseBase)
    assert_type(await clock(request), HttpResponseBase)
    assert_type(await orders(request), HttpResponseBase)
    rows(request, "1")  # type: ignore[arg-type]
    order(request)  # type: ignore[call-arg]
    Subscription("orders", start="newest")  # type: ignore[arg-type]
    sse_url(request, "orders", start="first")  # type: ignore[arg-type]


def other(request: HttpRequest) -> HttpResponse | EventStreamResponse:
    return EventStreamResponse(iter(["x"]))


urlpatterns = [path("clock/", clock), path("rows/<int:pk>/", rows), path("other/", other)]

assert_type(get_asgi_application(), ASGIHandler)
assert_type(ServerSentEvent("x").data, str | None)
assert_type(EventParser().feed(b""), list[ReceivedEvent])
