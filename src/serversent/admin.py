"""The log in the admin: to look at, not to change."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

from .models import Event

__all__ = ["EventAdmin"]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Event]
else:
    _ModelAdmin = admin.ModelAdmin


# A log may have millions of rows, and counting looks at all of them.
MAX_ROWS = 10_000


class _Paginator(Paginator):  # type: ignore[type-arg]
    """Pages of the newest events, which do not go back to the beginning of the log."""

    @cached_property
    def count(self) -> int:
        events: Any = self.object_list
        return len(events.values_list("pk")[:MAX_ROWS])


@admin.register(Event)
class EventAdmin(_ModelAdmin):
    list_display = ("id", "channel", "event", "summary", "logged_at")
    search_fields = ("=channel",)
    search_help_text = "The name of a channel, in full."
    ordering = ("-id",)
    paginator = _Paginator
    show_full_result_count = False
    # No filter by type: the types in use would be looked for in all rows.

    @admin.display(description="data")
    def summary(self, event: Event) -> str:
        return event.data if len(event.data) <= 80 else f"{event.data[:79]}…"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
