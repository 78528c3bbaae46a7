"""Many tabs of a page whose streams they cannot share, in a browser that hides those in the background."""

import json
import time

import pytest

from tests.waiting import wait_for

from .remote import chromium
from .tabs import send

pytestmark = pytest.mark.service("chromium")

TABS = 14
LOAD_SECONDS = 2  # the target; the test waits for ten times as long

STATES = "[...document.querySelectorAll('event-stream')].map((it) => it.getAttribute('state'))"
TICKS = "[...document.querySelectorAll('event-stream')].map((it) => it.textContent.trim())"
LISTEN_TO_CONSOLE = """
window.said = [];
console.warn = (text) => window.said.push(text);
"""


@pytest.fixture
def browser():
    with chromium() as browser:
        yield browser


def opened(browser, url):
    tab = browser.open("about:blank")
    tab.send("Page.enable")
    tab.send("Page.addScriptToEvaluateOnNewDocument", source=LISTEN_TO_CONSOLE)
    tab.bring_to_front()
    began = time.monotonic()
    tab.goto(url)
    took = time.monotonic() - began
    assert took < 10 * LOAD_SECONDS
    return tab, took


def wait_live(tab):
    wait_for(lambda: tab.evaluate(STATES) and set(tab.evaluate(STATES)) == {"open"}, "all streams of the page")


def is_hidden(tab):
    return tab.evaluate("document.hidden")


@pytest.mark.parametrize("origin", ["127.0.0.1", "elsewhere.test"], ids=["secure", "without locks"])
@pytest.mark.parametrize("each", [True, False], ids=["a channel each", "one channel"])
def test_fourteen_tabs_with_three_generators_and_a_channel(browser, server, name, origin, each):
    url = server.url.replace("127.0.0.1", origin) + "/many-streams/?channel="
    channels = [f"{name}-{number}" if each else name for number in range(TABS)]
    tabs, times = [], []
    for channel in channels:
        tab, took = opened(browser, url + channel)
        wait_live(tab)
        tabs.append(tab)
        times.append(took)
    assert [is_hidden(tab) for tab in tabs] == [True] * (TABS - 1) + [False]
    print("seconds to load:", [round(each, 2) for each in times])
    # The one in front is live, whichever it is, and has missed nothing of its channel.
    for number in (0, 7, TABS - 1):
        send(server, channels[number], f"away {number}")
        tabs[number].bring_to_front()
        wait_live(tabs[number])
        wait_for(lambda number=number: f"away {number}" in tabs[number].evaluate(TICKS)[-1], "what was sent meanwhile")
        before = tabs[number].evaluate(TICKS)[:3]
        wait_for(
            lambda number=number, before=before: all(
                now != then for now, then in zip(tabs[number].evaluate(TICKS)[:3], before, strict=True)
            ),
            "ticks of each generator",
        )
        send(server, channels[number], f"here {number}")
        wait_for(lambda number=number: f"here {number}" in tabs[number].evaluate(TICKS)[-1], "what is sent now")
        # And the site answers.
        assert tabs[number].evaluate(f"fetch({json.dumps('/client/')}).then((answer) => answer.status)") == 200


def test_a_page_that_has_many_streams_is_told_once(browser, server, name):
    tab, _ = opened(browser, f"{server.url}/many-streams/?channel={name}")
    wait_live(tab)
    said = tab.evaluate("window.said")
    assert len(said) == 1
    assert said[0].startswith("serversent: this page has 3 connections to 127.0.0.1:")
    assert 'share="name"' in said[0]


def test_a_hidden_tab_goes_on_while_nobody_needs_its_connections(browser, server, name):
    tab, _ = opened(browser, f"{server.url}/many-streams/?channel={name}")
    wait_live(tab)
    other = browser.open("about:blank")
    other.bring_to_front()
    wait_for(lambda: is_hidden(tab), "the tab in the background")
    send(server, name, "in the background")
    wait_for(lambda: "in the background" in tab.evaluate(TICKS)[-1], "the event")
    assert set(tab.evaluate(STATES)) == {"open"}


def test_fourteen_tabs_of_the_demo(browser, demo):
    """Its counter starts by itself."""
    started = "[...document.querySelectorAll('event-stream[autostart]')].map((it) => it.getAttribute('state'))"

    def wait_front(tab):
        wait_for(lambda: tab.evaluate(started) and set(tab.evaluate(started)) == {"open"}, "the counter")

    tabs, times = [], []
    for _ in range(TABS):
        tab, took = opened(browser, demo.url + "/")
        wait_front(tab)
        tabs.append(tab)
        times.append(took)
    print("seconds to load:", [round(each, 2) for each in times])
    for number in (0, 7, TABS - 1):
        tabs[number].bring_to_front()
        wait_front(tabs[number])
        assert tabs[number].evaluate("fetch('/').then((answer) => answer.status)") == 200
