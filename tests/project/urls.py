from django.contrib.auth.decorators import login_required
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("state/", views.state),
    path("login/", views.log_in),
    path("async/", views.async_ticks),
    path("sync/", views.sync_ticks),
    path("class/", views.Ticks.as_view()),
    path("private/", login_required(views.async_ticks)),
    path("plain-async/", views.plain_async),
    path("plain-sync/", views.plain_sync),
    path("three/", views.three),
    path("restart/", views.restarting),
    path("silent/", views.silent),
    path("late/", views.late),
    path("error/<str:kind>/", views.error),
    path("error-later/", views.error_later),
    path("unencodable/", views.unencodable),
    path("framed/", views.framed),
    path("echo/", views.echo),
    path("language/", views.language),
    path("big/", views.big),
    path("user/", views.user_async),
    path("user-plain/", views.user_plain),
    path("query-and-sleep/", views.query_and_sleep),
    path("cursor/", views.cursor),
    path("held-cursor/", views.held_cursor),
    path("stubborn/", views.stubborn),
    path("slow-cleanup/", views.slow_cleanup),
    path("flood/", views.flood),
    path("transaction/", views.in_transaction),
    path("half-line/", views.half_line),
    path("scope/", views.scope_across_yields),
]
