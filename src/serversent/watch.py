"""Watching for what is taken back, in a process that has streams open: from the hub, or by a look now and then.

The hub of the default broker reads revocations with all other events. Where no stream of a channel keeps it running,
the log is asked twice a second, on a connection that is closed again: an open stream holds none.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection

from django.apps import apps

from .brokers import new_broker
from .channels import CONTROL
from .conf import broker_settings
from .cursors import Cursor
from .errors import BrokerUnavailable, CursorExpired
from .hub import Hub, hub
from .identity import Identity
from .reads import in_no_context
from .revocations import Revocation

__all__ = ["Watch"]

logger = logging.getLogger("serversent")

LOOK_SECONDS = 0.5
OUTAGE_SECONDS = 10.0

# What was taken back just before the first look: requests were on their way meanwhile.
RECENT_BYTES = 64 * 1024


class Watch:
    """Knows what was taken back, and calls ``on_revocation`` with it, while there are streams that it may mean."""

    def __init__(self, on_revocation: Callable[[Revocation], None]) -> None:
        self._on_revocation = on_revocation
        self._hub: Hub | None = None
        self._task: asyncio.Task[None] | None = None
        self._looked: Cursor | None = None

    def begin(self, identity: Identity, channels: Collection[str]) -> None:
        """Watch, if this stream is one that a revocation may mean."""
        if self._task is None and (channels or identity.is_known) and _can_look():
            self._hub = hub("default")
            self._hub.on_revocation = self._on_revocation
            self._task = in_no_context(self._run(self._hub))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task, self._looked = None, None

    def ends(self, identity: Identity, channels: Collection[str]) -> bool:
        """Whether it is known that this stream has to end."""
        return self._hub is not None and self._hub.revocations.ends(identity, channels)

    async def _run(self, default: Hub) -> None:
        is_out = False
        while True:
            try:
                if not default.is_running:
                    await self._look(default)
                is_out = False
            except BrokerUnavailable as error:
                if not is_out:
                    logger.warning("Streams are not ended by a logout or end_streams() meanwhile: %s", error)
                is_out = True
            except Exception:
                logger.exception("Streams are not ended by a logout or end_streams() meanwhile")
            await asyncio.sleep(OUTAGE_SECONDS if is_out else LOOK_SECONDS)

    async def _look(self, default: Hub) -> None:
        async with contextlib.aclosing(new_broker(default.alias)) as broker:
            head = await broker.head()
            if self._looked == head:
                return
            piece = None
            if self._looked is not None and self._looked.epoch == head.epoch:
                with contextlib.suppress(CursorExpired):
                    piece = await broker.read(CONTROL, self._looked.offset, head.offset)
            recent = await broker.recent(head.offset, RECENT_BYTES) if piece is None else piece
        self._looked = Cursor(head.epoch, recent.upto)
        default.revoke(recent.events, is_new=piece is not None)


def _can_look() -> bool:
    """Whether there may be a log to ask: streams of generators need none."""
    return apps.is_installed("serversent") and "default" in broker_settings()
