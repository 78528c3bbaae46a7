"""The log's tables. The broker reads and writes them in SQL; these classes make them and show them in the admin.

Publishing by plain SQL is supported: ``INSERT INTO serversent_outbox (channel, data) VALUES (...)``.
"""

from typing import Any

from django.db import models, router, transaction
from django.db.models.functions import Greatest, Now

__all__ = ["Channel", "Event", "Log", "OutboxEvent"]


class OutboxEvent(models.Model):
    """An event that is sent, and has no offset yet. On SQLite a trigger moves it into the log at once.

    ``place``: its place in the order of commits. PostgreSQL gives it during the commit; elsewhere it stays empty, and
    the order is that of ``id``.
    """

    id = models.BigAutoField(primary_key=True)
    channel = models.CharField(max_length=200)
    event = models.CharField(max_length=200, db_default="message")
    data = models.TextField()
    created_at = models.DateTimeField(db_default=Now())
    place = models.BigIntegerField(null=True, editable=False)

    class Meta:
        db_table = "serversent_outbox"
        verbose_name = "event in the outbox"
        verbose_name_plural = "events in the outbox"

    def __str__(self) -> str:
        return f"{self.channel}: {self.data:.60}"


class _EventQuerySet(models.QuerySet["Event"]):
    """Events of the log. Those that are deleted count as pruned, so that no reader takes the log for another."""

    def delete(self) -> tuple[int, dict[str, int]]:
        alias = self._db or router.db_for_write(self.model)  # type: ignore[attr-defined]
        with transaction.atomic(using=alias):
            newest = self.using(alias).order_by().values_list("channel").annotate(models.Max("pk"))
            floors: dict[str, int] = dict(newest)
            seen = self.using(alias).filter(pk__lte=max(floors.values(), default=0))  # others come meanwhile
            deleted = models.QuerySet.delete(seen)
            if floors:
                _raise_floors(alias, floors)
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


def _raise_floors(alias: str, floors: dict[str, int]) -> None:
    for name, floor in floors.items():
        channel, is_new = Channel.objects.using(alias).get_or_create(
            channel=name, defaults={"floor": floor, "pruned_at": Now()}
        )
        if not is_new:
            same = Channel.objects.using(alias).filter(pk=channel.pk)
            same.update(floor=Greatest("floor", models.Value(floor)), pruned_at=Now())
    newest = models.Value(max(floors.values()))
    Log.objects.using(alias).update(pruned=Greatest("pruned", newest))


class Event(models.Model):
    """An event in the log. ``id`` is its offset: one growing integer for the whole log, in commit order."""

    id = models.BigAutoField("offset", primary_key=True)
    channel = models.CharField(max_length=200)
    event = models.CharField("type", max_length=200, db_default="message")
    data = models.TextField()
    size = models.IntegerField("size in bytes", db_default=0)
    logged_at = models.DateTimeField(db_default=Now())

    objects = _EventQuerySet.as_manager()

    class Meta:
        db_table = "serversent_event"
        indexes = [models.Index(fields=["channel", "id"], name="serversent_event_channel")]
        verbose_name = "event"

    def __str__(self) -> str:
        return f"{self.id} {self.channel}: {self.data:.60}"

    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        alias = using or router.db_for_write(type(self), instance=self)
        return Event.objects.using(alias).filter(pk=self.pk).delete()


class Channel(models.Model):
    """A channel that was pruned. ``floor``: the highest offset of its pruned events."""

    channel = models.CharField(max_length=200, primary_key=True)
    floor = models.BigIntegerField()
    pruned_at = models.DateTimeField()

    class Meta:
        db_table = "serversent_channel"
        verbose_name = "pruned channel"

    def __str__(self) -> str:
        return self.channel


class Log(models.Model):
    """The one row about the log itself: its epoch, and how far it was pruned.

    ``floor``: as a channel's, for all channels whose own floors were folded into it. ``pruned``: the highest offset
    that was ever pruned, from whatever channel. ``server``: on MariaDB, the ``server_id`` of the server that numbers
    the events.
    """

    epoch = models.CharField(max_length=40)
    floor = models.BigIntegerField(default=0)
    pruned = models.BigIntegerField(default=0)
    server = models.BigIntegerField(null=True, editable=False)

    class Meta:
        db_table = "serversent_log"

    def __str__(self) -> str:
        return self.epoch
