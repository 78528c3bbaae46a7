"""The log in the admin: to look at, not to change."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Event

__all__ = ["EventAdmin"]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Event]
else:
    _ModelAdmin = admin.ModelAdmin


@admin.register(Event)
class EventAdmin(_ModelAdmin):
    list_display = ("id", "channel", "event", "summary", "logged_at")
    list_filter = ("event",)
    search_fields = ("=channel",)
    ordering = ("-id",)
    show_full_result_count = False  # it would count a log of millions

    @admin.display(description="data")
    def summary(self, event: Event) -> str:
        return event.data if len(event.data) <= 80 else f"{event.data[:79]}…"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
