"""Notifications: a line of text for a user, delivered at once or when they come, and read on all their devices.

``send_notification`` and ``asend_notification`` may be imported before the apps are ready.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .send import asend_notification, send_notification

__all__ = ["asend_notification", "send_notification"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import send

    return getattr(send, name)


def __dir__() -> list[str]:
    return __all__
