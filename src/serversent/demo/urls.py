"""The demo's pages and streams."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("stream/", views.stream, name="stream"),
    path("time/", views.time, name="time"),
    path("board/", views.board, name="board"),
    path("board/notes/", views.add_note, name="add_note"),
]
