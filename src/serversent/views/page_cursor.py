"""The cursor at which a request began. The stream of a page begins there, because the queries of the page come later.

The head at the time when a template is rendered would be too late: events since the queries would be missed.
"""

import time
from collections.abc import MutableMapping
from typing import Any, NamedTuple

from django.core.signals import request_started
from django.http import HttpRequest

from ..brokers import broker
from ..brokers.database.committed import committed_offsets
from ..wire.cursor import Cursor

__all__ = ["connect", "page_cursor"]


_KEY = "serversent.began"


class _Began(NamedTuple):
    at: float  # as time.monotonic() counts
    committed: dict[str, int]


def connect() -> None:
    """Note of each request when it begins."""
    request_started.connect(_started, dispatch_uid="serversent")


def _started(
    scope: MutableMapping[str, Any] | None = None, environ: MutableMapping[str, Any] | None = None, **kwargs: Any
) -> None:
    carrier = environ if scope is None else scope
    if carrier is not None:
        carrier[_KEY] = _Began(time.monotonic(), committed_offsets())


def page_cursor(request: HttpRequest, using: str = "default") -> Cursor:
    """Return where the log stood when the request began, or a little before. It is asked once in a request."""
    kept: dict[str, Cursor] = request.__dict__.setdefault("_serversent_cursors", {})
    if using not in kept:
        carrier: Any = getattr(request, "scope", None) or getattr(request, "environ", {})
        began: _Began | None = carrier.get(_KEY)
        if began is None:  # a request that no server has made
            kept[using] = broker(using).cursor()
        else:
            kept[using] = broker(using).cursor_before(began.at, began.committed)
    return kept[using]
