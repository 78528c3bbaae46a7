"""A native EventSource that is cut off: before its first event, and later."""

import pytest

from tests.processes import serve
from tests.relay import relay
from tests.waiting import wait_for

pytestmark = pytest.mark.service("chromium")

LISTEN = """
(url) => {
    window.received = [];
    window.states = [];
    const source = new EventSource(url);
    source.onopen = () => window.states.push("open");
    source.onerror = () => window.states.push("error");
    source.addEventListener("ready", (event) => window.states.push("ready"));
    source.addEventListener("reset", (event) => window.states.push("reset"));
    source.onmessage = (event) => window.received.push([event.data, event.lastEventId]);
}
"""


@pytest.fixture(scope="module")
def server(server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}'}
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


@pytest.mark.parametrize("events_before", [0, 2])
def test_cut_off(page, server, events_before):
    channel = f"browser-{events_before}"

    def send(text):
        assert server.get(f"/send/?channel={channel}&data={text}").status == 200

    with relay(server.port) as between:
        page.goto(f"http://127.0.0.1:{between.port}/")
        page.evaluate(LISTEN, f"/channels/?channel={channel}")
        page.wait_for_function("window.states.includes('ready')")
        for number in range(events_before):
            send(f"before-{number}")
        page.wait_for_function(f"window.received.length === {events_before}")
        between.cut(refuse=True)
        page.wait_for_function("window.states.includes('error')")
        for number in range(3):
            send(f"away-{number}")
        between.mend()
        page.wait_for_function(f"window.received.length >= {events_before + 3}")
        send("after")
        page.wait_for_function(f"window.received.length >= {events_before + 4}")
        received = page.evaluate("window.received")
        wanted = [f"before-{number}" for number in range(events_before)] + [f"away-{number}" for number in range(3)]
        assert [data for data, _ in received] == [*wanted, "after"]
        assert page.evaluate("window.states.filter(state => state === 'ready').length") == 1
        assert "reset" not in page.evaluate("window.states")
        wait_for(lambda: between.accepted >= 2, "a second connection")


def test_a_closed_channel_is_not_asked_for_again(page, server):
    with relay(server.port) as between:
        page.goto(f"http://127.0.0.1:{between.port}/")
        page.evaluate(LISTEN, "/channels/?channel=closing")
        page.wait_for_function("window.states.includes('ready')")
        server.get("/close/?channel=closing")
        # The end is answered once more, with 204, and then the browser gives up.
        page.wait_for_function("window.states.filter(state => state === 'error').length >= 2")
        accepted = between.accepted
        page.wait_for_timeout(2000)  # four reconnections would have come
        assert between.accepted == accepted
