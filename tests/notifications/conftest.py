"""Notifications in a database of each kind, in which nothing is at first but three users."""

import asyncio
import json

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import override_settings

from serversent.brokers import new_broker
from serversent.brokers.database import log
from tests.conftest import DATABASES

NAMES = ("ada", "grace", "hedy")


class Router:
    """Everything is in one database."""

    def __init__(self, alias):
        self._alias = alias

    def db_for_read(self, model, **hints):
        return self._alias

    db_for_write = db_for_read


@pytest.fixture(params=DATABASES)
def alias(request, database_alias, django_db_blocker):
    with django_db_blocker.unblock():
        alias = database_alias(request.param)
        broker = {"BACKEND": "serversent.brokers.database.DatabaseBroker", "OPTIONS": {"database": alias}}
        with override_settings(DATABASE_ROUTERS=[Router(alias)], SERVERSENT={"BROKERS": {"default": broker}}):
            others().delete()
            for table in ("outbox", "event", "channel", "log", "notifications_notification"):
                with connections[alias].cursor() as cursor:
                    cursor.execute(f"DELETE FROM serversent_{table}")
            log.head(connections[alias])
            yield alias
            others().delete()
            all_three()  # they are the servers', too
        connections[alias].close()


def others():
    return get_user_model().objects.exclude(username__in=NAMES)


def all_three():
    active = {"is_active": True}
    return [get_user_model().objects.update_or_create(active, username=name)[0] for name in NAMES]


@pytest.fixture
def users(alias):
    return all_three()


@pytest.fixture
def ada(users):
    return users[0]


@pytest.fixture
def sent(alias):
    """Return a function that says which events are in the log, as (channel, type, data)."""

    async def head():
        broker = new_broker("default")
        try:
            await broker.head()  # numbers what is committed
        finally:
            await broker.aclose()

    def events():
        asyncio.run(head())
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT channel, event, data FROM serversent_event ORDER BY id")
            return [(channel, kind, json.loads(data)) for channel, kind, data in cursor.fetchall()]

    return events
