"""Browsers as Debian has them, as tabs that a test opens, asks and closes; Playwright wants builds of its own.

Chromium by its DevTools protocol, for what Playwright keeps from happening to a tab; Firefox by WebDriver BiDi;
WebKitGTK by its WebDriver.
"""

import contextlib
import itertools
import json
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service
from websockets.sync.client import ClientConnection, connect

from tests.processes import find_program
from tests.waiting import wait_for

__all__ = ["CHROMIUM_FLAGS", "chromium", "firefox", "webkit"]

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP elsewhere.test 127.0.0.1",
]
SECONDS = 30
START_SECONDS = 60  # Firefox has 2 s of work


class _Protocol:
    """Commands over a WebSocket, one at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    def send(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params or {}, **more}))
        while True:
            answer = json.loads(self._socket.recv(timeout=SECONDS))
            if answer.get("id") == number:
                break
        if "error" in answer:
            raise AssertionError(f"{method}: {answer}")
        result: dict[str, Any] = answer["result"]
        return result


@contextlib.contextmanager
def _browser(program: str, *arguments: str, says: str) -> Iterator[str]:
    """Start a browser, headless, with a profile of its own; yields the address that it says it listens on."""
    # Its last process may still write.
    with tempfile.TemporaryDirectory(prefix="serversent-browser-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        command = [str(find_program(program)), *(part.format(folder=folder) for part in arguments)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            found = wait_for(
                lambda: re.search(says, log.read_text(errors="replace")), f"the start of {program}", START_SECONDS
            )
            yield found[1]
        finally:
            process.terminate()
            process.wait(SECONDS)


class ChromiumTab:
    def __init__(self, protocol: _Protocol, url: str) -> None:
        self._protocol = protocol
        self._target = protocol.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = protocol.send("Target.attachToTarget", {"targetId": self._target, "flatten": True})
        self._session = attached["sessionId"]
        self.goto(url)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._protocol.send(method, params, sessionId=self._session)

    def goto(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        wait_for(lambda: self.evaluate("document.readyState") == "complete", "the page")

    def evaluate(self, expression: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def bring_to_front(self) -> None:
        self._protocol.send("Target.activateTarget", {"targetId": self._target})

    def close(self) -> None:
        self._protocol.send("Target.closeTarget", {"targetId": self._target})


class Chromium:
    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol

    def open(self, url: str) -> ChromiumTab:
        return ChromiumTab(self._protocol, url)


@contextlib.contextmanager
def chromium() -> Iterator[Chromium]:
    arguments = ["--headless=new", "--remote-debugging-port=0", "--user-data-dir={folder}", *CHROMIUM_FLAGS]
    with _browser("chromium", *arguments, "about:blank", says=r"DevTools listening on (ws://\S+)") as url:
        with connect(url, max_size=None) as socket:
            yield Chromium(_Protocol(socket))


class FirefoxTab:
    def __init__(self, protocol: _Protocol, url: str) -> None:
        self._protocol = protocol
        self._context = protocol.send("browsingContext.create", {"type": "tab"})["context"]
        self.goto(url)

    def goto(self, url: str) -> None:
        params = {"context": self._context, "url": url, "wait": "complete"}
        self._protocol.send("browsingContext.navigate", params)

    def evaluate(self, expression: str) -> Any:
        # As JSON: what BiDi makes of objects is longer.
        text = f"(async () => JSON.stringify((await ({expression})) ?? null))()"
        target = {"context": self._context}
        params = {"expression": text, "target": target, "awaitPromise": True, "userActivation": True}
        answer = self._protocol.send("script.evaluate", params)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def bring_to_front(self) -> None:
        self._protocol.send("browsingContext.activate", {"context": self._context})

    def close(self) -> None:
        self._protocol.send("browsingContext.close", {"context": self._context})


class Firefox:
    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol
        protocol.send("session.new", {"capabilities": {}})

    def open(self, url: str) -> FirefoxTab:
        return FirefoxTab(self._protocol, url)


@contextlib.contextmanager
def firefox() -> Iterator[Firefox]:
    arguments = ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", "{folder}"]
    with _browser("firefox-esr", *arguments, says=r"WebDriver BiDi listening on (ws://\S+)") as url:
        with connect(f"{url}/session", max_size=None) as socket:
            yield Firefox(_Protocol(socket))


class WebKitTab:
    def __init__(self, driver: Any, url: str) -> None:
        self._driver = driver
        driver.switch_to.window(driver.window_handles[0])  # the one it came from may be closed
        driver.switch_to.new_window("tab")
        self._handle = driver.current_window_handle
        driver.get(url)

    def goto(self, url: str) -> None:
        self._driver.switch_to.window(self._handle)
        self._driver.get(url)

    def evaluate(self, expression: str) -> Any:
        self._driver.switch_to.window(self._handle)
        script = f"const done = arguments[0]; (async () => ({expression}))().then(done, (error) => done(`${{error}}`));"
        return self._driver.execute_async_script(script)

    def bring_to_front(self) -> None:
        self._driver.switch_to.window(self._handle)

    def close(self) -> None:
        self._driver.switch_to.window(self._handle)
        self._driver.close()


class WebKit:
    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def open(self, url: str) -> WebKitTab:
        return WebKitTab(self._driver, url)


@contextlib.contextmanager
def webkit() -> Iterator[WebKit]:
    """WebKitGTK's, which needs a display: one that nobody sees."""
    (mini,) = Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser")
    options = Options()
    options.binary_location = str(mini)
    options.add_argument("--automation")
    with _display() as display:
        service = Service(str(find_program("WebKitWebDriver")), env={**os.environ, "DISPLAY": display})
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of its own ways
            driver = webdriver.WebKitGTK(options=options, service=service)
        try:
            yield WebKit(driver)
        finally:
            driver.quit()


@contextlib.contextmanager
def _display() -> Iterator[str]:
    reading, writing = os.pipe()
    command = [str(find_program("Xvfb")), "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with open(reading) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        process.terminate()
        process.wait(SECONDS)
