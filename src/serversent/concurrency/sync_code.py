"""Sync database calls in async code: Django's error is told with the call to write instead."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.core.exceptions import SynchronousOnlyOperation

__all__ = ["explain_sync_call", "for_sync_code"]


P = ParamSpec("P")
T = TypeVar("T")


def for_sync_code(instead: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that asks the database: its error in async code names the call to write ``instead``."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except SynchronousOnlyOperation as error:
                name = function.__name__
                raise SynchronousOnlyOperation(
                    f"{name}() was called in async code, where it would stop the event loop. Write: await {instead}"
                ) from error

        return wrapper

    return decorate


def explain_sync_call(name: str, error: BaseException) -> None:
    """Add a note to Django's error: the code for an async generator."""
    if isinstance(error, SynchronousOnlyOperation) and not hasattr(error, "__notes__"):
        error.add_note(
            f"{name} is async code. Use Django's async queries there (`await Order.objects.acount()`, "
            "`async for order in Order.objects.all()`) or `await sync_to_async(function)()`, or write a sync generator "
            "(`def` instead of `async def`)."
        )
