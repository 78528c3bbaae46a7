"""The README and the tutorial, typed word for word in an empty folder, with the wheel: they end in live pages."""

import re

import pytest
from playwright.sync_api import expect

from tests.processes import ROOT

from .typist import Typist, boxes, build_wheel, is_server

pytestmark = [pytest.mark.service("chromium"), pytest.mark.service("npm")]

MOST_LINES = 25

# What a page's console or a server's log says if something is wrong.
TROUBLE = re.compile("warning|error|exception|traceback|not found", re.IGNORECASE)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    build_wheel(folder)
    return folder


@pytest.fixture(autouse=True)
def patience():
    """A client comes back some seconds after its server."""
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture
def typist(tmp_path, wheels):
    return Typist(tmp_path, wheels)


@pytest.fixture
def browse(chromium):
    """Return a function that opens pages of one browser, whose consoles have to stay empty."""
    context, said = chromium.new_context(), []
    context.set_default_timeout(60_000)

    def open_pages(url, count=1):
        pages = [context.new_page() for _ in range(count)]
        for page in pages:
            page.on("console", lambda message: said.append(f"{message.text} {message.location['url']}"))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(url)
        return pages

    open_pages.said = said
    yield open_pages
    context.close()


def troubles(said):
    """What the consoles say, but for a server that was stopped for a while, and the icon that Django's admin lacks."""
    expected = re.compile(r"ERR_CONNECTION_REFUSED|serversent: no answer|/favicon\.ico$")
    return [text for text in said if not expected.search(text)]


def server_line(boxes):
    return next(line for box in boxes for line in box.text.splitlines() if is_server(line))


def test_the_readme(typist, browse):
    *before, last = boxes(ROOT / "README.md", section="Your first live page")
    for box in before:
        typist.type(box)
    send = last.text.splitlines()[-1]
    with typist.serving(server_line(before)) as server:
        pages = browse(server.url + "/", 3)
        for page in pages:
            expect(page.locator("event-stream")).to_have_attribute("state", "open")
        typist.type(last)
        for page in pages:
            expect(page.locator("event-stream")).to_have_text("Hello")
        first_log = server.log
    typist.run(send.replace("Hello", "Missed?"))
    with typist.serving(server_line(before), port=server.port):
        for page in pages:
            expect(page.locator("event-stream")).to_have_text("Hello\nMissed?", use_inner_text=True)
    assert "no issues" in typist.run("python manage.py check")
    assert len(typist.lines) <= MOST_LINES, typist.lines
    assert not TROUBLE.search(first_log), first_log
    assert troubles(browse.said) == []


def test_the_tutorial(typist, browse):
    page = ROOT / "docs/tutorial.md"
    *steps, send, user, notify, install, settings, production = boxes(page)
    for box in steps:
        typist.type(box)
    with typist.serving(server_line(steps)) as server:
        one, two = browse(server.url + "/", 2)
        fruits, news = one.locator("event-stream").nth(0), one.locator("event-stream").nth(1)
        one.get_by_role("button", name="Start").click()
        expect(fruits.locator("[data-sse-output]")).to_have_text(re.compile(r"\S 0.*\S 1", re.DOTALL))
        one.locator("input[name=text]").fill("Cherries are ripe")
        one.get_by_role("button", name="Tell everybody").click()
        for each in (one, two):
            expect(each.locator("event-stream").nth(1)).to_have_text("Cherries are ripe")
        typist.type(send)
        expect(news).to_contain_text("Hello from a shell")
        port = server.port
    typist.run("python manage.py serversent send news 'while you were away'")
    with typist.serving(server_line(steps), port=port) as server:
        for each in (one, two):
            expect(each.locator("event-stream").nth(1)).to_contain_text("while you were away")
        typist.type(user)
        one.goto(server.url + "/admin/")
        one.locator("input[name=username]").fill("ada")
        one.locator("input[name=password]").fill("secret")
        one.locator("[type=submit]").click()
        expect(one.locator("#site-name")).to_be_visible()
        one.goto(server.url + "/")
        typist.type(notify)
        expect(one.locator("notification-bell [data-button] [data-count]")).to_have_text("1")
        expect(one.locator("notification-toasts")).to_contain_text("Your report is ready")
        assert "Traceback" not in server.log
    typist.type(install)
    typist.type(settings)
    typist.type(production)
    with typist.serving(server_line([production]), port=port) as server:
        one.goto(server.url + "/")
        expect(one.locator("event-stream").nth(1)).to_have_attribute("state", "open")
        expect(one.locator("notification-bell [data-button] [data-count]")).to_have_text("1")
        expect(one.locator("notification-bell [data-link]")).to_be_hidden()
        typist.run("python manage.py serversent send news 'in production'")
        expect(one.locator("event-stream").nth(1)).to_contain_text("in production")
        assert "Traceback" not in server.log
    assert troubles(browse.said) == []
