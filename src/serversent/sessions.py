"""Sessions that end without a logout: flushed, deleted, expired, or under another key since a login.

Django sends no signal then. So the sessions of open streams are looked up now and then, all of a process at once, on a
connection that is closed again.
"""

from collections.abc import Collection
from importlib import import_module
from typing import Any

from django.conf import settings
from django.db import router
from django.utils import timezone

__all__ = ["ended_sessions"]

KEYS_PER_QUERY = 500

# Of a session engine that can be asked for one session at a time alone.
KEYS_PER_LOOK = 100


def ended_sessions(keys: Collection[str]) -> set[str]:
    """Return those of some session keys whose sessions are over. Raises what the store raises."""
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    names = list(keys)
    if hasattr(store, "get_model_class"):
        parts = (names[start : start + KEYS_PER_QUERY] for start in range(0, len(names), KEYS_PER_QUERY))
        return {key for part in parts for key in _not_in_database(store.get_model_class(), part)}
    if hasattr(store, "cache_key_prefix"):
        return _not_in_cache(store(), names)
    return {key for key in names[:KEYS_PER_LOOK] if not store().exists(key)}


def _not_in_database(model: Any, keys: list[str]) -> set[str]:
    rows = model._default_manager.using(router.db_for_write(model))
    alive = rows.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return set(keys).difference(alive.values_list("session_key", flat=True))


def _not_in_cache(store: Any, keys: list[str]) -> set[str]:
    found = store._cache.get_many([store.cache_key_prefix + key for key in keys])
    return {key for key in keys if store.cache_key_prefix + key not in found}
