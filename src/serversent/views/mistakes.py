"""Common mistakes in a project's code, answered with the line to write instead."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from django.http.response import HttpResponseBase
from django.template import TemplateSyntaxError

from ..concurrency.callables import name_of

__all__ = ["check_is_response", "check_is_view", "explain_missing_tags"]


_MISSING_LIBRARY = re.compile(r"'(serversent\w*)' is not a registered tag library")
_MISSING_TAG = re.compile(r"Invalid block tag on line \d+: '(sse_\w+|event_stream|notification_\w+)'")


def explain_missing_tags(error: BaseException) -> None:
    """Add a note to the error of a template that has not loaded the tags: the line to write."""
    if not isinstance(error, TemplateSyntaxError):
        return
    if found := _MISSING_LIBRARY.search(str(error)):
        app = "serversent.notifications" if found[1].endswith("notifications") else "serversent"
        error.add_note(f'Put "{app}" into INSTALLED_APPS, and run manage.py migrate.')
    elif found := _MISSING_TAG.search(str(error)):
        library = "serversent_notifications" if found[1].startswith("notification") else "serversent"
        error.add_note(f"Write {{% load {library} %}} at the top of this template; each template loads its own tags.")


def check_is_view(decorator: str, view: object) -> None:
    """Raise ``TypeError`` for a decorator that was given something else than the view below it."""
    if view is None or callable(view):
        return
    instead = "yield it in" if decorator == "event_stream" else "return the names of the channels from"
    raise TypeError(f"@{decorator} was given {view!r}. Write @{decorator} alone above the view, and {instead} it.")


def check_is_response(view: Callable[..., Any], result: object) -> None:
    """Raise ``TypeError`` for the result of a view that lacks its decorator."""
    if result is None or isinstance(result, HttpResponseBase) or inspect.iscoroutine(result):  # of these Django tells
        return
    name = name_of(view)
    if inspect.isasyncgen(result) or inspect.isgenerator(result):
        raise TypeError(
            f"{name} is a generator without a decorator. Write @event_stream directly above its def "
            "(from serversent import event_stream)."
        )
    raise TypeError(
        f"{name} returned {type(result).__name__}, and not a response. If it names the channels of a stream, write "
        "@channel_stream directly above its def (from serversent import channel_stream)."
    )
