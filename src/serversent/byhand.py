"""Running a coroutine without a task, as far as it goes without waiting."""

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

__all__ = ["begun"]


def begun(coroutine: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run a coroutine up to where it waits. Returns what is to be awaited for the rest; ``None`` if it is through.

    Only for coroutines that are known not to ask which task or context they run in: it is the caller's.
    """
    try:
        waited = coroutine.send(None)
    except StopIteration:
        return None
    return _Rest(coroutine, waited)


class _Rest:
    """What is left of a coroutine that waits for something. Whoever awaits it runs it on."""

    __slots__ = ("_coroutine", "_waited")

    def __init__(self, coroutine: Coroutine[Any, Any, None], waited: Any) -> None:
        self._coroutine = coroutine
        self._waited = waited

    def __await__(self) -> Generator[Any, Any, None]:
        waited = self._waited
        try:
            while True:
                try:
                    value = yield waited
                except BaseException as error:
                    waited = self._coroutine.throw(error)
                else:
                    waited = self._coroutine.send(value)
        except StopIteration:
            return
