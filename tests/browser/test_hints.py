"""What the client says in development, where a page would stay empty: each mistake, with the code that is right."""

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

from tests.waiting import wait_for

from .client import listen, open_client
from .tabs import send, wait_for_one

pytestmark = pytest.mark.service("chromium")


@pytest.fixture
def said(page):
    """What the page's console says of ours."""
    texts = _Console(page)
    page.on("console", lambda message: texts.append(message.text))
    return texts


class _Console(list):
    def __init__(self, page):
        super().__init__()
        self._page = page

    def has(self, pattern):
        self._page.evaluate("0")  # what comes from the browser is taken while this waits
        return any(pattern.search(text) for text in self)


@pytest.fixture
def put(page, server):
    """Return a function that puts HTML into a page with the client in development."""

    def put(html):
        open_client(page, server.url)
        page.evaluate("(html) => { document.body.innerHTML = html; }", html)

    return put


def load(page, server, element, *, script="serversent.js", headers=None):
    """Load a page that has an element as it arrives, and the client after it."""
    body = f"<!doctype html>{element}<script type=module src='/static/serversent/{script}'></script>"
    page.route("**/loaded/", lambda route: route.fulfill(content_type="text/html", headers=headers, body=body))
    page.goto(f"{server.url}/loaded/")


def wait_said(said, words):
    """Wait until the console has these words, once."""
    pattern = re.compile(re.escape(words))
    wait_for(lambda: said.has(pattern), words)
    assert sum(bool(pattern.search(text)) for text in said) == 1
    assert next(text for text in said if pattern.search(text)).startswith("serversent: ")


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("autostart", '<event-stream> has no src: write src="/clock/"'),
        ('src="/mine/"', "<event-stream> was not started: write <event-stream autostart>"),
        ('src="/mine/" mode="top"', 'mode="top" is none of append, prepend, replace, html'),
        ('src="/mine/" limit="x"', 'limit="x" is no number of events to keep'),
        ('src="/mine/" target="#nowhere"', 'target="#nowhere" finds no element of the page'),
        ('src="/nowhere/" autostart', "/nowhere/ answered 404: no view is there. Is its path() in urls.py?"),
        ('src="/client/" autostart', "/client/ is no stream (answered 200 with text/html"),
    ],
)
def test_an_element_that_shows_nothing(put, said, attributes, words):
    put(f"<event-stream {attributes}></event-stream>")
    wait_said(said, words)


def test_an_element_of_the_page_as_it_was_loaded(page, server, said):
    load(page, server, '<event-stream src="/mine/" mode=top></event-stream>')
    wait_said(said, 'mode="top" is none of')


@pytest.mark.parametrize(
    ("field", "data", "words"),
    [
        ("title", "only text", 'data-sse-text="title" finds nothing in the data "only text". It is text; write'),
        ("title", '{"name": "Ada"}', "It has name."),
        ("", "only text", None),
        ("name", '{"name": "Ada"}', None),
    ],
)
def test_a_template_whose_fields_stay_empty(page, put, said, server, name, field, data, words):
    put(
        f'<event-stream autostart src="/channels/?channel={name}">'
        f"<template><p data-sse-text='{field}'></p></template></event-stream>"
    )
    wait_for_one(server, name)
    send(server, name, data, data)
    if words is not None:
        wait_said(said, words)
    else:
        page.locator("event-stream p").nth(1).wait_for(state="attached")
        assert not any("finds nothing in the data" in text for text in said)


def test_an_event_type_that_no_element_shows(put, said, server, name):
    put(f'<event-stream autostart src="/channels/?channel={name}"></event-stream>')
    wait_for_one(server, name)
    server.get(f"/send/?channel={name}&data=x&event=paid")
    wait_said(said, 'an event of type "paid" came, which <event-stream> does not show: write event="message, paid"')


def test_an_answer_in_plain_text_is_shown(page, server, said):
    open_client(page, server.url)
    answer = {"status": 403, "content_type": "text/plain", "body": "This address has expired."}
    page.route("**/refused/", lambda route: route.fulfill(**answer))
    it = listen(page, "/refused/")
    it.wait_state("closed")
    wait_said(said, ": This address has expired.")


def test_another_origin(page, server, said, name):
    open_client(page, server.url)
    listen(page, f"{server.url.replace('127.0.0.1', 'localhost')}/channels/?channel={name}")
    wait_said(said, f'with django-cors-headers: CORS_ALLOWED_ORIGINS = ["{server.url}"]')


def test_a_policy_that_forbids_the_connection(page, server, said):
    policy = {"Content-Security-Policy": "default-src 'none'; script-src 'self'"}
    load(page, server, '<event-stream src="/mine/" autostart></event-stream>', headers=policy)
    wait_said(said, "it needs connect-src 'self'")


def test_an_error_of_the_view_is_shown(page, server, said):
    open_client(page, server.url)
    listen(page, "/error-later/")
    wait_said(said, "ValueError: a secret (shown because DEBUG is on)")


def test_the_file_for_production_has_no_hints(page, server, said):
    load(page, server, '<event-stream src="/nowhere/" mode=top autostart></event-stream>', script="serversent.min.js")
    wait_for(lambda: said.has(re.compile("answered 404")), "the client's own line")
    hint = "Is its path() in urls.py?"
    with_hints, without = (Path(finders.find(f"serversent/{name}.js")) for name in ("serversent", "serversent.min"))
    assert hint in with_hints.read_text()
    assert hint not in without.read_text()
    assert not any("mode=" in text for text in said)


def test_the_other_scripts_of_a_page_may_complete_its_elements(page, server, said):
    later = "<script type=module>document.querySelector('event-stream').setAttribute('src', '/three/')</script>"
    body = f"<script type=module src='/static/serversent/serversent.js'></script>{later}"
    html = f"<!doctype html><event-stream></event-stream>{body}"
    page.route("**/completed/", lambda route: route.fulfill(content_type="text/html", body=html))
    page.goto(f"{server.url}/completed/")
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<event-stream src=/three/ mode=wrong></event-stream>')"
    )
    wait_said(said, 'mode="wrong"')
    assert not [text for text in said if "has no src" in text]
