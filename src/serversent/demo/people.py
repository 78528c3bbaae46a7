"""Two people who notify each other: each in a browser of their own, from the admin, or from a shell."""

from django.contrib.auth import get_user_model, login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from serversent.notifications import send_notification

from .shell import shell_command

__all__ = ["NAMES", "SHELL", "make_people"]

NAMES = ("ada", "grace")
SHELL = ("--notify", "grace", "Hello from a shell")
MAX_CHARACTERS = 200


def make_people() -> None:
    """Make the two. They need no password: this page logs in anybody by name, on this machine alone."""
    for name in NAMES:
        get_user_model().objects.get_or_create(
            username=name, defaults={"first_name": name.title(), "is_staff": True, "is_superuser": True}
        )


def index(request: HttpRequest) -> HttpResponse:
    others = (
        get_user_model()
        .objects.filter(username__in=NAMES)
        .exclude(username=request.user.get_username())
        .order_by("username")
    )
    context = {"others": others, "max_characters": MAX_CHARACTERS, "shell_command": shell_command(*SHELL)}
    return render(request, "serversent_demo/people.html", context)


@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    user = get_object_or_404(get_user_model(), username=request.POST.get("name"), username__in=NAMES)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("people")


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("people")


@require_POST
def notify(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return redirect("people")
    to = get_object_or_404(get_user_model(), username=request.POST.get("to"), username__in=NAMES)
    text = request.POST.get("text", "").strip()[:MAX_CHARACTERS]
    if text:
        send_notification(to, f"{request.user.first_name}: {text}", url="/people/")
    return redirect("people")
