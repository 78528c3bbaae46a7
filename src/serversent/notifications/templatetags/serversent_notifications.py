"""``{% load serversent_notifications %}``"""

from django import template
from django.template import Context
from django.utils.safestring import SafeString

from serversent.notifications.elements import bell_element, toasts_element
from serversent.templatetags.serversent import request_of

__all__ = ["register"]

register = template.Library()


@register.simple_tag(takes_context=True)
def notification_bell(context: Context) -> SafeString:
    """Show a bell with the number of unread notifications, and their list on a click: ``{% notification_bell %}``."""
    return bell_element(request_of("notification_bell", context))


@register.simple_tag(takes_context=True)
def notification_toasts(context: Context, seconds: float = 8) -> SafeString:
    """Show new notifications as they come: ``{% notification_toasts %}``, once, anywhere in the page."""
    return toasts_element(request_of("notification_toasts", context), seconds)
