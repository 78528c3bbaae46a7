"""Sessions that end without a logout: flushed, deleted, expired, or under another key since a login.

Django sends no signal then. So the sessions of open streams are looked up now and then, all of a process at once, on a
connection that is closed again.
"""

import random
from collections.abc import Collection
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.cache import SessionStore as CachedSessions
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.db import router
from django.utils import timezone

from ..conf import setting

__all__ = ["can_look", "ended_sessions", "is_kept_by_server"]


KEYS_PER_QUERY = 500

# Of a session engine that can be asked for one session at a time alone.
KEYS_PER_LOOK = 100


def can_look() -> bool:
    """Whether sessions can be looked up outside of a request: not where their place depends on it, as with tenants."""
    if setting("PREPARE_CONNECTIONS") is not None:
        return False
    cache = settings.CACHES.get(settings.SESSION_CACHE_ALIAS, {})
    return not (issubclass(_store(), CachedSessions) and cache.get("KEY_FUNCTION"))


def is_kept_by_server(session: Any) -> bool:
    """Whether a session is one of the project's engine, and can be looked up by its key."""
    return isinstance(session, _store()) and not isinstance(session, SignedCookies)


def ended_sessions(keys: Collection[str]) -> set[str]:
    """Return those of some session keys whose sessions have ended. Raises the errors of the session store."""
    store, names = _store(), list(keys)
    parts = [names[start : start + KEYS_PER_QUERY] for start in range(0, len(names), KEYS_PER_QUERY)]
    if hasattr(store, "get_model_class"):
        return {key for part in parts for key in _not_in_database(store.get_model_class(), part)}
    if issubclass(store, CachedSessions):
        return {key for part in parts for key in _not_in_cache(store(), part)}
    some = random.sample(names, min(KEYS_PER_LOOK, len(names)))
    return {key for key in some if not _is_alive(store(key))}


def _store() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore


def _is_alive(session: Any) -> bool:
    session.get("")  # loads it: one that has expired loses its key
    return session.session_key is not None


def _not_in_database(model: Any, keys: list[str]) -> set[str]:
    rows = model._default_manager.using(router.db_for_write(model))
    alive = rows.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return set(keys).difference(alive.values_list("session_key", flat=True))


def _not_in_cache(store: Any, keys: list[str]) -> set[str]:
    found = store._cache.get_many([store.cache_key_prefix + key for key in keys])
    return {key for key in keys if store.cache_key_prefix + key not in found}
