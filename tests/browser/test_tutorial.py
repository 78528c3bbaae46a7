"""The tutorial's project: what the two texts show, with one import changed."""

import re

import pytest
from playwright.sync_api import expect


@pytest.mark.service("chromium")
def test_start_and_stop(page, tutorial):
    page.goto(tutorial.url)
    expect(page.get_by_role("heading", name="Server Sent Events")).to_be_visible()
    start, stop = page.get_by_role("button", name="Start"), page.get_by_role("button", name="Stop")
    expect(stop).to_be_disabled()
    start.click()
    expect(start).to_be_disabled()
    expect(page.locator("#sse-data")).to_have_text(re.compile(r"^\S+ 0\s*\S+ 1\s*\S+ 2"))
    stop.click()
    expect(start).to_be_enabled()
    expect(stop).to_be_disabled()
    before = page.locator("#sse-data").inner_text()
    page.wait_for_timeout(2500)
    assert page.locator("#sse-data").inner_text() == before


@pytest.mark.service("chromium")
def test_updates(page, tutorial):
    page.goto(tutorial.url + "/updates/")
    expect(page.locator("#result")).to_have_text(re.compile("The server time is.*The server time is"))


@pytest.mark.service("chromium")
def test_updates_without_eventsource(page, tutorial):
    page.add_init_script("delete window.EventSource")
    page.goto(tutorial.url + "/updates/")
    expect(page.locator("#result")).to_have_text("Sorry, your browser does not support server-sent events...")


def test_the_streams_of_both_texts_arrive_event_by_event(tutorial):
    for path in ("/stream/", "/updates/stream/"):
        with tutorial.open(path) as stream:
            assert len({event.data for event in stream.take(3)}) == 3
    assert "Traceback" not in tutorial.log
