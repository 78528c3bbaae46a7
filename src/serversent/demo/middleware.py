"""The demo's Content-Security-Policy: nothing from elsewhere, nothing inline, no HTML made by scripts."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

__all__ = ["content_security_policy"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'; require-trusted-types-for 'script'"
)


def content_security_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not request.path.startswith("/admin/"):  # Django's own, whose scripts make HTML
            response.headers["Content-Security-Policy"] = POLICY
        return response

    return middleware
