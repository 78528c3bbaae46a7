"""A subscription: the channels that a view grants, and how their stream begins and when it ends."""

import datetime
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from django.conf import settings
from django.utils import timezone

from ..brokers.channel_names import check_channels
from ..errors import InvalidSubscription

__all__ = ["Start", "Subscription", "check_start"]


Start = Literal["now", "latest", "oldest"]
STARTS = get_args(Start)


@dataclass(frozen=True, slots=True, init=False)
class Subscription:
    """The channels that a view grants, and how their stream begins and when it ends::

        @channel_stream
        def room(request, pk):
            return Subscription(f"room-{pk}", initial=lambda: {"people": people_in(pk)}, expires=3600)


    ``channels``: a name or several. ``initial``: a function of no arguments, sync or async, that returns a value or
    yields values, as a generator view does: the state before the first event. It is called on a first connect and after
    each ``reset``, after the cursor was taken, so that no event is missing between the state and the events. ``start``:
    ``"now"``; ``"latest"`` to begin with the newest event of each channel; ``"oldest"`` to begin with all that is kept.
    ``expires``: when the stream ends and its client has to ask again, in seconds, as a ``timedelta`` or as an aware
    ``datetime``.

    ``control_events``: ``False`` for clients that take the data of every event for theirs (the AI SDK, AG-UI): they get
    no ``ready``, ``reset`` and ``end``. Ids alone tell their positions. When the stream is complete, the body ends;
    otherwise (a new deployment, its age) the connection is cut, so that they do not take a part for the whole.

    Raises ``InvalidChannel``, and ``InvalidSubscription`` for anything else that is wrong.
    """

    channels: frozenset[str]
    initial: Callable[[], Any] | None
    start: Start
    expires_at: float | None
    control_events: bool

    def __init__(
        self,
        channels: str | Iterable[str],
        *,
        initial: Callable[[], Any] | None = None,
        start: Start = "now",
        expires: float | datetime.timedelta | datetime.datetime | None = None,
        control_events: bool = True,
    ) -> None:
        if initial is not None and not callable(initial):
            raise InvalidSubscription("initial", f"must be a function without arguments, not {type(initial).__name__}")
        check_start(start)
        object.__setattr__(self, "channels", check_channels(channels))
        object.__setattr__(self, "initial", initial)
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "expires_at", _expires_at(expires))
        object.__setattr__(self, "control_events", bool(control_events))


def check_start(start: object) -> None:
    """Raise ``InvalidSubscription`` unless ``start`` is one of the three."""
    if start not in STARTS:
        raise InvalidSubscription("start", f'must be "now", "latest" or "oldest", not {start!r}')


def _expires_at(expires: object) -> float | None:
    """Return the time, as ``time.time()`` counts."""
    if expires is None:
        return None
    if isinstance(expires, datetime.datetime):
        if timezone.is_naive(expires):
            if settings.USE_TZ:
                raise InvalidSubscription("expires", "must be an aware datetime, as timezone.now() returns")
            expires = timezone.make_aware(expires)
        return expires.timestamp()
    if isinstance(expires, datetime.timedelta):
        return time.time() + expires.total_seconds()
    if isinstance(expires, (int, float)) and not isinstance(expires, bool):
        return time.time() + expires
    raise InvalidSubscription("expires", f"must be seconds, a timedelta or a datetime, not {type(expires).__name__}")
