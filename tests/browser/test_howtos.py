"""docs/howto-browser.md: its pages, as they are there, with the libraries that they name."""

import re

import pytest
from playwright.sync_api import expect

from tests.processes import ROOT
from tests.waiting import wait_for

from .tabs import send

pytestmark = [pytest.mark.service("chromium"), pytest.mark.service("npm")]

LIBRARIES = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx-ext-sse.js": "htmx-ext-sse/dist/sse.min.js",
    "htmx4.min.js": "htmx-4/dist/htmx.min.js",
    "hx-sse.min.js": "htmx-4/dist/ext/hx-sse.min.js",
    "turbo.js": "@hotwired/turbo/dist/turbo.es2017-esm.js",
}
PAGE = (ROOT / "docs/howto-browser.md").read_text()
HTML = {
    heading: re.findall(r"^```html\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for heading, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def fulfilled_by(path):
    return lambda route: route.fulfill(path=path)


def answered_with(html):
    return lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8")


@pytest.fixture
def show(page, server):
    """Return a function that opens a page of the how-to, and waits until its stream is open."""
    for name, path in LIBRARIES.items():
        page.route(f"**/static/{name}", fulfilled_by(ROOT / "node_modules" / path))

    def open_page(heading, number=0):
        page.goto(f"{server.url}/howto/{heading}/{number}/")
        wait_for(lambda: server.get("/connections/?channel=news").json() == 1, "the stream")

    yield open_page
    page.goto("about:blank")
    wait_for(lambda: server.get("/connections/?channel=news").json() == 0, "the end of the stream")


def test_every_page_has_a_test():
    tested = {"A page without a script of its own": 2, "Datastar": 1, "EventSource": 1, "Turbo": 1}
    assert {heading: len(blocks) for heading, blocks in HTML.items() if blocks} == {
        **tested,
        **{heading: 1 for heading in HTML if heading.startswith("htmx")},
    }
    assert len(HTML) == 13


def test_the_tag(show, server, page):
    show("A page without a script of its own")
    send(server, "news", "<b>one</b>", "two")
    expect(page.get_by_label("News").locator("div")).to_have_text(["two", "<b>one</b>"])


def test_the_element(show, server, page):
    show("A page without a script of its own", 1)
    send(server, "news", '{"title": "<b>one</b>"}')
    expect(page.locator("li b")).to_have_text("<b>one</b>")
    expect(page.get_by_role("status")).to_have_text("live")


@pytest.mark.parametrize("heading", [heading for heading in HTML if heading.startswith("htmx")])
def test_htmx(show, server, page, heading):
    show(heading)
    send(server, "news", "<li>one</li>", "<li>two</li>")
    expect(page.locator("li")).to_have_text(["one", "two"])


def test_turbo(show, server, page):
    show("Turbo")
    send(
        server,
        "news",
        *(
            f'<turbo-stream action="append" target="news"><template><li>{text}</li></template></turbo-stream>'
            for text in ("one", "two")
        ),
    )
    expect(page.locator("li")).to_have_text(["one", "two"])


def test_turbo_with_the_element(show, server, page):
    show("Turbo", "element")
    send(
        server,
        "news",
        '<turbo-stream action="append" target="news"><template><li>one</li></template></turbo-stream>',
    )
    expect(page.locator("li")).to_have_text(["one"])


def test_event_source(show, server, page):
    show("EventSource")
    send(server, "news", "<b>one</b>")
    expect(page.locator("li")).to_have_text(["<b>one</b>"])


def test_a_service_worker_that_leaves_streams_alone(show, server, page):
    (worker,) = re.findall(r"## A service worker.*?^```javascript\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert worker.count("text/event-stream") == 1
    page.goto(f"{server.url}/worker/?page")
    page.evaluate(
        "navigator.serviceWorker.register('/worker/', { scope: '/' }).then(() => navigator.serviceWorker.ready)"
    )
    show("A page without a script of its own")
    assert page.evaluate("navigator.serviceWorker.controller !== null")
    send(server, "news", "one")
    expect(page.get_by_label("News").locator("div")).to_have_text(["one"])
    page.evaluate("navigator.serviceWorker.getRegistration('/').then(found => found.unregister())")


def test_javascript(page, server):
    """The module's own example: every name in it is there."""
    (code,) = re.findall(r"## From JavaScript.*?^```javascript\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    page.goto(f"{server.url}/client/")
    page.route("**/orders/5/events/", lambda route: route.fulfill(body="", status=204))
    page.route("**/answer/", lambda route: route.fulfill(body="data: because\n\n", content_type="text/event-stream"))
    page.evaluate("() => { window.said = []; console.log = (...values) => said.push(values.join(' ')); }")
    page.add_script_tag(content=code, type="module")
    wait_for(lambda: page.evaluate("said.includes('because')"), "the answer")
    wait_for(lambda: page.evaluate("said.some((text) => text.startsWith('closed'))"), "the state")


# The element on pages that the libraries swap, cache and bring back.

HEAD = """<!doctype html><title>{title}</title><link rel="icon" href="data:,">
<script type="module" src="/static/serversent/serversent.js"></script>{script}"""
ELEMENT = '<event-stream src="/channels/?channel={channel}" autostart {more}></event-stream>'


def test_htmx_swaps_the_element(page, server):
    channel = "swapped"
    part = f'<div id="part" hx-get="/part/" hx-swap="outerHTML">{ELEMENT.format(channel=channel, more="")}</div>'
    script = '<script src="/static/htmx.min.js"></script>'
    page.route("**/static/htmx.min.js", fulfilled_by(ROOT / "node_modules" / LIBRARIES["htmx.min.js"]))
    page.route("**/part/", answered_with(part))
    page.route("**/whole/", answered_with(HEAD.format(title="Whole", script=script) + part))
    page.goto(f"{server.url}/whole/")
    for number in range(3):
        expect(page.locator("event-stream")).to_have_attribute("state", "open")
        send(server, channel, number)
        expect(page.locator("[data-sse-output] > *")).to_have_text([str(number)])  # once, in the part as it is now
        wait_for(lambda: server.get(f"/connections/?channel={channel}").json() == 1, "one connection")
        page.locator("#part").click()
        expect(page.locator("[data-sse-output] > *")).to_have_count(0)


def test_turbo_brings_the_element_back(page, server):
    channel = "restored"
    script = '<script type="module" src="/static/turbo.js"></script>'
    pages = {
        "one": HEAD.format(title="One", script=script)
        + '<body><a href="/turbo/two">two</a>'
        + ELEMENT.format(channel=channel, more="")
        + "</body>",
        "two": HEAD.format(title="Two", script=script) + '<body><a href="/turbo/one">one</a></body>',
    }
    page.route("**/static/turbo.js", fulfilled_by(ROOT / "node_modules" / LIBRARIES["turbo.js"]))
    for name, body in pages.items():
        page.route(f"**/turbo/{name}", answered_with(body))
    page.goto(f"{server.url}/turbo/one")
    element = page.locator("event-stream")
    expect(element).to_have_attribute("state", "open")
    page.evaluate("window.isTheSamePage = true")
    send(server, channel, "here")
    expect(page.locator("[data-sse-output] > *")).to_have_text(["here"])
    page.get_by_role("link", name="two").click()
    expect(page).to_have_title("Two")
    wait_for(lambda: server.get(f"/connections/?channel={channel}").json() == 0, "the end of the connection")
    send(server, channel, "away")
    page.go_back()
    expect(page).to_have_title("One")
    expect(page.locator("[data-sse-output] > *")).to_have_text(
        ["here", "away"]
    )  # a copy of the page, and what it missed
    send(server, channel, "back")
    expect(page.locator("[data-sse-output] > *")).to_have_text(["here", "away", "back"])
    assert page.evaluate("window.isTheSamePage")
    wait_for(lambda: server.get(f"/connections/?channel={channel}").json() == 1, "one connection")
