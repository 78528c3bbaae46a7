"""Kinds of functions: async or sync, generator or not, also within a partial or as an object."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction

__all__ = ["is_async_callable", "is_async_generator", "is_bound_for_one_call", "is_generator", "is_stand_in", "name_of"]


def is_async_callable(view: Callable[..., Any]) -> bool:
    """Whether a call returns a coroutine. ``AsyncView.as_view()`` is marked so, which ``inspect`` does not see."""
    return _runs(iscoroutinefunction, view)


def is_async_generator(view: Callable[..., Any]) -> bool:
    return _runs(inspect.isasyncgenfunction, view)


def is_generator(view: Callable[..., Any]) -> bool:
    return _runs(inspect.isgeneratorfunction, view)


def _runs(is_kind: Callable[[Any], bool], view: Any) -> bool:
    while not is_kind(view):
        if isinstance(view, functools.partial):
            view = view.func
        elif isinstance(view, type) or inspect.isroutine(view):
            return False
        else:
            return is_kind(type(view).__call__)
    return True


def is_bound_for_one_call(view: Any) -> bool:
    """Return whether this is a partial of a bound method, which ``method_decorator`` makes for each call."""
    return isinstance(view, functools.partial) and inspect.ismethod(view.func)


def is_stand_in(view: Any) -> bool:
    """Return whether this is the stand-in that ``method_decorator`` decorates once, to learn of attributes."""
    return getattr(view, "__qualname__", "") == "_update_method_wrapper.<locals>.dummy"


def name_of(view: Any) -> str:
    """Return the dotted name of a view, for errors and logs."""
    found = view
    while isinstance(found, functools.partial):
        found = found.func
    named = found if hasattr(found, "__qualname__") else type(found)
    return f"{named.__module__}.{named.__qualname__}"
