"""The events of notifications: their channel, their types and their data. See docs/howto-notifications.md."""

import hashlib
import json
from collections.abc import Collection
from typing import Any

from serversent.brokers.channel_names import check_channel
from serversent.errors import InvalidChannel

__all__ = ["CHANNEL_PREFIX", "MAX_IDS", "NOTIFICATION", "STATE", "change", "channel_of", "is_channel_of_user", "key_of"]

CHANNEL_PREFIX = "serversent.notifications"

NOTIFICATION = "notification"
STATE = "notification-state"

# Of a change that means more, a page asks for its list again.
MAX_IDS = 100


def channel_of(user_key: Any) -> str:
    """Return the channel of a user, by the primary key."""
    name = f"{CHANNEL_PREFIX}.{user_key}"
    try:
        return check_channel(name)
    except InvalidChannel:  # a key may be an address, say
        return f"{CHANNEL_PREFIX}:{hashlib.sha256(str(user_key).encode()).hexdigest()}"


def is_channel_of_user(channel: str) -> bool:
    """Return whether ``channel_of()`` makes such names."""
    return channel.startswith((f"{CHANNEL_PREFIX}.", f"{CHANNEL_PREFIX}:"))


def key_of(data: str) -> int | None:
    """Return the primary key in the data of a ``notification``; ``None`` for another's event of that name."""
    try:
        key = json.loads(data)["id"]
    except (ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key, int) else None


def change(what: str, ids: Collection[int], unread: int) -> dict[str, Any]:
    """Return the data of ``notification-state``. ``what``: "read", "unread" or "deleted"."""
    return {"unread": unread, "change": what, "ids": list(ids) if len(ids) <= MAX_IDS else None}
