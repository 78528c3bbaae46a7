"""Chromium, and the projects it looks at, served by their own commands."""

import json
import os
import random
import sys

import pytest
from playwright.sync_api import sync_playwright

from tests import processes
from tests.waiting import DEADLINE_SECONDS

from .remote import CHROMIUM_FLAGS
from .tabs import APPLICATION


# Playwright's sync API keeps an event loop running in this thread, so it must be gone before an async test of another
# module begins.
@pytest.fixture(scope="module")
def chromium():
    program = processes.find_program("chromium-headless-shell") or processes.find_program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    context = chromium.new_context()
    context.set_default_timeout(DEADLINE_SECONDS * 1000)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def server(server_folder, sqlite_file):
    """The tests' project with its static files. A stream that hears nothing for 12.5 s is stale."""
    with serve_project(server_folder, sqlite_file, heartbeat_seconds=5) as server:
        yield server


@pytest.fixture(scope="session")
def server_with_short_heartbeat(server_folder, sqlite_file):
    """For tests of a silence: a stream is stale after 2.5 s."""
    with serve_project(server_folder, sqlite_file, heartbeat_seconds=1) as server:
        yield server


def serve_project(folder, sqlite_file, *, heartbeat_seconds):
    project_settings = {"RETRY_MILLISECONDS": 500, "HEARTBEAT_SECONDS": heartbeat_seconds}
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": json.dumps(project_settings), "TEST_DEBUG": "1"}
    return processes.serve("uvicorn-httptools", folder, application=APPLICATION, environment=environment)


@pytest.fixture
def name():
    """A name that no other test has: of a channel, or of a plan."""
    return f"n{random.randrange(10**9)}"


@pytest.fixture(scope="session")
def demo(server_folder):
    command = [sys.executable, "-m", "serversent.demo", "--port", "{port}", "--folder", str(server_folder / "demo")]
    with processes.serve("demo", server_folder, command=command) as server:
        yield server


@pytest.fixture(scope="session", params=["manage.py runserver", "uvicorn"])
def tutorial(request, server_folder):
    folder = processes.ROOT / "examples" / "tutorial"
    if request.param == "uvicorn":
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--app-dir",
            str(folder),
            "--port",
            "{port}",
            "core.asgi:application",
        ]
    else:
        command = [sys.executable, str(folder / "manage.py"), "runserver", "--noreload", "{port}"]
    environment = {"DJANGO_SETTINGS_MODULE": "core.settings", "PYTHONPATH": os.pathsep.join([str(folder)])}
    with processes.serve("tutorial", server_folder, command=command, environment=environment) as server:
        yield server
