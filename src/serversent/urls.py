"""``path("events/", include("serversent.urls"))``: one endpoint for the URLs that ``sse_url`` signs."""

from django.urls import path

from .views import signed_stream

__all__ = ["app_name", "urlpatterns"]

app_name = "serversent"
urlpatterns = [path("", signed_stream, name="stream")]
