"""``{% load serversent %}``"""

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template import Context
from django.utils.safestring import SafeString, mark_safe

from serversent.views import signed_urls
from serversent.views.elements import event_stream_element, script_element

__all__ = ["register", "request_of"]

register = template.Library()

URL_OPTIONS = {"expires", "cursor", "start", "public", "using"}


@register.simple_tag(takes_context=True)
def sse_script(context: Context, *, public: bool = False) -> SafeString:
    """Load the browser client: ``{% sse_script %}``, once, in the head.

    ``public=True``: in a page that is cached for everybody, whose streams are public too.
    """
    return script_element(context.get("request"), public=public)


@register.simple_tag(takes_context=True)
def sse_url(context: Context, *channels: str, **options: Any) -> str:
    """Return the URL of a stream of these channels, for the user of this page alone: ``{% sse_url "news" %}``.

    The options are those of ``serversent.sse_url()``: ``expires``, ``cursor``, ``start``, ``public``, ``using``.
    """
    if unknown := set(options) - URL_OPTIONS:
        known = ", ".join(sorted(URL_OPTIONS))
        raise ImproperlyConfigured(f"{{% sse_url %}} has no {min(unknown)!r}. It has: {known}.")
    return signed_urls.sse_url(request_of("sse_url", context), *channels, **options)


@register.simple_tag(takes_context=True)
def event_stream(context: Context, *channels: str, **options: Any) -> SafeString:
    """Show the events of these channels, or of the view at ``url``: ``{% event_stream "news" limit=20 %}``."""
    html = event_stream_element(request_of("event_stream", context), *channels, **options)
    return mark_safe(html)  # noqa: S308  # a template's


def request_of(tag: str, context: Context) -> HttpRequest:
    """Return the request of a template. Raises ``ImproperlyConfigured`` if the context has none."""
    request: HttpRequest | None = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            f"{{% {tag} %}} needs the request. Render the template with it, as render(request, ...) does, and add "
            "django.template.context_processors.request to the context processors."
        )
    return request
