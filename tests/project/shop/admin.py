"""The project's own admin of its own notifications."""

from django.contrib import admin

from serversent.notifications.admin import NotificationAdmin

from .models import Notice


@admin.register(Notice)
class NoticeAdmin(NotificationAdmin):
    list_display = (*NotificationAdmin.list_display, "category")
