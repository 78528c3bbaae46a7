"""``path("events/", include("serversent.urls"))``: where the URLs lead that ``sse_url`` signs, and are renewed."""

from django.urls import path

from .views.renewal import renew
from .views.signed_stream import signed_stream

__all__ = ["app_name", "urlpatterns"]

app_name = "serversent"
urlpatterns = [path("", signed_stream, name="stream"), path("renew/", renew, name="renew")]
