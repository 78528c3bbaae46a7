"""Notifications in the admin: to look at, to send, also to selected users, and to send again."""

import contextlib
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename, get_user_model
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .models import MAX_URL_CHARACTERS, AbstractNotification, Level, Notification, notification_model, validate_url
from .send import resend, save_and_publish, send_notification

__all__ = ["NotificationAdmin", "send_to_selected_users"]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[AbstractNotification]
else:
    _ModelAdmin = admin.ModelAdmin


class SendForm(forms.Form):
    """The form for a notification to selected users."""

    text = forms.CharField(label=_("Text"), widget=forms.Textarea(attrs={"rows": 4, "cols": 60}))
    level = forms.ChoiceField(label=_("Level"), choices=Level.choices, initial=Level.INFO)
    url = forms.CharField(label="URL", required=False, max_length=MAX_URL_CHARACTERS, validators=[validate_url])


@admin.action(description=_("Send a notification to selected users"))
def send_to_selected_users(
    modeladmin: "admin.ModelAdmin[Any]", request: HttpRequest, queryset: models.QuerySet[Any]
) -> HttpResponse | None:
    """Ask for a text, and send it to all selected users. An action for the admin of the project's users."""
    options = notification_model()._meta
    if not request.user.has_perm(f"{options.app_label}.{get_permission_codename('add', options)}"):
        raise PermissionDenied
    form = SendForm(request.POST if "send" in request.POST else None)
    if form.is_valid():
        count = send_notification(queryset, **form.cleaned_data)
        text = ngettext("The notification was sent to %d user.", "The notification was sent to %d users.", count)
        modeladmin.message_user(request, text % count, messages.SUCCESS)
        return None
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": _("Send a notification"),
        "form": form,
        "opts": modeladmin.opts,
        "count": queryset.count(),
        "action": request.POST["action"],
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "checkbox": ACTION_CHECKBOX_NAME,
        "across": request.POST.get("select_across", "0"),
    }
    return TemplateResponse(request, "admin/serversent_notifications/send.html", context)


class NotificationAdmin(_ModelAdmin):
    """The admin of ``Notification``. A project with a model of its own registers this class, or a subclass."""

    list_display = ("id", "beginning", "user", "level", "created_at", "is_sent", "is_read")
    list_filter = (
        "level",
        ("sent_at", admin.EmptyFieldListFilter),
        ("read_at", admin.EmptyFieldListFilter),
        "created_at",
    )
    search_fields = ("text", f"=user__{get_user_model().USERNAME_FIELD}")
    list_select_related = ("user",)
    ordering = ("-id",)
    raw_id_fields = ("user",)
    readonly_fields = ("created_at", "sent_at", "read_at")
    show_full_result_count = False  # it would count a table of millions
    actions = ("send_again", "mark_as_read", "mark_as_unread")

    @admin.display(description=_("text"))
    def beginning(self, notification: AbstractNotification) -> str:
        text = notification.text
        return text if len(text) <= 80 else f"{text[:79]}…"

    @admin.display(description=_("sent"), boolean=True, ordering="sent")
    def is_sent(self, notification: AbstractNotification) -> bool:
        return notification.sent_at is not None

    @admin.display(description=_("read"), boolean=True, ordering="read")
    def is_read(self, notification: AbstractNotification) -> bool:
        return notification.read_at is not None

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else [*fields, "user"]

    def save_model(self, request: HttpRequest, obj: AbstractNotification, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
        else:
            save_and_publish(obj)

    @admin.action(description=_("Send selected notifications again"), permissions=["change"])
    def send_again(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        count = resend(queryset)
        self._say(request, ngettext("%d notification was sent.", "%d notifications were sent.", count), count)

    @admin.action(description=_("Mark selected notifications as read"), permissions=["change"])
    def mark_as_read(self, request: HttpRequest, queryset: Any) -> None:
        count = queryset.mark_all_as_read()
        self._say(request, ngettext("%d notification was marked.", "%d notifications were marked.", count), count)

    @admin.action(description=_("Mark selected notifications as unread"), permissions=["change"])
    def mark_as_unread(self, request: HttpRequest, queryset: Any) -> None:
        count = queryset.mark_all_as_unread()
        self._say(request, ngettext("%d notification was marked.", "%d notifications were marked.", count), count)

    def _say(self, request: HttpRequest, text: str, count: int) -> None:
        self.message_user(request, text % count, messages.SUCCESS)


if notification_model() is Notification:
    admin.site.register(Notification, NotificationAdmin)

# Where the project's users are registered before this app. Otherwise: their admin names it among its actions.
with contextlib.suppress(NotRegistered):
    _users = admin.site.get_model_admin(get_user_model())
    _users.actions = [*(_users.actions or ()), send_to_selected_users]
