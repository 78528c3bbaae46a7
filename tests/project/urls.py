from django.urls import path

from . import views

urlpatterns = [path("async/", views.ticks), path("sync/", views.sync_ticks), path("plain-async/", views.plain_async), path("plain-sync/", views.plain_sync), path("three/", views.three)]
