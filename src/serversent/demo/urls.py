"""The demo's pages and streams."""

from django.contrib import admin
from django.urls import include, path

from . import people, views

urlpatterns = [
    path("", views.index, name="index"),
    path("stream/", views.stream, name="stream"),
    path("time/", views.clock, name="time"),
    path("board/", views.board, name="board"),
    path("board/notes/", views.add_note, name="add_note"),
    path("board/cut/", views.cut, name="cut"),
    path("count/", views.count, name="count"),
    path("tab/", views.tab, name="tab"),
    path("people/", people.index, name="people"),
    path("people/log-in/", people.log_in, name="log_in"),
    path("people/log-out/", people.log_out, name="log_out"),
    path("people/notify/", people.notify, name="notify"),
    path("notifications/", include("serversent.notifications.urls")),
    path("admin/", admin.site.urls),
]
