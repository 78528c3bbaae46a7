"""``{% load serversent %}``"""

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.template import Context

from serversent import signed
from serversent.cursors import Cursor

__all__ = ["register"]

register = template.Library()


@register.simple_tag(takes_context=True)
def sse_url(
    context: Context, *channels: str, expires: float = 3600, cursor: Cursor | str | None = None, using: str = "default"
) -> str:
    """Return the URL of a stream of these channels, for who sees this page alone: ``{% sse_url "news" %}``."""
    request = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "{% sse_url %} needs the request. Render the template with it, as render(request, ...) does, and add "
            "django.template.context_processors.request to the context processors."
        )
    return signed.sse_url(request, *channels, expires=expires, cursor=cursor, using=using)
