"""What happens to pages: networks that go, servers that die, pages that are put aside, and proxies; in Chromium."""

import contextlib

import pytest

from tests.processes import free_port, nginx, serve
from tests.relay import relay
from tests.waiting import wait_for

from .client import Listening, listen, open_client
from .remote import chromium as real_chromium
from .tabs import APPLICATION, Publisher, check_all, connections, listen_all, send, wait_for_one

pytestmark = pytest.mark.service("chromium")


@pytest.fixture(scope="module")
def start(server_folder, sqlite_file):
    """Return a function that starts the server, on one port each time."""
    port = free_port()

    @contextlib.contextmanager
    def start(**settings):
        environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}', "TEST_DEBUG": "1"}
        with serve(
            "uvicorn-httptools", server_folder, application=APPLICATION, environment=environment, port=port
        ) as server:
            yield server

    return start


def open_tabs(page, url, count):
    tabs = [page.context.new_page() for _ in range(count)]
    for tab in tabs:
        open_client(tab, url)
    return tabs


def test_offline_for_ten_seconds(page, start, name):
    with start() as server, relay(server.port) as between:
        tabs = open_tabs(page, f"http://127.0.0.1:{between.port}", 3)
        listening = listen_all(tabs, f"/channels/?channel={name}")
        wait_for_one(server, name)
        with Publisher(server, name) as publisher:
            publisher.wait_more()
            page.context.set_offline(True)  # no new connection; those that are there live on
            between.cut(refuse=True)
            for it in listening:
                it.wait_state("retrying")
            tabs[0].wait_for_timeout(10_000)
            between.mend()
            page.context.set_offline(False)
            for it in listening:
                it.wait_state("open")
            publisher.wait_more()
        check_all(listening, publisher.sent)
        for it in listening:
            assert it.own[0] == "ready"
            assert set(it.own[1:]) == {"error"}
        wait_for_one(server, name)


def test_the_server_is_killed_and_restarted_under_load(page, start, name):
    sent = []
    listening = []
    for number in range(3):
        with start() as server:
            if not listening:
                listening = listen_all(open_tabs(page, server.url, 5), f"/channels/?channel={name}")
            with Publisher(server, name) as publisher:
                publisher.wait_more(50)
                for it in listening:
                    it.wait_state("open")
                publisher.wait_more(50 if number == 2 else 0)
            sent += publisher.sent
            if number == 2:
                check_all(listening, sent)
                wait_for_one(server, name)


def test_back_and_forward(start, name):
    """Playwright switches the back/forward cache off."""
    with start() as server, real_chromium() as browser:
        tab = browser.open("about:blank")
        open_client(tab, server.url)
        it = listen(tab, f"/channels/?channel={name}")
        it.wait_state("open")
        tab.evaluate("void addEventListener('pageshow', (event) => { window.wasKept = event.persisted; })")
        for number in range(2):
            send(server, name, f"here {number}")
            wait_for(lambda it=it, number=number: f"here {number}" in it.data, "the event")
            tab.goto(f"{server.url}/three/")
            wait_for(lambda: connections(server, name) == 0, "the end of the connection")
            send(server, name, f"away {number}")
            tab.evaluate("void history.back()")
            wait_for(lambda: tab.evaluate("window.wasKept") is True, "the page, from the cache")
            it = Listening(tab)
            it.wait_state("open")
        wait_for(lambda: len(it.data) == 4, "all")
        assert it.data == ["here 0", "away 0", "here 1", "away 1"]
        assert it.own == ["ready"]


@pytest.mark.service("nginx")
def test_a_proxy_that_cuts_after_five_seconds(page, start, name):
    with start() as server, nginx(server.port, location="proxy_read_timeout 5s;") as port:
        open_client(page, f"http://127.0.0.1:{port}")
        it = listen(page, f"/channels/?channel={name}")
        wait_for(lambda: it.own == ["ready"], "ready")
        for number in range(2):
            wait_for(lambda number=number: it.states.count("retrying") > number, "the cut", 30)
            send(server, name, number)
            wait_for(lambda number=number: len(it.data) == number + 1, "the event", 60)
        assert it.data == ["0", "1"]


@pytest.mark.service("nginx")
def test_a_proxy_that_buffers(page, start, name):
    said = []
    page.on("console", lambda message: said.append(message.text))
    location = "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_proxied any; gzip_types text/event-stream;"
    with start() as server, nginx(server.port, location=location) as port:
        open_client(page, f"http://127.0.0.1:{port}")
        it = listen(page, f"/channels/?channel={name}")
        it.wait_state("stale")
        assert "no byte for 5 s" in it.why
        assert any("Does a proxy buffer it?" in text for text in said)
