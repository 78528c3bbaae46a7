"""Views for the browser client's tests: a page with it, and answers of every kind, in an order that a test sets."""

import asyncio
import re
import time
from collections import defaultdict
from pathlib import Path

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.db.transaction import non_atomic_requests
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template import RequestContext, Template
from django.templatetags.static import static
from django.views.decorators.csrf import csrf_exempt

from serversent import channel_stream, event_stream, send_event
from serversent.serving.registry import connection_registry

ROOT = Path(__file__).resolve().parents[2]

asked: dict[str, list[dict[str, object]]] = defaultdict(list)


@login_not_required
def client(request):
    """A page with the client; ``?without`` the tag that loads it."""
    context = {"script": static("serversent/serversent.js"), "without": "without" in request.GET}
    return render(request, "client.html", context)


MANY_STREAMS = """{% load serversent %}<!doctype html><title>many</title>{% sse_script %}
{% for number in "123" %}{% event_stream url="/async/" mode="replace" %}{% endfor %}
{% event_stream channel public=True %}"""


@login_not_required
def many_streams(request):
    """A page with three streams of generators, and one of a channel of its own."""
    context = {"channel": request.GET.get("channel", "news")}
    return HttpResponse(Template(MANY_STREAMS).render(RequestContext(request, context)))


@csrf_exempt
@non_atomic_requests
@login_not_required
async def answer(request, name):
    """Give the next answer of ``?plan=``, and the last one again and again. ``/asked/`` tells when each was given."""
    given = asked[name]
    given.append(
        {
            "at": time.time(),
            "method": request.method,
            "cursor": request.headers.get("Last-Event-ID", ""),
            "query": request.GET.get("lastEventId", ""),
            "header": request.headers.get("X-Test", ""),
            "body": request.body.decode(),
        }
    )
    plan = request.GET["plan"].split(",")
    step, _, detail = plan[min(len(given), len(plan)) - 1].partition(":")
    match step:
        case "frames":  # as they are, and then nothing for a long time
            return StreamingHttpResponse(_frames(detail, 60), content_type="text/event-stream; charset=utf-8")
        case "cut":  # as they are, and then the end of the body
            return StreamingHttpResponse(_frames(detail, 0), content_type="text/event-stream")
        case "type":
            return HttpResponse("data: one\n\n", content_type=detail)
        case "late":  # no answer for so many seconds
            await asyncio.sleep(float(detail))
            return StreamingHttpResponse(_frames("data: late\\n\\n", 60), content_type="text/event-stream")
    status, _, wait = step.partition("+")
    response = HttpResponse(f"the answer {status}", status=int(status))
    if wait := wait or request.GET.get("retry_after"):
        response.headers["Retry-After"] = wait
    if detail:
        response.headers["Location"] = detail
    return response


async def _frames(text, seconds):
    for part in text.replace("\\n", "\n").split("|"):
        yield part
    await asyncio.sleep(seconds)


@non_atomic_requests
@login_not_required
async def what_was_asked(request, name):
    return JsonResponse(asked[name], safe=False)


@non_atomic_requests
@login_not_required
async def connections(request):
    """Count the open connections of a channel."""
    channel = request.GET["channel"]
    return JsonResponse(sum(channel in connection.channels for connection in connection_registry()), safe=False)


@login_not_required
def between(request):
    """A page whose events come between its queries and its stream."""
    channel = request.GET["channel"]
    shown = request.GET.get("shown", "nothing")  # what its queries found
    for number in range(3):
        send_event(channel, f"while it is rendered {number}")
    return render(request, "between.html", {"channel": channel, "shown": shown})


@channel_stream
def mine(request):
    """The channel of who is logged in."""
    if not request.user.is_authenticated:
        return HttpResponse("Log in.", status=401)
    return f"user-{request.user.pk}"


@event_stream
async def slowly(request):
    for number in range(4):
        yield number
        await asyncio.sleep(0.7)


@login_not_required
def users(request):
    return JsonResponse([[user.username, user.pk] for user in get_user_model().objects.all()], safe=False)


@login_not_required
def howto(request, heading, number):
    """A page of docs/howto-browser.md."""
    text = (ROOT / "docs/howto-browser.md").read_text()
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    blocks = re.findall(r"^```html\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    if number == "element":  # the one that a sentence shows
        (element,) = re.findall(r"`(<event-stream .*?>)`", section)
        block = re.sub("<turbo-stream-source.*?</turbo-stream-source>", element + "</event-stream>", blocks[0])
        block = block.replace("static %}", "static %}{% sse_script %}", 1)
    else:
        block = blocks[int(number)]
    body = Template(block).render(RequestContext(request))
    return HttpResponse(f"<!doctype html><title>{heading}</title><link rel=icon href='data:,'>{body}")


@login_not_required
def worker(request):
    if "page" in request.GET:
        return HttpResponse("<!doctype html><title>Worker</title>")
    text = (ROOT / "docs/howto-browser.md").read_text()
    (code,) = re.findall(r"## A service worker.*?^```javascript\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    code += "self.addEventListener('activate', (event) => event.waitUntil(clients.claim()));"
    return HttpResponse(code, content_type="text/javascript", headers={"Service-Worker-Allowed": "/"})
