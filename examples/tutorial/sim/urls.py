from django.urls import path
from . import views

urlpatterns = [
    path('', views.index, name='index'),
    path('stream/', views.sse_stream, name='sse_stream'),
    path('updates/', views.updates, name='updates'),
    path('updates/stream/', views.stream, name='stream'),
]
