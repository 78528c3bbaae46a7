"""The names of channels."""

import re
from collections.abc import Iterable

from ..conf import setting
from ..errors import InvalidChannel, InvalidSubscription, TooManyChannels

__all__ = ["CONTROL", "ENDED", "REVOKED", "REVOKED_SECONDS", "check_channel", "check_channels"]


# The control channels. No project can use their names.
ENDED = "!ended"  # ends open streams
REVOKED = "!revoked"  # ends open streams, and rejects URLs that were signed before
CONTROL = frozenset({ENDED, REVOKED})

# How long the log keeps those of REVOKED, whatever its retention. No signed URL is valid for longer.
REVOKED_SECONDS = 30 * 86_400

_NAME = re.compile(r"[A-Za-z0-9_\-.:@=]{1,200}")


def check_channel(channel: object) -> str:
    """Return the name as it is. Raises ``InvalidChannel``."""
    if not isinstance(channel, str):
        raise InvalidChannel(channel, f"a name is a str, not {type(channel).__name__}")
    if not channel:
        raise InvalidChannel(channel, "the name is empty. In a template, is it an undefined variable?")
    if not _NAME.fullmatch(channel):
        raise InvalidChannel(channel, "a name is 1 to 200 characters of A-Z a-z 0-9 _ - . : @ =")
    return str.__str__(channel)


def check_channels(channels: str | Iterable[str]) -> frozenset[str]:
    """Return the names of a subscription. Raises ``InvalidChannel`` or ``InvalidSubscription``."""
    if isinstance(channels, str):
        channels = [channels]
    names = frozenset(check_channel(channel) for channel in channels)
    if not names:
        raise InvalidSubscription("channels", "must be at least one")
    if len(names) > (limit := setting("MAX_CHANNELS")):
        raise TooManyChannels(len(names), limit)
    return names
