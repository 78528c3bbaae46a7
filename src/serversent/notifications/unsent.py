"""The initial state of a stream of notifications: the number of unread ones, and the unsent ones.

A notification and its event are committed together, so that one statement sees both or neither. Events after the cursor
are delivered anyway: their notifications are left out here, and counted when they arrive.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db import models, router
from django.db.models import Case, Count, Value, When

from serversent.brokers import broker
from serversent.event import ServerSentEvent
from serversent.models import Event, OutboxEvent
from serversent.serving.initial_state import StateAt
from serversent.wire.cursor import Cursor

from .events import NOTIFICATION, STATE, channel_of, key_of
from .models import AbstractNotification, notification_model
from .publishing import has_log

__all__ = ["Unsent"]

# Notifications that are in memory at once.
BATCH = 500

_COUNT, _UNSENT_READ, _UNSENT_UNREAD, _LOGGED = range(4)


class _State(NamedTuple):
    """``unread``: the number of unread notifications, without those that will arrive through the log. ``keys``: of the
    unsent notifications, the oldest first."""

    unread: int
    keys: list[int]


class Unsent:
    """The initial state of a user's stream."""

    def __init__(self, user_key: Any) -> None:
        self._user_key = user_key
        self._known: tuple[Cursor, _State, list[ServerSentEvent]] | None = None

    def read_now(self) -> Cursor:
        """Ask on the request's own connection, and return where the stream has to begin then."""
        cursor = broker().cursor()
        state = _read(self._user_key, cursor)
        self._known = cursor, state, list(_events(state.keys[:BATCH]))
        return cursor

    def initial(self) -> StateAt:
        return StateAt(self._values)

    async def _values(self, cursor: Cursor) -> AsyncIterator[ServerSentEvent]:
        known, self._known = self._known, None
        if known is None or known[0] != cursor:  # the log is another since, or has lost what a client missed
            state = await sync_to_async(_read)(self._user_key, cursor)
            known = cursor, state, await _alist(state.keys[:BATCH])
        _, state, first = known
        yield ServerSentEvent({"unread": state.unread}, event=STATE)
        for event in first:
            yield event
        for start in range(BATCH, len(state.keys), BATCH):
            for event in await _alist(state.keys[start : start + BATCH]):
                yield event


def _read(user_key: Any, cursor: Cursor) -> _State:
    model = notification_model()
    alias = router.db_for_write(model)  # a replica may not have it yet
    parts = [*_rows(model, alias, user_key), *_logged(alias, channel_of(user_key), cursor)]
    counts, unsent, logged = 0, {}, set[int | None]()
    for kind, number, data in parts[0].union(*parts[1:], all=True):
        if kind == _COUNT:
            counts = number
        elif kind == _LOGGED:
            logged.add(key_of(data))
        else:
            unsent[number] = kind == _UNSENT_UNREAD
    logged.discard(None)
    keys = sorted(unsent.keys() - logged)
    # Notifications that will arrive through the log are counted by the page when they arrive.
    return _State(max(0, counts - sum(unsent[key] for key in keys) - len(logged)), keys)


def _rows(model: type[AbstractNotification], alias: str, user_key: Any) -> Iterator[Any]:
    mine = model._base_manager.using(alias).filter(user=user_key).order_by()
    unread = mine.filter(read=False).values("user").annotate(number=Count("pk"))
    yield unread.values_list(Value(_COUNT), "number", Value(""))
    is_unread = Case(When(read=False, then=_UNSENT_UNREAD), default=_UNSENT_READ)
    yield mine.filter(sent=False).values_list(is_unread, "pk", Value(""))


def _logged(alias: str, channel: str, cursor: Cursor) -> Iterator[Any]:
    """Yield querysets of the events after a cursor, where they are in the same database as the notifications."""
    if not has_log(alias):
        return
    after = Event.objects.filter(id__gt=cursor.offset)
    for events in (after, OutboxEvent.objects.all()):  # the outbox: committed events without an offset
        ours = events.using(alias).filter(channel=channel, event=NOTIFICATION).order_by()
        yield ours.values_list(Value(_LOGGED), "pk", "data")


def _events(keys: list[int]) -> Iterator[ServerSentEvent]:
    model = notification_model()
    rows: models.QuerySet[Any] = model._base_manager.using(router.db_for_write(model)).filter(pk__in=keys)
    for notification in rows.order_by("pk"):
        yield ServerSentEvent(notification.payload(), event=NOTIFICATION)


async def _alist(keys: list[int]) -> list[ServerSentEvent]:
    events: list[ServerSentEvent] = await sync_to_async(lambda: list(_events(keys)))()
    return events
