"""``path("notifications/", include("serversent.notifications.urls"))``"""

from django.urls import path

from . import views

__all__ = ["app_name", "urlpatterns"]

app_name = "serversent_notifications"

urlpatterns = [
    path("", views.index, name="index"),
    path("stream/", views.stream, name="stream"),
    path("count/", views.count, name="count"),
    path("read-all/", views.read_all, name="read-all"),
    path("<int:pk>/read/", views.read, name="read"),
    path("<int:pk>/delete/", views.delete, name="delete"),
]
