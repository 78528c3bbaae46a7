"""Streams in views of Django REST Framework."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from rest_framework.renderers import BaseRenderer, JSONRenderer  # type: ignore[import-untyped]

import serversent

__all__ = ["EventStreamRenderer", "channel_stream", "event_stream"]

View = Callable[..., Any]


class EventStreamRenderer(BaseRenderer):  # type: ignore[misc]
    """Lets a view of Django REST Framework answer ``Accept: text/event-stream``, which every ``EventSource`` sends.

    Django REST Framework answers 406 unless a renderer of the view has the type that is asked for. The view returns the
    stream itself. This renderer renders the errors, as JSON::

        class Clock(APIView):
            renderer_classes = [EventStreamRenderer]

            @event_stream
            def get(self, request):
                yield timezone.now().isoformat()
    """

    media_type = "text/event-stream"
    format = "event-stream"
    charset = None  # a stream is always UTF-8

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return ``data`` as JSON, and set the content type of the response."""
        response = (renderer_context or {}).get("response")
        if response is not None:
            response["Content-Type"] = JSONRenderer.media_type
        rendered: bytes = JSONRenderer().render(data, JSONRenderer.media_type, renderer_context)
        return rendered


def event_stream(view: View | None = None, **options: Any) -> Any:
    """``serversent.event_stream`` for views of Django REST Framework, which calls them all from sync code.

    It is needed for async generators alone; for the views of adrf, which awaits them, it is not to be used.
    """
    return _called_from_sync_code(serversent.event_stream, view, options)


def channel_stream(view: View | None = None, **options: Any) -> Any:
    """``serversent.channel_stream`` likewise, for async views."""
    return _called_from_sync_code(serversent.channel_stream, view, options)


def _called_from_sync_code(decorator: Callable[..., Any], view: View | None, options: dict[str, Any]) -> Any:
    def decorate(view: View) -> View:
        decorated = decorator(**options)(view) if options else decorator(view)
        if not iscoroutinefunction(decorated):
            return decorated  # type: ignore[no-any-return]

        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return async_to_sync(decorated)(*args, **kwargs)

        wrapper._non_atomic_requests = decorated._non_atomic_requests  # type: ignore[attr-defined]
        return wrapper

    return decorate if view is None else decorate(view)
