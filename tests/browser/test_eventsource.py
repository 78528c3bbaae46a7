"""Chromium's own EventSource against the real servers."""

import pytest

from tests.processes import ROOT, reload, serve

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
