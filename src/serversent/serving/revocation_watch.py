"""Watching for what is taken back, in a process that has streams open: from the hub, or by a look now and then.

The hub of the default broker reads revocations with all other events. Where no stream of a channel keeps it running,
the log is asked twice a second, on a connection that is closed again: an open stream holds none.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection

from django.apps import apps

from ..access.identity import Identity
from ..access.revocations import Revocation
from ..brokers import broker, new_broker
from ..brokers.database import DatabaseBroker
from ..channels.hub import Hub, hub
from ..concurrency.tasks import in_no_context
from ..conf import broker_settings

__all__ = ["Watch"]

logger = logging.getLogger("serversent")


LOOK_SECONDS = 0.5
OUTAGE_SECONDS = 10.0

FORGET_SECONDS = 60.0


class Watch:
    """Ends what was taken back, while there are streams that it may mean: calls ``on_revocation`` and ``on_gap``."""

    def __init__(self, on_revocation: Callable[[Revocation], None], on_gap: Callable[[], None]) -> None:
        self._on_revocation = on_revocation
        self._on_gap = on_gap
        self._hub: Hub | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, identity: Identity, channels: Collection[str]) -> None:
        """Watch, if this stream is one that a revocation may mean."""
        if self._task is None and (channels or identity.is_known) and _can_look():
            self._hub = hub("default")
            self._hub.on_revocation, self._hub.on_gap = self._on_revocation, self._on_gap
            self._hub.watched_since = time.monotonic()
            self._task = in_no_context(_watch(self._hub))

    def stop(self) -> None:
        if self._task is not None and self._hub is not None:
            self._task.cancel()
            self._hub.watched_since = None
        self._task = None

    def ends(self, identity: Identity, channels: Collection[str]) -> bool:
        """Whether it is known that this stream has to end."""
        return self._hub is not None and self._hub.revocations.ends(identity, channels)


async def _watch(default: Hub) -> None:
    is_out = False
    forgot = time.monotonic()
    while True:
        try:
            if not default.is_running:
                async with contextlib.aclosing(new_broker(default.alias)) as log:
                    await default.hear(log, await log.head())
            is_out = False
        except Exception as error:
            if not is_out:
                logger.warning("Streams are not ended by a logout or end_streams() meanwhile: %r", error)
            is_out = True
        if time.monotonic() - forgot > FORGET_SECONDS:
            forgot = time.monotonic()
            default.revocations.forget()
        await asyncio.sleep(OUTAGE_SECONDS if is_out else LOOK_SECONDS)


def _can_look() -> bool:
    """Whether there may be a log to ask: streams of generators need none."""
    if "default" not in broker_settings():
        return False
    return apps.is_installed("serversent") or not isinstance(broker("default"), DatabaseBroker)
