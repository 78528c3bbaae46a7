"""Chromium's own EventSource against the real servers."""

import time

import pytest

from tests.processes import ROOT, reload, serve
from tests.waiting import wait_for

from .client import listen, open_client
from .tabs import APPLICATION

pytestmark = pytest.mark.service("chromium")

LISTEN = """
url => {
  window.seen = [];
  window.source = new EventSource(url);
  for (const type of ["message", "end"]) {
    source.addEventListener(type, event => seen.push([type, event.data, event.lastEventId]));
  }
}
"""


@pytest.mark.parametrize("kind", ["daphne", "uvicorn-httptools"])
def test_a_generator_that_ends_is_run_once(page, kind, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}'}
    with serve(kind, server_folder, environment=environment) as server:
        page.goto(server.url)
        page.evaluate(LISTEN, "/three/")
        # 2 is CLOSED: the browser came back, got 204, and gave up.
        page.wait_for_function("source.readyState === 2")
        assert page.evaluate("seen") == [
            ["message", "0", ""],
            ["message", "1", ""],
            ["message", "2", ""],
            ["end", "{}", "end"],
        ]
        page.wait_for_timeout(1500)  # three times the reconnection time
        assert server.state()["started"] == ["three"]


def test_a_view_that_refuses_late_is_run_once(page, server_folder, sqlite_file):
    """By EventSource and by our client, neither of which comes back for ever."""
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}', "TEST_DEBUG": "1"}
    kind = "uvicorn-httptools"
    with serve(kind, server_folder, application=APPLICATION, environment=environment) as server:
        page.goto(server.url)
        page.evaluate(LISTEN, "/refused-later/")
        page.wait_for_function("source.readyState === 2")
        assert page.evaluate("seen") == [["end", '{"status": 404}', "end"]]
        page.wait_for_timeout(1500)  # three times the reconnection time
        assert server.state()["started"] == ["refused-later"]
        open_client(page, server.url)
        it = listen(page, "/refused-later/")
        it.wait_state("closed")
        assert it.why == "ended with 404"
        assert it.own[-1] == "error"
        page.wait_for_timeout(1500)
        assert server.state()["started"] == ["refused-later"] * 2


def test_a_view_that_fails_is_asked_again_later_and_later(page, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}'}
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        page.goto(server.url)
        began = time.monotonic()
        page.evaluate(LISTEN, "/error-later/")
        wait_for(lambda: len(server.state()["started"]) >= 5, "the fifth request")
        assert time.monotonic() - began > 4  # twice as long each time; it would be 2 to 3 s with the same each time
        assert server.log.count("Traceback") == 1


def test_the_generator_ends_when_the_page_is_left(page, server_folder, sqlite_file):
    with serve("uvicorn-httptools", server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        page.goto(server.url)
        page.evaluate(LISTEN, "/async/")
        page.wait_for_function("seen.length > 3")
        page.goto("about:blank")
        server.wait_closed("async")


def test_the_browser_comes_back_after_a_drain(page, server_folder, sqlite_file):
    """The server ends the body properly and says when to come back; the page does not see an error for good."""
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}'}
    with serve("runserver-reload", server_folder, environment=environment) as server:
        page.goto(server.url)
        page.evaluate(LISTEN, "/async/")
        page.wait_for_function("seen.length > 3")
        reload(server, ROOT / "tests/project/middleware_for_reload.py", "Starting ASGI/Daphne")
        count = page.evaluate("seen.length")
        page.wait_for_function(f"seen.length > {count} + 3")
