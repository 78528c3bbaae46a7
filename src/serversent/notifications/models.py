"""The notifications of users.

``SERVERSENT_NOTIFICATION_MODEL = "shop.Notice"`` puts a model of the project's in place of ``Notification``. It is a
setting of its own because that is how Django swaps models.
"""

import contextlib
import datetime
import re
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.messages import constants
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, router
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from . import changes
from .flag import Flag

__all__ = ["AbstractNotification", "Level", "Notification", "NotificationQuerySet", "check_level", "notification_model"]

# Events and the JSON list have so much of a text. An event must stay within MAX_EVENT_BYTES.
MAX_TEXT_CHARACTERS = 10_000

MAX_URL_CHARACTERS = 2000

# The schemes of a link. Others, "javascript:" above all, could run code.
SAFE_SCHEMES = ("http", "https", "mailto", "tel")

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f]")


class Level(models.TextChoices):
    """How much it matters, in the words of ``django.contrib.messages``."""

    DEBUG = "debug", _("Debug")
    INFO = "info", _("Info")
    SUCCESS = "success", _("Success")
    WARNING = "warning", _("Warning")
    ERROR = "error", _("Error")


def check_level(level: str | int) -> str:
    """Return the name of a level, which may be a number of ``django.contrib.messages``. Raises ``ValueError``."""
    name = constants.DEFAULT_TAGS.get(level, "") if isinstance(level, int) else level
    if name not in Level.values:
        numbers = ", ".join(map(str, constants.DEFAULT_TAGS))
        raise ValueError(f"{level!r} is no level of a notification: {', '.join(Level.values)}, or {numbers}")
    return name


def validate_url(url: str) -> None:
    """Raise ``ValidationError`` for text that must not be a link."""
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() not in SAFE_SCHEMES:
        raise ValidationError(
            _("The URL of a notification may begin with %(schemes)s, or have no scheme; not %(scheme)s:"),
            params={"schemes": ", ".join(f"{name}:" for name in SAFE_SCHEMES), "scheme": scheme[1]},
        )
    if _NOT_IN_A_URL.search(url):  # browsers leave some out, and read "java\nscript:"
        raise ValidationError(_("A URL has no spaces and no control characters."))


class NotificationQuerySet(models.QuerySet[Any]):
    """Its changes are sent to the open pages of their users, with the commit."""

    def unread(self) -> "NotificationQuerySet":
        return self.filter(read=False)

    def unsent(self) -> "NotificationQuerySet":
        return self.filter(sent=False)

    def mark_all_as_read(self) -> int:
        """Mark unread notifications as read, in batches in one transaction. Return their number."""
        return changes.mark(self, is_read=True)

    def mark_all_as_unread(self) -> int:
        """Mark read notifications as unread, in the same way."""
        return changes.mark(self, is_read=False)

    def delete(self) -> tuple[int, dict[str, int]]:
        return changes.delete(self)

    # No template calls these.
    mark_all_as_read.alters_data = True  # type: ignore[attr-defined]
    mark_all_as_unread.alters_data = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class AbstractNotification(models.Model):
    """A notification, for a model with fields of your own."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",  # a project may well have a model of this name
        db_index=False,  # the indexes below begin with it
        verbose_name=_("user"),
    )
    text = models.TextField(_("text"))
    level = models.CharField(_("level"), max_length=20, choices=Level.choices, default=Level.INFO)
    url = models.CharField("URL", max_length=MAX_URL_CHARACTERS, blank=True, default="", validators=[validate_url])
    data = models.JSONField(_("data"), null=True, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True, editable=False)
    read_at = models.DateTimeField(_("read at"), null=True, blank=True, editable=False)
    # After the moments: they are set in this order.
    sent = Flag("sent_at", _("sent"))
    read = Flag("read_at", _("read"))

    objects = NotificationQuerySet.as_manager()

    class Meta:
        abstract = True
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        indexes = [
            # For the list of a user, the newest first; with the flags, for unsent and unread
            # notifications.
            models.Index(fields=["user", "id"]),
            models.Index(fields=["user", "sent", "id"]),
            models.Index(fields=["user", "read", "id"]),
            models.Index(fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.text:.60}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the notification. If its read state has changed, the open pages of its user get an event."""
        if fields := kwargs.get("update_fields"):
            moments = {"sent": "sent_at", "read": "read_at"}
            kwargs["update_fields"] = fields = [moments.get(name, name) for name in fields]
        using = kwargs.get("using")
        with self._publishing_read_state(using) if fields is None or "read_at" in fields else contextlib.nullcontext():
            super().save(*args, **kwargs)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        with changes.publishing_change(self, "deleted", using):
            return super().delete(using, keep_parents)

    def _publishing_read_state(self, using: str | None) -> contextlib.AbstractContextManager[None]:
        if self._state.adding or "read_at" in self.get_deferred_fields():
            return contextlib.nullcontext()
        alias = using or router.db_for_write(type(self), instance=self)
        was = type(self)._base_manager.using(alias).filter(pk=self.pk).values_list("read", flat=True).first()
        if was is None or was == self.read:
            return contextlib.nullcontext()
        return changes.publishing_change(self, "read" if self.read else "unread", using)

    @property
    def safe_url(self) -> str:
        """The URL, unless it got past all checks and may not be a link."""
        try:
            validate_url(self.url)
        except ValidationError:
            return ""
        return self.url

    def payload(self) -> dict[str, Any]:
        """Return the data of its event, which is also its item in the JSON list. It must have the integer ``id``.

        Of a very long text only the beginning: see ``MAX_TEXT_CHARACTERS``.
        """
        return {
            "id": self.pk,
            "text": Truncator(self.text).chars(MAX_TEXT_CHARACTERS),
            "level": self.level,
            "url": self.safe_url,
            "data": self.data,
            "created_at": _with_offset(self.created_at),
            "read": self.read,
        }


def _with_offset(moment: datetime.datetime) -> datetime.datetime:
    """Return a moment as a page needs it, which is in a zone of its own: without ``USE_TZ`` they are the project's."""
    return timezone.make_aware(moment, timezone.get_default_timezone()) if timezone.is_naive(moment) else moment


class Notification(AbstractNotification):
    class Meta(AbstractNotification.Meta):
        swappable = "SERVERSENT_NOTIFICATION_MODEL"


def notification_model() -> type[AbstractNotification]:
    """Return the model in use. Raises ``ImproperlyConfigured``."""
    name = getattr(settings, "SERVERSENT_NOTIFICATION_MODEL", "serversent_notifications.Notification")
    try:
        found = apps.get_model(name, require_ready=False)
    except (LookupError, ValueError) as error:
        if not apps.is_installed("serversent.notifications"):
            raise ImproperlyConfigured('Notifications need "serversent.notifications" in INSTALLED_APPS.') from error
        raise ImproperlyConfigured(f"SERVERSENT_NOTIFICATION_MODEL is {name!r}, which is no model: {error}") from error
    if not issubclass(found, AbstractNotification):
        raise ImproperlyConfigured(f"SERVERSENT_NOTIFICATION_MODEL is {name!r}, which is no AbstractNotification.")
    if not isinstance(found._meta.pk, models.IntegerField):
        raise ImproperlyConfigured(f"{name} needs the id of AbstractNotification: a number, which is in its order.")
    if not hasattr(found._default_manager, "mark_all_as_read"):
        raise ImproperlyConfigured(
            f"{name} needs a manager of NotificationQuerySet: objects = NotificationQuerySet.as_manager(), or of yours."
        )
    return found
