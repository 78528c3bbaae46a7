"""Signed URLs are renewed, for pages that are open for longer than their URL is valid."""

import logging
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.http import is_same_domain
from django.views.decorators.csrf import csrf_exempt

from ..access.revocation_feed import check_url
from ..channels.hub import stop_hubs
from ..errors import BrokerUnavailable, StreamRefused
from ..logs import is_due
from .refusals import KeepsSession, refusal, unavailable
from .request import is_wsgi
from .signed_urls import renewed_url

__all__ = ["renew"]

logger = logging.getLogger("serversent")


class _Renewed(KeepsSession, JsonResponse):
    pass


# It changes nothing, and other origins cannot read its answer; they are refused nevertheless.
@csrf_exempt
async def renew(request: HttpRequest) -> HttpResponseBase:
    """Answer the token of a signed URL with a URL that is valid as long again: ``{"url": ...}``.

    While the user is logged in and nothing was revoked; otherwise 401 and 403.
    """
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        if not _is_from_here(request):
            raise StreamRefused(403, "This address is for another origin.")
        url, signed = await sync_to_async(renewed_url)(request, request.POST.get("token", ""))
        await check_url(signed.identity, signed.channels)
    except StreamRefused as error:
        if is_due(f"renewal {error}"):
            logger.info("The renewal of a signed URL was refused: %s", error)
        answer = refusal(error)
        answer._has_been_logged = True  # type: ignore[attr-defined]  # Django's way to say that it need not
        return answer
    except BrokerUnavailable as error:
        return unavailable(error)
    finally:
        if is_wsgi(request):  # its event loop ends with the request
            await stop_hubs()
    return _Renewed({"url": url}, headers={"Cache-Control": "no-store"})


# Under LoginRequiredMiddleware too: an anonymous session renews what was signed for it.
renew.login_required = False  # type: ignore[attr-defined]


def _is_from_here(request: HttpRequest) -> bool:
    """Whether the page that asks is of this site, or of one that the project trusts."""
    origin = request.headers.get("Origin")
    if origin is None or origin == f"{request.scheme}://{request.get_host()}":
        return True
    asking = urlsplit(origin)
    trusted = [*settings.CSRF_TRUSTED_ORIGINS, *getattr(settings, "CORS_ALLOWED_ORIGINS", ())]
    return any(
        asking.scheme == one.scheme and is_same_domain(asking.netloc, one.netloc.lstrip("*"))
        for one in map(urlsplit, trusted)
    )
