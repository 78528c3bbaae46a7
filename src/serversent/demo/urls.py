"""The demo's pages and streams."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("stream/", views.stream, name="stream"),
    path("time/", views.clock, name="time"),
    path("board/", views.board, name="board"),
    path("board/notes/", views.add_note, name="add_note"),
    path("board/cut/", views.cut, name="cut"),
    path("count/", views.count, name="count"),
    path("tab/", views.tab, name="tab"),
]
