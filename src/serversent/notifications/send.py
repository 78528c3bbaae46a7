"""Sending: the rows and their events in one transaction."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, overload
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models, router

from serversent.concurrency.sync_code import for_sync_code

from .changes import unread_counts
from .events import NOTIFICATION, STATE, channel_of
from .models import MAX_URL_CHARACTERS, AbstractNotification, check_level, notification_model, validate_url
from .publishing import alias_of, transaction_with_events

__all__ = ["asend_notification", "resend", "save_and_publish", "send_notification"]

# Rows in memory at once, with their events: three inserts of the broker's. Of long ones fewer: a server may refuse a
# statement of 16 MB.
BATCH = 900
BATCH_BYTES = 4_000_000
RESEND_BATCH = 100  # their texts are not known before


@overload
def send_notification(
    user_or_users: Iterable[Any], text: str, *, level: str | int = ..., url: str = ..., data: Any = ..., **fields: Any
) -> int: ...
@overload
def send_notification(
    user_or_users: Any, text: str, *, level: str | int = ..., url: str = ..., data: Any = ..., **fields: Any
) -> AbstractNotification: ...
@for_sync_code("asend_notification(...)")
def send_notification(
    user_or_users: Any, text: str, *, level: str | int = "info", url: str = "", data: Any = None, **fields: Any
) -> AbstractNotification | int:
    """Send a notification to a user, or to each of several; call it from anywhere.

    ``user_or_users``: a user, a primary key of one, a queryset of users, or an iterable of users or keys. Duplicates
    count once. ``level``: debug, info, success, warning or error, or a level of ``django.contrib.messages``. ``url``:
    where a click leads. ``data``: any value that JSON can carry. ``fields``: of a model of your own.

    The rows and their events are one transaction, also for many users: all of them get it, with the commit, or none.
    Many are sent in batches of 900, with six queries each (twelve on SQLite). Returns the notification, or for several
    users their number.

    Raises ``ValueError`` for a wrong ``level`` or ``url``, ``TypeError`` for what is no user, and what ``send_event``
    raises.
    """
    model = notification_model()
    values = {
        **fields,
        "text": _checked_text(text),
        "level": check_level(level),
        "url": _checked_url(url),
        "data": data,
    }
    if (key := _key(user_or_users)) is not None:
        return _send_one(model, key, values)
    if isinstance(user_or_users, (str, bytes, dict)) or not isinstance(user_or_users, Iterable):
        raise TypeError(
            f"send_notification() needs a user who is saved, or several, not {type(user_or_users).__name__}: "
            f"{user_or_users!r:.100}"
        )
    return _send_many(model, user_or_users, values)


async def asend_notification(
    user_or_users: Any, text: str, *, level: str | int = "info", url: str = "", data: Any = None, **fields: Any
) -> AbstractNotification | int:
    """``send_notification`` from async code."""
    send: Any = sync_to_async(send_notification)
    sent: AbstractNotification | int = await send(user_or_users, text, level=level, url=url, data=data, **fields)
    return sent


def resend(notifications: models.QuerySet[Any]) -> int:
    """Send notifications again, as if they were new: at once to users with an open page, to others on their next
    visit."""
    model, alias = notifications.model, alias_of(notifications)
    keys = list(notifications.using(alias).order_by("pk").values_list("pk", flat=True))
    with transaction_with_events(alias) as publish:
        for batch in _batches(keys, RESEND_BATCH):
            rows = model._base_manager.using(alias).filter(pk__in=batch)
            rows.update(sent_at=None)
            made = list(rows.order_by("pk"))
            publish(_events(made))
            # They count once, even if a page has shown them before.
            users = list(dict.fromkeys(each.user_id for each in made))
            unread = unread_counts(model, alias, users)
            publish([(channel_of(user), {"unread": unread.get(user, 0)}, STATE) for user in users])
    return len(keys)


def _send_one(model: type[AbstractNotification], key: Any, values: dict[str, Any]) -> AbstractNotification:
    notification = model(user_id=key, **values)
    save_and_publish(notification)
    return notification


def save_and_publish(notification: AbstractNotification) -> None:
    """Send a notification that was made by hand, and is not saved yet."""
    alias = router.db_for_write(type(notification))
    with transaction_with_events(alias) as publish:
        notification.save(using=alias, force_insert=True)
        publish(_events([notification]))


def _send_many(model: type[AbstractNotification], users: Iterable[Any], values: dict[str, Any]) -> int:
    alias = router.db_for_write(model)
    keys = list(_keys(users))  # before the transaction: on SQLite one that reads and then writes may fail for that
    with transaction_with_events(alias) as publish:
        for batch in _batches(keys, _batch_of(values)):
            rows = [model(user_id=key, **values) for key in batch]
            publish(_events(model._base_manager.using(alias).bulk_create(rows)))
    return len(keys)


def _events(notifications: Iterable[Any]) -> list[Any]:
    return [(channel_of(each.user_id), each.payload(), NOTIFICATION) for each in notifications]


def _key(user: Any) -> Any:
    """Return the primary key of one user; ``None`` if the argument is not one user."""
    if isinstance(user, get_user_model()):
        return user.pk
    return _in_one_spelling(user) if isinstance(user, (int, UUID)) and not isinstance(user, bool) else None


def _in_one_spelling(key: Any) -> Any:
    """Return a key as a user has it: their channel has it in its name. Raises ``TypeError``."""
    try:
        return get_user_model()._meta.pk.to_python(key)
    except ValidationError as error:
        raise TypeError(f"send_notification() needs users, and {key!r:.100} is no key of one") from error


def _keys(users: Iterable[Any]) -> Iterator[Any]:
    """Yield the primary keys of users, each once."""
    if isinstance(users, models.QuerySet) and issubclass(users.model, get_user_model()):
        if not (users.query.is_sliced or users.query.combinator):
            users = users.order_by("pk")  # a join may have one of them twice, and neighbours are found without a set
        for key, _ in groupby(users.values_list("pk", flat=True).iterator(chunk_size=2 * BATCH)):
            yield key
        return
    seen = set()
    for user in users:
        key = _in_one_spelling(user) if isinstance(user, str) else _key(user)
        if key is None:
            raise TypeError(f"send_notification() needs users who are saved, not {type(user).__name__}: {user!r:.100}")
        if key not in seen:
            seen.add(key)
            yield key


def _batches(keys: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _batch_of(values: dict[str, Any]) -> int:
    """Return how many notifications with these values are one batch."""
    size = sum(len(str(value).encode()) for value in values.values())
    return max(1, min(BATCH, BATCH_BYTES // size))


def _checked_text(text: Any) -> str:
    if "\0" in (checked := str(text)):
        raise ValueError("the text of a notification has a NUL, which cannot be stored by every database")
    return checked


def _checked_url(url: Any) -> str:
    text = str(url or "")
    if len(text) > MAX_URL_CHARACTERS:
        raise ValueError(f"the URL of a notification has {len(text)} characters, and may have {MAX_URL_CHARACTERS}")
    try:
        validate_url(text)
    except ValidationError as error:
        raise ValueError(f"{text!r:.200} cannot be the URL of a notification: {' '.join(error.messages)}") from error
    return text
