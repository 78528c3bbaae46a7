"""Clients of others over a deployment: the server drains, another follows, and each page is live and misses nothing.

Each page is as docs/howto-browser.md has it, in a browser profile of its own: over HTTP/1.1 one has six connections.
"""

import contextlib
import signal
import subprocess
import sys
import time
import zipfile
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.processes import ROOT, serve
from tests.waiting import DEADLINE_SECONDS, wait_for

from .tabs import APPLICATION
from .test_howtos import LIBRARIES, fulfilled_by

pytestmark = [pytest.mark.service("chromium"), pytest.mark.service("npm")]

PAGES = 5
DRAIN_SECONDS = 8


def item(text):
    return {"data": f"<li>{text}</li>"}


def turbo(text):
    action = f'<turbo-stream action="append" target="news"><template><li>{text}</li></template></turbo-stream>'
    return {"data": action}


def datastar(text):
    return {"data": f"selector #news\nmode append\nelements <li>{text}</li>", "event": "datastar-patch-elements"}


CLIENTS = {"htmx 2": item, "htmx 4": item, "Turbo": turbo, "Datastar": datastar}


@pytest.fixture(scope="session")
def datastar_script(tmp_path_factory):
    """Datastar 1.x, which npm does not have: from a package that ships it."""
    folder = tmp_path_factory.mktemp("datastar")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    command += ["--python-version", "3.13", "--only-binary", ":all:", "starhtml>=0.7"]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    script = folder / "datastar.js"
    with zipfile.ZipFile(wheel) as files:
        script.write_bytes(files.read("starhtml/static/js/datastar-core.js"))
    return script


@pytest.fixture
def serving(server_folder, sqlite_file):
    environment = {
        "TEST_SQLITE": sqlite_file,
        "TEST_SERVERSENT": f'{{"RETRY_MILLISECONDS": 1000, "HEARTBEAT_SECONDS": 1, "DRAIN_SECONDS": {DRAIN_SECONDS}}}',
    }

    def start(port=None):
        kind = "uvicorn-httptools"
        return serve(kind, server_folder, application=APPLICATION, environment=environment, port=port)

    return start


@pytest.fixture
def pages(chromium, datastar_script):
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(PAGES):
            context = stack.enter_context(contextlib.closing(chromium.new_context()))
            context.set_default_timeout(DEADLINE_SECONDS * 1000)
            page = context.new_page()
            for name, path in LIBRARIES.items():
                page.route(f"**/static/{name}", fulfilled_by(ROOT / "node_modules" / path))
            page.route("**/static/datastar.js", fulfilled_by(datastar_script))
            opened.append(page)
        yield opened


def publish(server, event):
    assert server.get("/send/?" + urlencode({"channel": "news", **event})).status == 200


def count_streams(server):
    return server.get("/connections/?channel=news").json()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_deployment(pages, serving, client):
    form = CLIENTS[client]
    with serving() as server:
        for page in pages:
            page.goto(f"{server.url}/howto/{client}/0/")
        wait_for(lambda: count_streams(server) == PAGES, "all streams")
        publish(server, form("before"))
        for page in pages:
            expect(page.locator("li")).to_have_text(["before"])
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(DEADLINE_SECONDS)
        port = server.port
    with serving(port) as server:
        began, returned = time.monotonic(), []
        publish(server, form("while they were away"))
        while len(returned) < PAGES and time.monotonic() < began + 60:
            returned += [time.monotonic() - began] * (count_streams(server) - len(returned))
            time.sleep(0.1)
        assert len(returned) == PAGES, returned
        publish(server, form("after"))
        for page in pages:
            expect(page.locator("li")).to_have_text(["before", "while they were away", "after"])
        assert returned[-1] - returned[0] > DRAIN_SECONDS / 5, f"they came back together: {returned}"
