"""The log's tables. The broker reads and writes them in SQL; these classes make them and show them in the admin.

Publishing by plain SQL is supported: ``INSERT INTO serversent_outbox (channel, data) VALUES (...)``.
"""

from django.db import models
from django.db.models.functions import Now

__all__ = ["Channel", "Event", "Log", "OutboxEvent"]


class OutboxEvent(models.Model):
    """An event that is sent, and has no offset yet. On SQLite a trigger moves it into the log at once."""

    id = models.BigAutoField(primary_key=True)
    channel = models.CharField(max_length=200)
    event = models.CharField(max_length=200, db_default="message")
    data = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "serversent_outbox"
        verbose_name = "event in the outbox"
        verbose_name_plural = "events in the outbox"

    def __str__(self) -> str:
        return f"{self.channel}: {self.data:.60}"


class Event(models.Model):
    """An event in the log. ``id`` is its offset: one growing integer for the whole log, in commit order."""

    id = models.BigAutoField("offset", primary_key=True)
    channel = models.CharField(max_length=200)
    event = models.CharField("type", max_length=200, db_default="message")
    data = models.TextField()
    size = models.IntegerField("size in bytes", db_default=0)
    logged_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "serversent_event"
        indexes = [models.Index(fields=["channel", "id"], name="serversent_event_channel")]
        verbose_name = "event"

    def __str__(self) -> str:
        return f"{self.id} {self.channel}: {self.data:.60}"


class Channel(models.Model):
    """What was pruned from a channel: ``floor`` is the highest offset of its events that are gone."""

    channel = models.CharField(max_length=200, primary_key=True)
    floor = models.BigIntegerField()
    pruned_at = models.DateTimeField()

    class Meta:
        db_table = "serversent_channel"
        verbose_name = "pruned channel"

    def __str__(self) -> str:
        return self.channel


class Log(models.Model):
    """The one row about the log itself: its epoch, and what was pruned from it.

    ``floor``: as a channel's, for all channels whose own floors were folded into it. ``pruned``: the highest offset
    that was ever pruned, from whatever channel.
    """

    epoch = models.CharField(max_length=40)
    floor = models.BigIntegerField(default=0)
    pruned = models.BigIntegerField(default=0)

    class Meta:
        db_table = "serversent_log"

    def __str__(self) -> str:
        return self.epoch
