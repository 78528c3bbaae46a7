"""Changes of sent notifications: read, unread, deleted. All open pages of their users get an event."""

import contextlib
import datetime
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.db import models, router
from django.utils import timezone

from .events import STATE, change, channel_of
from .publishing import alias_of, transaction_with_events

if TYPE_CHECKING:
    from .models import AbstractNotification

__all__ = ["delete", "mark", "prune", "publishing_change", "unread_counts"]

BATCH = 500

_Ids = Mapping[Any, Collection[int]]


def mark(queryset: models.QuerySet[Any], *, is_read: bool) -> int:
    """Mark all of a queryset as read or unread. Return how many were changed."""
    moment = timezone.now() if is_read else None
    rows = queryset.filter(read=not is_read)

    def change_batch(batch: models.QuerySet[Any]) -> int:
        return batch.filter(read=not is_read).update(read_at=moment)

    return sum(_in_batches(rows, "read" if is_read else "unread", change_batch))


def delete(queryset: models.QuerySet[Any]) -> tuple[int, dict[str, int]]:
    """Delete all of a queryset. Return the result of ``QuerySet.delete()``."""
    by_model: dict[str, int] = defaultdict(int)
    for _, deleted in _in_batches(queryset, "deleted", models.QuerySet.delete):
        for label, count in deleted.items():
            by_model[label] += count
    return sum(by_model.values()), dict(by_model)


def prune(model: type[models.Model], before: datetime.datetime, *, unread: bool = False) -> int:
    """Remove old notifications that were read; with ``unread``, the others, too. Each batch is a transaction."""
    old: models.QuerySet[Any] = model._base_manager.using(router.db_for_write(model)).filter(created_at__lt=before)
    removed = 0
    # Removing read notifications changes no number, so no event is sent.
    for rows, remove in ((old.filter(read=True), models.QuerySet.delete), *[(old, delete)] * unread):
        while keys := list(rows.order_by("created_at").values_list("pk", flat=True)[:BATCH]):
            remove(old.filter(pk__in=keys))
            removed += len(keys)
    return removed


def _in_batches(rows: models.QuerySet[Any], what: str, apply: Callable[[models.QuerySet[Any]], Any]) -> list[Any]:
    """Apply a change to all of a queryset in one transaction, with an event for each of their users."""
    model, alias = rows.model, alias_of(rows)
    # Before the transaction: on SQLite a transaction that reads and then writes may fail.
    found = list(rows.using(alias).order_by("pk").values_list("pk", "user_id"))
    done: list[Any] = []
    ids: dict[Any, list[int]] = defaultdict(list)
    for key, user in found:
        ids[user].append(key)
    with transaction_with_events(alias) as publish:
        for start in range(0, len(found), BATCH):
            keys = [key for key, _ in found[start : start + BATCH]]
            done.append(apply(model._base_manager.using(alias).filter(pk__in=keys)))
        _publish_change(publish, model, alias, what, ids)
    return done


@contextlib.contextmanager
def publishing_change(notification: "AbstractNotification", what: str, using: str | None) -> Iterator[None]:
    """Publish the change that the block makes to one notification, in one transaction with it."""
    alias = using or router.db_for_write(type(notification), instance=notification)
    ids = {notification.user_id: [notification.pk]}
    with transaction_with_events(alias) as publish:
        yield
        _publish_change(publish, type(notification), alias, what, ids)


def _publish_change(
    publish: Callable[[list[Any]], None], model: type[models.Model], alias: str, what: str, ids: _Ids
) -> None:
    users = list(ids)
    for start in range(0, len(users), BATCH):
        batch = users[start : start + BATCH]
        unread = unread_counts(model, alias, batch)
        publish([(channel_of(user), change(what, ids[user], unread.get(user, 0)), STATE) for user in batch])


def unread_counts(model: type[models.Model], alias: str, users: Collection[Any]) -> dict[Any, int]:
    """Return how many unread notifications users have, by their keys. Users without any are left out."""
    rows = model._base_manager.using(alias).filter(user__in=users, read=False).order_by()
    return dict(rows.values_list("user_id").annotate(models.Count("pk")))
