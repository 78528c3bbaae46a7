"""Django signals about streams. Receivers are called in the event loop that serves the stream: they must not block.

A receiver is a sync function. Its errors are logged and reach no stream. All arguments are passed by keyword.
"""

import logging
from typing import Any

from django.dispatch import Signal

__all__ = ["events_written", "stream_closed", "stream_opened", "stream_refused"]

logger = logging.getLogger("serversent")

# A stream begins: its headers are sent. ``name``: the view, as in the log. ``channels``: a collection of names, empty
# for streams of generators. ``user``: the user's primary key as text, or "".
stream_opened = Signal()

# A stream has ended. ``name``, ``channels``, ``user``: as above. ``reason``: "complete" (the generator returned, or all
# channels are closed), "client" (the client has left), "failed" (an error of the view), "ended" (by a revocation, an
# expiry or a limit), "shutdown" (the server stops), "stuck" (the client has not read for SEND_TIMEOUT_SECONDS).
# ``seconds``: how long it was open.
stream_closed = Signal()

# A stream was refused, or the renewal of its signed URL. ``status``: of the response. ``error``: the exception, whose
# text the client gets.
stream_refused = Signal()

# Events were written to streams: once for all live streams of a set of channels, and once for each stream that has to
# wait for its client, or that replays. ``channels``: of these streams. ``events``: iterate it for ``ReceivedEvent``
# objects; its attribute ``frames`` has their bytes.
events_written = Signal()


def send(signal: Signal, sender: type, **arguments: Any) -> None:
    """Call the receivers of a signal. Their errors are logged."""
    if not signal.receivers:
        return
    try:
        signal.send_robust(sender=sender, **arguments)
    except Exception:  # Django cannot call an async receiver from the event loop
        logger.exception("Receivers of serversent.signals were not called: they must be sync functions")
