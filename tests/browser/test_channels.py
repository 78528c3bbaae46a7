"""EventSource, the browser's own and npm's, cut off before its first event and later; and at the end of a channel."""

import json
import subprocess
import threading

import pytest

from tests.processes import ROOT, find_program, serve
from tests.relay import relay
from tests.waiting import wait_for

LISTEN = """
(url) => {
    window.seen = [];
    const source = new EventSource(url);
    source.onopen = () => window.seen.push(["open"]);
    source.onerror = () => window.seen.push(["error"]);
    for (const type of ["ready", "reset", "end"]) {
        source.addEventListener(type, () => window.seen.push([type]));
    }
    source.onmessage = (event) => window.seen.push(["message", event.data, event.lastEventId]);
}
"""


@pytest.fixture(scope="module")
def server(server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}'}
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


@pytest.fixture
def native(request):
    """Return a function that connects Chromium's own EventSource, and returns a function: what it has seen."""
    page = request.getfixturevalue("page")

    def connect(origin, path):
        page.goto(origin)
        page.evaluate(LISTEN, path)
        return lambda: page.evaluate("window.seen")

    return connect


@pytest.fixture
def npm():
    """The same for npm's ``eventsource``, in Node."""
    started = []

    def connect(origin, path):
        command = [str(find_program("node")), str(ROOT / "tests/node/listen.mjs"), origin + path]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(map(json.loads, process.stdout)))
        reader.start()
        started.append((process, reader))
        return lambda: seen

    yield connect
    for process, reader in started:
        process.kill()
        reader.join()
        process.stdout.close()
        process.wait()


@pytest.fixture(
    params=[
        pytest.param("native", marks=pytest.mark.service("chromium")),
        pytest.param("npm", marks=pytest.mark.service("npm")),
    ]
)
def connect(request):
    return request.getfixturevalue(request.param)


def count(seen, kind):
    return sum(each[0] == kind for each in seen())


@pytest.mark.parametrize("events_before", [0, 2])
def test_cut_off(connect, server, request, events_before):
    channel = f"cut-{request.node.callspec.id}"

    def send(text):
        assert server.get(f"/send/?channel={channel}&data={text}").status == 200

    with relay(server.port) as between:
        seen = connect(f"http://127.0.0.1:{between.port}", f"/channels/?channel={channel}")
        wait_for(lambda: count(seen, "ready"), "ready")
        for number in range(events_before):
            send(f"before-{number}")
        wait_for(lambda: count(seen, "message") == events_before, "what came before")
        between.cut(refuse=True)
        wait_for(lambda: count(seen, "error"), "the cut to be seen")
        for number in range(3):
            send(f"away-{number}")
        between.mend()
        wait_for(lambda: count(seen, "message") >= events_before + 3, "what was sent meanwhile")
        send("after")
        wait_for(lambda: ["after"] in [each[1:2] for each in seen()], "the last one")
        wanted = [f"before-{number}" for number in range(events_before)] + [f"away-{number}" for number in range(3)]
        assert [each[1] for each in seen() if each[0] == "message"] == [*wanted, "after"]
        assert count(seen, "ready") == 1
        assert count(seen, "reset") == 0
        assert between.accepted >= 2


def test_a_closed_channel_is_not_asked_for_again(connect, server, request):
    channel = f"closing-{request.node.callspec.id}"
    with relay(server.port) as between:
        seen = connect(f"http://127.0.0.1:{between.port}", f"/channels/?channel={channel}")
        wait_for(lambda: count(seen, "ready"), "ready")
        assert server.get(f"/close/?channel={channel}").status == 200
        # The end is answered once more, with 204, and then the client gives up.
        wait_for(lambda: count(seen, "end") and count(seen, "error") >= 2, "the end")
        accepted = between.accepted
        # An absence has no event to wait for: four reconnections would have come.
        threading.Event().wait(2)
        assert between.accepted == accepted
