"""A grant: the subscription that a view has granted to one request."""

from collections.abc import Callable
from dataclasses import dataclass

from ..access.identity import Identity
from ..channels.subscription import Subscription

__all__ = ["Grant"]


@dataclass(frozen=True, slots=True)
class Grant:
    """A subscription, with its view, its client and its place of start.

    ``name``: the view, for the log. ``using``: the broker. ``last_event_id``: the client's cursor, or "".
    ``begins_at``: the cursor at which a client without its own begins, or "". ``url_identity``: for whom the URL was
    signed, if it was. ``prepare``: called in each thread that runs the initial state.
    """

    subscription: Subscription
    name: str = ""
    using: str = "default"
    last_event_id: str = ""
    begins_at: str = ""
    url_identity: Identity | None = None
    prepare: Callable[[], object] | None = None
