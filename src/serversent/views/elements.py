"""The HTML of the browser client: its script, and streams as ``<event-stream>`` elements."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.forms.utils import flatatt
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..access.identity import page_user, user_of
from ..channels.subscription import Start
from ..wire.cursor import Cursor
from .page_cursor import page_cursor
from .signed_urls import sse_url

__all__ = ["event_stream_element", "nonce_of", "script_element"]


# The element's own, which the tag passes on.
MODES = {"append", "prepend", "replace", "html"}
ATTRIBUTES = {"event", "mode", "limit", "target", "autostart", "persist", "share", "id", "class"}


def script_element(request: HttpRequest | None, *, public: bool = False) -> SafeString:
    """Return the tag that loads the client, with the page's CSP nonce.

    It names the user, so that tabs of two accounts share no connection. ``public``: it does not, and does not look at
    the user, so that the page may be cached for everybody.
    """
    attributes = {
        "type": "module",
        "src": static(f"serversent/serversent{'' if settings.DEBUG else '.min'}.js"),
    }
    if request is not None:
        request._serversent_script = True  # type: ignore[attr-defined]
        if not public:
            attributes["data-serversent-user"] = page_user(user_of(request))
        if nonce := nonce_of(request):
            attributes["nonce"] = nonce
    return format_html("<script{}></script>", flatatt(attributes))


def explain_missing_script(request: HttpRequest, response: HttpResponseBase) -> None:
    """In development, add a hint for the browser's console to a page with an ``<event-stream>`` and without the
    client."""
    if not settings.DEBUG or not isinstance(response, HttpResponse) or hasattr(request, "_serversent_script"):
        return
    is_html = response.headers.get("Content-Type", "").startswith("text/html")
    if not is_html or "Content-Encoding" in response.headers or b"<event-stream" not in response.content:
        return
    if not response.content.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):  # a part of a page that is there
        return
    nonce = nonce_of(request)
    response.content += format_html(_MISSING_SCRIPT, flatatt({"nonce": nonce} if nonce else {})).encode()
    if "Content-Length" in response.headers:
        response.headers["Content-Length"] = str(len(response.content))


_MISSING_SCRIPT = """<script{}>
addEventListener("load", () => customElements.get("event-stream") || console.warn(
  "serversent: <event-stream> has no script in this page. Write in its head: {{% load serversent %}}{{% sse_script %}}"
))
</script>
"""


def nonce_of(request: HttpRequest) -> str:
    """Return the nonce that django-csp or Django 6 has made for this page, if any. Asking puts it into the header."""
    nonce = getattr(request, "csp_nonce", None)
    if nonce is None:
        nonce = getattr(request, "_csp_nonce", None)
    return "" if nonce is None else str(nonce)


def event_stream_element(
    request: HttpRequest,
    *channels: str,
    url: str = "",
    cursor: Cursor | str | None = None,
    expires: float = 3600,
    start: Start = "now",
    public: bool = False,
    using: str = "default",
    controls: bool = False,
    label: str = "",
    **attributes: Any,
) -> str:
    """Return an ``<event-stream>`` of these channels, or of the view at ``url``, that begins at the page's cursor.

    It brings the script of the client, if the page has not loaded that yet.

    ``controls``: with buttons to start and stop it, and its state. ``label``: the name of the output for screen
    readers. ``attributes``: the element's own.
    """
    if bool(channels) == bool(url):
        raise ImproperlyConfigured("{% event_stream %} needs the names of channels, or url=..., and not both.")
    if unknown := set(attributes) - ATTRIBUTES:
        raise ImproperlyConfigured(
            f"{{% event_stream %}} has no {min(unknown)!r}. It has: channels, url, cursor, expires, "
            f"start, public, using, controls, label, {', '.join(sorted(ATTRIBUTES))}."
        )
    _check_attributes(attributes)
    if channels and cursor is None and start == "now":
        cursor = page_cursor(request, using)
    signed_url = channels and sse_url(
        request, *channels, expires=expires, cursor=cursor, start=start, public=public, using=using
    )
    given = {"autostart": not controls, **attributes}
    context = {
        "attributes": flatatt(
            {
                "src": url or signed_url,
                **({} if cursor is None else {"cursor": str(cursor)}),
                **{name: value for name, value in given.items() if value is not None},
            }
        ),
        "controls": controls,
        "label": label,
        "output": "target" not in given,
        "replaces": "replace" in str(given.get("mode", "")),
    }
    has_script = getattr(request, "_serversent_script", False)
    script = "" if has_script else script_element(request, public=public)
    return script + render_to_string("serversent/event_stream.html", context)


def _check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise ``ImproperlyConfigured`` for a value that the element does not know."""
    mode, limit, event = (attributes.get(name) for name in ("mode", "limit", "event"))
    words = str(mode).split()
    if mode is not None and not (words and MODES.issuperset(words)):
        raise ImproperlyConfigured(
            f"{{% event_stream %}}: mode={mode!r} is none of {', '.join(sorted(MODES))}, and not two of them, as "
            'mode="append html" is.'
        )
    if limit is not None and not str(limit).isdecimal():
        raise ImproperlyConfigured(f"{{% event_stream %}}: limit={limit!r} is no number of events to keep.")
    if event is not None and not str(event).strip(" ,"):
        raise ImproperlyConfigured('{% event_stream %}: event="" shows nothing. Name types, as in event="new, paid".')
