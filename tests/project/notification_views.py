"""What the tests of notifications ask a server for."""

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.http import JsonResponse
from django.shortcuts import render

from serversent.notifications import send_notification
from serversent.notifications.models import Notification
from serversent.notifications.send import resend


@login_not_required
def notify(request):
    """Send notifications of these texts to users, by their names."""
    users = get_user_model().objects.filter(username__in=request.GET.getlist("user"))
    options = {name: request.GET[name] for name in ("level", "url") if name in request.GET}
    for text in request.GET.getlist("text"):
        send_notification(users, text, **options)
    return JsonResponse({})


@login_not_required
def notify_again(request):
    """Send all of a user's notifications again."""
    return JsonResponse({"count": resend(Notification.objects.filter(user__username=request.GET["user"]))})


@login_not_required
def notified(request):
    """Tell what is known of a user's notifications: (text, sent, read)."""
    rows = Notification.objects.filter(user__username=request.GET["user"]).order_by("pk")
    return JsonResponse(list(rows.values_list("text", "sent", "read")), safe=False)


@login_not_required
def bell(request):
    """A page with the bell and the toasts."""
    return render(request, "bell.html")
