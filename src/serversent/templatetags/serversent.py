"""``{% load serversent %}``"""

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template import Context
from django.utils.safestring import SafeString, mark_safe

from serversent import signed
from serversent.cursors import Cursor
from serversent.elements import event_stream_element, script_element

__all__ = ["register", "request_of"]

register = template.Library()


@register.simple_tag(takes_context=True)
def sse_script(context: Context) -> SafeString:
    """Load the browser client: ``{% sse_script %}``, once, in the head."""
    return script_element(context.get("request"))


@register.simple_tag(takes_context=True)
def sse_url(
    context: Context, *channels: str, expires: float = 3600, cursor: Cursor | str | None = None, using: str = "default"
) -> str:
    """Return the URL of a stream of these channels, for who sees this page alone: ``{% sse_url "news" %}``."""
    request = request_of("sse_url", context)
    return signed.sse_url(request, *channels, expires=expires, cursor=cursor, using=using)


@register.simple_tag(takes_context=True)
def event_stream(context: Context, *channels: str, **options: Any) -> SafeString:
    """Show what comes on these channels, or from the view at ``url``: ``{% event_stream "news" limit=20 %}``."""
    html = event_stream_element(request_of("event_stream", context), *channels, **options)
    return mark_safe(html)  # noqa: S308  # a template's


def request_of(tag: str, context: Context) -> HttpRequest:
    """Return the request that a template is rendered for. Raises ``ImproperlyConfigured`` if it was not told."""
    request: HttpRequest | None = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            f"{{% {tag} %}} needs the request. Render the template with it, as render(request, ...) does, and add "
            "django.template.context_processors.request to the context processors."
        )
    return request
