"""The only reader of ``settings.SERVERSENT``."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

__all__ = ["SETTINGS", "broker_settings", "problems", "setting"]


class Setting(NamedTuple):
    """A key of the dict: its default, and the smallest and largest value allowed. Whole numbers if ``whole``.

    ``True`` or ``False`` where the default is. ``None`` if ``may_be_none``; a dotted path if ``is_path``.
    """

    default: float | str | None
    minimum: float = 0
    maximum: float = 1
    whole: bool = False
    may_be_none: bool = False
    is_path: bool = False


SETTINGS = {
    # Proxies and mobile networks cut what was silent for 30 to 60 s.
    "HEARTBEAT_SECONDS": Setting(15, 0.1, 3600),
    "RETRY_MILLISECONDS": Setting(3000, 500, 2**31 - 1, whole=True),
    # How long a stream may take to end when its server stops, or when its client has left.
    "DRAIN_SECONDS": Setting(5, 0.1, 600),
    # Streams of sync generators open at once, one thread each.
    "MAX_SYNC_STREAMS": Setting(100, 0, 100_000, whole=True),
    # The data of one sent event, in bytes.
    "MAX_EVENT_BYTES": Setting(1024 * 1024, 1, 100 * 1024 * 1024, whole=True),
    # The channels of one subscription.
    "MAX_CHANNELS": Setting(100, 1, 500, whole=True),
    # The newest events that a process keeps in memory, in bytes: reconnects are served from there.
    "REPLAY_BYTES": Setting(2 * 1024 * 1024, 0, 10 * 1024**3, whole=True),
    # Streams open at once, in one process; None: as many as come. Of one user, and of one address.
    "MAX_CONNECTIONS": Setting(None, 0, 1_000_000, whole=True, may_be_none=True),
    "MAX_CONNECTIONS_PER_USER": Setting(None, 1, 1_000_000, whole=True, may_be_none=True),
    "MAX_CONNECTIONS_PER_ADDRESS": Setting(None, 1, 1_000_000, whole=True, may_be_none=True),
    # A function of the request that returns the client's address, where a proxy stands before the server.
    "CLIENT_ADDRESS": Setting(None, may_be_none=True, is_path=True),
    # A function of the request that returns a function: each thread of the request's stream calls it before it uses a
    # database connection. None: connections are as Django makes them.
    "PREPARE_CONNECTIONS": Setting(None, may_be_none=True, is_path=True),
    # A function of the request that returns the user whose notifications are asked for; None: request.user.
    "NOTIFICATION_USER": Setting(None, may_be_none=True, is_path=True),
    # How often the sessions of open streams are looked up, so that they do not outlive these; None: never.
    "SESSION_CHECK_SECONDS": Setting(10, 1, 86_400, may_be_none=True),
    # After this time a stream ends, a tenth of it earlier at most, and its client comes back.
    "MAX_STREAM_SECONDS": Setting(None, 1, 31_536_000, may_be_none=True),
    # A client that has not read for so long is cut off.
    "SEND_TIMEOUT_SECONDS": Setting(60, 1, 86_400, may_be_none=True),
    # Whether known servers are spoken to past ASGI where that is cheaper, or the only way (servers/).
    "SERVER_SHORTCUTS": Setting(True),
}

DEFAULT_BROKERS = {"default": {"BACKEND": "serversent.brokers.database.DatabaseBroker"}}

_BROKER_KEYS = {"BACKEND", "OPTIONS"}


def setting(name: str) -> Any:
    """Return the value of ``SERVERSENT[name]`` or its default. Raises ``ImproperlyConfigured`` for a wrong value."""
    configured = getattr(settings, "SERVERSENT", None) or {}
    if name not in configured:
        return SETTINGS[name].default
    value = configured[name]
    if problem := _problem(name, value):
        raise ImproperlyConfigured(problem)
    return value


def broker_settings() -> dict[str, dict[str, Any]]:
    """Return ``SERVERSENT["BROKERS"]``, by alias; without it, the default database's log is the default broker."""
    configured: dict[str, dict[str, Any]] | None = (getattr(settings, "SERVERSENT", None) or {}).get("BROKERS")
    if configured is None:
        return DEFAULT_BROKERS
    for problem in _broker_problems(configured):
        raise ImproperlyConfigured(problem)
    return configured


def _broker_problems(configured: object) -> Iterator[str]:
    shape = 'it must be a dict of the shape {"default": {"BACKEND": "...", "OPTIONS": {...}}}'
    if not isinstance(configured, dict):
        yield f'SERVERSENT["BROKERS"] is {configured!r:.100}; {shape}'
        return
    for alias, broker in configured.items():
        if not isinstance(broker, dict) or not isinstance(broker.get("OPTIONS", {}), dict):
            yield f'SERVERSENT["BROKERS"][{alias!r}] is {broker!r:.100}; {shape}'
        elif not isinstance(broker.get("BACKEND"), str):
            yield f'SERVERSENT["BROKERS"][{alias!r}] names no BACKEND; {shape}'
        elif unknown := set(broker) - _BROKER_KEYS:
            yield f'SERVERSENT["BROKERS"][{alias!r}] has an unknown key {min(unknown)!r}. Known: BACKEND, OPTIONS'


def problems() -> Iterator[tuple[str, str]]:
    """Yield each problem of the dict as ``(kind, text)``; ``kind`` is ``"dict"``, ``"key"`` or ``"value"``."""
    configured = getattr(settings, "SERVERSENT", None)
    if configured is None:
        return
    if not isinstance(configured, dict):
        yield "dict", f"SERVERSENT must be a dict, not {type(configured).__name__}"
        return
    for name, value in configured.items():
        if name == "BROKERS":
            yield from (("value", problem) for problem in _broker_problems(value))
        elif name not in SETTINGS:
            known = ", ".join(sorted(["BROKERS", *SETTINGS]))
            yield "key", f"SERVERSENT has an unknown key {name!r}. Known: {known}"
        elif problem := _problem(name, value):
            yield "value", problem


def _problem(name: str, value: object) -> str | None:
    allowed = SETTINGS[name]
    if value is None and allowed.may_be_none:
        return None
    if allowed.is_path:
        return _path_problem(name, value)
    if isinstance(allowed.default, bool):
        return None if isinstance(value, bool) else f"SERVERSENT[{name!r}] is {value!r}; it must be True or False"
    kinds = (int,) if allowed.whole else (int, float)
    if isinstance(value, kinds) and not isinstance(value, bool) and allowed.minimum <= value <= allowed.maximum:
        return None
    kind = "a whole number" if allowed.whole else "a number"
    none = ", or None" if allowed.may_be_none else ""
    return f"SERVERSENT[{name!r}] is {value!r}; it must be {kind} from {allowed.minimum} to {allowed.maximum}{none}"


@functools.cache
def _path_problem(name: str, value: object) -> str | None:
    shape = "it must be the dotted path of a function of the request, or None"
    try:
        found = import_string(value) if isinstance(value, str) else None
    except ImportError as error:
        return f"SERVERSENT[{name!r}] is {value!r}; {shape}: {error}"
    return None if callable(found) else f"SERVERSENT[{name!r}] is {value!r}; {shape}"
