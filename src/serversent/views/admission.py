"""The admission of a stream: for whom it is, and the slots that it takes."""

import weakref

from django.http import HttpRequest

from ..access.identity import Identity, identity_of, is_for_another, known_user
from ..errors import WRONG_USER, StreamRefused
from ..serving.registry import ConnectionRegistry, Slot
from ..serving.source import StreamSource

__all__ = ["Admission"]


class Admission:
    """Admits the stream of one request, and releases its slots.

    ``requested_at``: when the request came, of ``time.monotonic()``.
    """

    __slots__ = ("_is_released", "_registry", "_request", "_requested_at", "_slots", "identity")

    def __init__(self, registry: ConnectionRegistry, requested_at: float) -> None:
        self.identity: Identity | None = None
        self._registry = registry
        self._requested_at = requested_at
        self._request: weakref.ref[HttpRequest] | None = None  # set while the stream's code may still ask for its user
        self._slots: list[Slot] = []
        self._is_released = False

    def admit(self, request: HttpRequest, source: StreamSource) -> None:
        """Acquire the slots of a stream. Raises ``StreamRefused``."""
        self.identity = source.url_identity or identity_of(request, self._requested_at)
        if source.url_identity is None and not self.identity.user and source.reads_request:
            self._request = weakref.ref(request)
        if is_for_another(request, self.identity.user):
            raise StreamRefused(401, WRONG_USER)
        if not self._is_released:
            self._slots = self._registry.acquire(self.identity)

    @property
    def may_be_identified(self) -> bool:
        """Return whether the code of an anonymous stream may still ask for its user."""
        return self._request is not None

    def identify(self) -> Identity | None:
        """Return the identity of a stream whose code has asked for its user since it began, and acquire its slots.

        Raises ``StreamRefused``.
        """
        request = None if self._request is None else self._request()
        if request is None:
            self._request = None
            return None
        if not known_user(request):
            return None
        self._request = None
        self.identity = identity = identity_of(request, self._requested_at)
        self._registry.release(self._slots)
        self._slots = []
        self._slots = self._registry.acquire(identity)
        return identity

    def release(self) -> None:
        self._is_released = True
        self._registry.release(self._slots)
        self._slots = []
