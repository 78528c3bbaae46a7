"""The browser client in Debian's browsers and against Daphne: start and stop, twelve tabs, a login, a restart."""

import contextlib
import time

import pytest

from tests.processes import free_port, serve
from tests.waiting import wait_for

from . import remote
from .client import listen, open_client
from .tabs import APPLICATION, Publisher, check_all, listen_all, send, wait_for_one

PAIRS = [
    ("firefox", "uvicorn-httptools"),
    ("webkit", "uvicorn-httptools"),
    ("chromium", "daphne"),
    ("firefox", "daphne"),
]


@pytest.fixture(
    scope="module",
    params=[pytest.param(pair, marks=pytest.mark.service(pair[0]), id="-".join(pair)) for pair in PAIRS],
)
def pair(request, server_folder, sqlite_file):
    """Return a browser, and a function that starts its server, on one port each time."""
    browser, kind = request.param
    port = free_port()
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}', "TEST_DEBUG": "1"}

    @contextlib.contextmanager
    def start():
        with serve(kind, server_folder, application=APPLICATION, environment=environment, port=port) as server:
            yield server

    with getattr(remote, browser)() as started:
        yield started, start


def open_tabs(browser, server, count):
    tabs = [browser.open("about:blank") for _ in range(count)]
    for tab in tabs:
        open_client(tab, server.url)
    return tabs


@contextlib.contextmanager
def closing(tabs):
    try:
        yield tabs
    finally:
        for tab in tabs:
            tab.close()


def test_start_and_stop(pair, name):
    browser, start = pair
    with start() as server, closing(open_tabs(browser, server, 1)) as (tab,):
        it = listen(tab, f"/channels/?channel={name}")
        wait_for(lambda: it.own == ["ready"], "ready")
        assert it.state == "open"
        send(server, name, "a")
        it.wait_data(["a"])
        it.stop()
        assert it.state == "closed"
        wait_for(lambda: server.get(f"/connections/?channel={name}").json() == 0, "the end of the connection")
        send(server, name, "b")
        it.start()
        it.wait_data(["a", "b"])


def test_unauthorized(pair):
    browser, start = pair
    with start() as server, closing(open_tabs(browser, server, 1)) as (tab,):
        it = listen(tab, "/mine/")
        it.wait_state("unauthorized")
        assert it.own == ["error", "onUnauthorized"]
        redirected = listen(tab, "/private/", "redirected")
        redirected.wait_state("unauthorized")
        assert "/login/" in redirected.why


def test_twelve_tabs_and_the_site_still_answers(pair, name):
    browser, start = pair
    with start() as server, closing(open_tabs(browser, server, 12)) as tabs:
        listening = listen_all(tabs, f"/channels/?channel={name}")
        wait_for_one(server, name)
        send(server, name, "a")
        for it in listening:
            it.wait_data(["a"])
        began = time.monotonic()
        assert tabs[0].evaluate("fetch('/client/').then(answer => answer.status)") == 200
        assert time.monotonic() - began < 10
        (leader,) = [number for number, it in enumerate(listening) if it.reads]
        tabs.pop(leader).close()
        listening.pop(leader)
        wait_for(lambda: any(it.reads for it in listening), "another that reads")
        send(server, name, "b")
        for it in listening:
            it.wait_data(["a", "b"])


def test_the_server_is_killed_and_restarted_under_load(pair, name):
    browser, start = pair
    with contextlib.ExitStack() as stack:
        with start() as server:
            tabs = stack.enter_context(closing(open_tabs(browser, server, 3)))
            listening = listen_all(tabs, f"/channels/?channel={name}")
            with Publisher(server, name) as publisher:
                publisher.wait_more()
        with start() as server:
            with Publisher(server, name) as again:
                again.wait_more()
                for it in listening:
                    it.wait_state("open")
            check_all(listening, publisher.sent + again.sent)
            wait_for_one(server, name)
