"""The bell and the toasts: two browsers of one user, a strict policy, the keyboard, no script at all."""

import json
import urllib.parse

import pytest
from playwright.sync_api import expect

from tests.processes import ROOT, serve
from tests.waiting import wait_for

from . import remote
from .tabs import APPLICATION

pytestmark = pytest.mark.service("chromium")

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "serversent.demo.middleware.content_security_policy",
]
SVG = "<img src=x onerror=document.title='broken'><b>bold</b>"


@pytest.fixture(scope="module")
def server(server_folder, sqlite_file):
    environment = {
        "TEST_SQLITE": sqlite_file,
        "TEST_MIDDLEWARE": " ".join(MIDDLEWARE),
        "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}',
    }
    with serve("uvicorn-httptools", server_folder, application=APPLICATION, environment=environment) as server:
        yield server


def notify(server, user, *texts, **options):
    query = urllib.parse.urlencode([("user", user), *(("text", text) for text in texts), *options.items()])
    assert server.get(f"/notify/?{query}").status == 200


def known(server, user):
    return server.get(f"/notified/?user={user}").json()


def url_of(server, user):
    """The page with the bell, by way of the login."""
    return server.url + "/login/?user=" + user


def open_bell(page, server, user):
    page.goto(url_of(server, user))
    page.goto(server.url + "/bell/")
    expect(page.locator("notification-bell [data-button]")).to_be_visible()
    wait_for(lambda: page.evaluate("document.querySelector('event-stream')?.stream?.state") == "open", "the stream")


@pytest.fixture
def second(chromium):
    """A page of another browser."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def count(page):
    return page.locator("notification-bell [data-button] [data-count]")


def items(page):
    return page.locator("notification-bell .notification-item")


def test_counting_live_and_a_click_in_the_other_browser(page, second, server, name):
    for each in (page, second):
        open_bell(each, server, name)
        expect(count(each)).to_be_hidden()
    notify(server, name, "one", "two")
    notify(server, name, "three", url="#top")
    for each in (page, second):
        expect(count(each)).to_have_text("3")
        expect(each.get_by_role("status")).to_have_text("3 unread")
    page.get_by_role("button", name="Notifications").click()
    expect(items(page)).to_have_count(3)
    assert [text.strip() for text in page.locator(".notification-item .notification-text").all_inner_texts()] == [
        "three",
        "two",
        "one",
    ]
    second.get_by_role("button", name="Notifications").click()
    expect(items(second).nth(2)).to_have_attribute("data-is-unread", "")
    items(page).nth(2).get_by_role("button", name="Mark as read").click()
    for each in (page, second):
        expect(count(each)).to_have_text("2")
        expect(items(each).nth(2)).not_to_have_attribute("data-is-unread", "")
    items(page).nth(0).get_by_role("link", name="three").click()  # also by following it
    expect(page).to_have_url(server.url + "/bell/#top")
    expect(count(second)).to_have_text("1")
    items(second).nth(1).get_by_role("button", name="Delete").click()
    for each in (page, second):
        expect(count(each)).to_be_hidden()
        expect(items(each)).to_have_count(2)
    notify(server, name, "four")
    expect(items(second).first).to_contain_text("four")
    second.get_by_role("button", name="Mark all as read").click()
    expect(count(page)).to_be_hidden()
    assert [(text, read) for text, _, read in known(server, name)] == [("one", True), ("three", True), ("four", True)]
    wait_for(lambda: all(sent for _, sent, _ in known(server, name)), "all of them marked as sent")


def test_a_page_without_a_bell_open_hears_of_the_number(page, second, server, name):
    open_bell(page, server, name)
    notify(server, name, *map(str, range(120)))
    expect(count(page)).to_have_text("99+")
    expect(page.get_by_role("status")).to_have_text("120 unread")
    open_bell(second, server, name)  # rendered with it
    expect(count(second)).to_have_text("99+")
    second.get_by_role("button", name="Notifications").click()
    expect(items(second)).to_have_count(20)
    second.get_by_role("button", name="Show more").click()
    expect(items(second)).to_have_count(40)
    second.get_by_role("button", name="Mark all as read").click()  # more than an event names
    expect(count(page)).to_be_hidden()
    expect(count(second)).to_be_hidden()
    expect(items(second)).to_have_count(20)
    expect(second.locator(".notification-item[data-is-unread]")).to_have_count(0)


def test_a_number_that_was_wrong_is_asked_for(page, server, name):
    """Two changes at the same moment do not see each other."""
    open_bell(page, server, name)
    notify(server, name, "one", "two")
    expect(count(page)).to_have_text("2")
    page.evaluate("document.querySelector('notification-bell').changed({unread: 7, change: 'read', ids: []})")
    expect(count(page)).to_have_text("7")
    expect(count(page)).to_have_text("2")


def test_while_away_and_once(page, server, name):
    """Close it, send three, open it: three come, in order, once."""
    open_bell(page, server, name)
    page.goto("about:blank")
    notify(server, name, "one", "two", "three")
    open_bell(page, server, name)
    toasts = page.locator(".notification-toast .notification-text")
    expect(toasts).to_have_text(["one", "two", "three"])
    expect(count(page)).to_have_text("3")
    wait_for(lambda: all(sent for _, sent, _ in known(server, name)), "the marks")
    page.reload()
    expect(count(page)).to_have_text("3")
    wait_for(lambda: page.evaluate("document.querySelector('event-stream')?.stream?.state") == "open", "the stream")
    notify(server, name, "four")
    expect(toasts).to_have_text(["four"])


def test_text_stays_text_and_only_safe_urls_are_links(page, server, name):
    open_bell(page, server, name)
    notify(server, name, SVG, url="/bell/")
    toast = page.locator(".notification-toast")
    expect(toast.locator(".notification-text")).to_have_text(SVG)
    expect(toast.get_by_role("link", name="Open")).to_have_attribute("href", "/bell/")
    unsafe = "{id: 9, text: 'x', level: 'info', url: 'java\\nscript:alert(1)', created_at: '2024-01-01', read: false}"
    page.evaluate(f"document.querySelector('notification-toasts').arrived({unsafe})")
    expect(toast.last.locator("a")).not_to_have_attribute("href", "java\nscript:alert(1)")
    expect(toast.last.locator("a")).to_be_hidden()
    page.get_by_role("button", name="Notifications").click()
    expect(items(page).locator(".notification-text")).to_have_text([SVG])
    page.goto(server.url + "/notifications/")
    expect(page.locator(".notification-text")).to_have_text([SVG])
    expect(page).to_have_title("Notifications")
    assert page.locator("img, b").count() == 0


def test_toasts(page, server, name):
    open_bell(page, server, name)
    for level in ("success", "error"):
        notify(server, name, level, level=level)
    toasts = page.locator(".notification-toast")
    expect(toasts).to_have_count(2)
    assert toasts.nth(0).get_attribute("data-level") == "success"
    expect(page.get_by_role("alert")).to_contain_text("error")
    expect(toasts).to_have_count(1, timeout=20_000)  # an error stays
    toasts.get_by_role("button", name="Dismiss").click()
    expect(toasts).to_have_count(0)
    expect(count(page)).to_have_text("2")  # dismissed is not read
    notify(server, name, "leads on", level="error", url="#top")
    toasts.get_by_role("link", name="Open").click()
    expect(toasts).to_have_count(0)
    expect(count(page)).to_have_text("2")


def test_of_many_that_come_at_once_the_newest_are_shown(page, server, name):
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(url_of(server, name))
    page.goto("about:blank")
    notify(server, name, *(f"{number} " + "long " * 200 for number in range(12)))
    open_bell(page, server, name)
    expect(count(page)).to_have_text("12")
    toasts = page.locator(".notification-toast")
    expect(toasts).to_have_count(5)
    expect(toasts).to_contain_text([f"{number} long" for number in range(7, 12)])
    box = toasts.first.bounding_box()
    assert box["y"] >= 0


def test_all_are_read_whatever_came_first(page, server, name):
    """Of two that are sent at the same moment the one with the higher number may be committed first."""
    open_bell(page, server, name)
    notify(server, name, "one", "two")
    page.get_by_role("button", name="Notifications").click()
    expect(items(page)).to_have_count(2)
    page.evaluate("const list = document.querySelector('[data-items]'); list.prepend(list.lastElementChild)")
    page.get_by_role("button", name="Mark all as read").click()
    expect(count(page)).to_be_hidden()


def test_a_list_that_was_opened_before_the_stream_began(page, server, name):
    page.goto(url_of(server, name))
    notify(server, name, "one", "two", "three")
    waiting = []
    page.route("**/notifications/stream/", lambda route: waiting.append(route))
    page.goto(server.url + "/bell/")
    page.get_by_role("button", name="Notifications").click()
    expect(items(page)).to_have_count(3)
    wait_for(lambda: page.wait_for_timeout(50) or waiting, "the request of the stream")
    waiting[0].continue_()
    expect(page.locator(".notification-toast")).to_have_count(3)
    expect(count(page)).to_have_text("3")
    expect(items(page)).to_have_count(3)


def test_a_notification_that_the_list_has_counts_once(page, server, name):
    """An event may come after the answer that has counted it."""
    open_bell(page, server, name)
    notify(server, name, "one", "two")
    page.get_by_role("button", name="Notifications").click()
    expect(items(page)).to_have_count(2)
    event = {"id": int(items(page).first.get_attribute("data-id")), "text": "two", "level": "info", "url": ""}
    page.evaluate(f"document.querySelector('notification-bell').arrived({json.dumps(event)})")
    expect(count(page)).to_have_text("2")
    expect(items(page)).to_have_count(2)


def test_a_notification_that_is_sent_again_counts_once(page, server, name):
    open_bell(page, server, name)
    notify(server, name, "one", "two")
    expect(count(page)).to_have_text("2")
    page.evaluate("document.querySelectorAll('.notification-toast').forEach((toast) => toast.remove())")
    assert server.get(f"/notify-again/?user={name}").status == 200
    expect(page.locator(".notification-toast")).to_have_count(2)
    expect(count(page)).to_have_text("2")


def test_a_page_that_is_morphed_keeps_its_stream_and_its_bell(chromium, server, name):
    """What a script has changed is changed back, and what it has added is gone."""
    page = chromium.new_context(bypass_csp=True).new_page()
    open_bell(page, server, name)
    page.evaluate(
        """async () => {
            const html = await (await fetch(location.href)).text();
            const { body } = new DOMParser().parseFromString(html, "text/html");
            const old = document.querySelector("notification-bell");
            const fresh = body.querySelector("notification-bell");
            old.replaceChildren(...fresh.childNodes);
            for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
            for (const added of document.body.querySelectorAll("event-stream")) added.remove();
        }"""
    )
    notify(server, name, "one")
    expect(count(page)).to_have_text("1")
    page.get_by_role("button", name="Notifications").click()
    expect(items(page)).to_have_count(1)
    page.context.close()


def test_a_browser_without_popovers_keeps_the_link(chromium, server, name):
    page = chromium.new_context().new_page()
    page.route("**/notifications.css", lambda route: route.fulfill(content_type="text/css", body=without_popovers()))
    page.add_init_script(
        "delete HTMLElement.prototype.popover; const { matches } = Element.prototype;"
        "Element.prototype.matches = function (selector) {"
        "  if (selector === ':popover-open') throw new SyntaxError(selector);"
        "  return matches.call(this, selector); }"
    )
    page.goto(url_of(server, name))
    page.goto(server.url + "/bell/")
    wait_for(lambda: page.evaluate("document.querySelector('event-stream')?.stream?.state") == "open", "the stream")
    notify(server, name, "one")
    expect(page.locator("notification-bell [data-link] [data-count]")).to_have_text("1")
    page.locator("notification-bell [data-link]").click()
    expect(page.get_by_role("heading", name="Notifications")).to_be_visible()
    page.context.close()


def without_popovers():
    folder = ROOT / "src/serversent/notifications/static/serversent"
    return (folder / "notifications.css").read_text().replace("selector(:popover-open)", "selector(:unknown)")


def test_variables_of_the_page(page, server, name):
    open_bell(page, server, name)
    color = "getComputedStyle(document.querySelector('notification-bell [data-panel]')).backgroundColor"
    assert page.evaluate(color) == "rgb(255, 255, 255)"
    for selector, rgb in ((":root", "rgb(1, 2, 3)"), ("main, header, nav, body", "rgb(4, 5, 6)")):
        rule = f"{selector} {{ --notification-background: {rgb} }}"
        page.evaluate(f"document.styleSheets[0].insertRule({json.dumps(rule)})")
        assert page.evaluate(color) == rgb


def test_an_unknown_language(page, server, name):
    for lang in ("en_US", "no language at all"):
        open_bell(page, server, name)
        notify(server, name, "one")
        page.evaluate(f"document.documentElement.lang = '{lang}'")
        page.get_by_role("button", name="Notifications").click()
        expect(page.locator(".notification-item time").first).to_contain_text("20")


def test_the_keyboard(page, server, name):
    open_bell(page, server, name)
    notify(server, name, "one", "two", url="#top")
    expect(count(page)).to_have_text("2")
    page.locator("notification-bell [data-button]").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Notifications")).to_be_visible()
    expect(items(page)).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Mark all as read")).to_be_focused()
    page.keyboard.press("Tab")
    expect(items(page).nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("notification-bell [data-button]")).to_be_focused()
    expect(page.locator("notification-bell [data-button]")).to_have_attribute("aria-expanded", "false")


def test_without_the_style_sheet_the_bell_is_one_thing(page, chromium, server, name):
    page.route("**/notifications.css", lambda route: route.abort())
    open_bell(page, server, name)
    expect(page.locator("notification-bell [data-link]")).to_be_hidden()
    expect(page.locator("notification-bell [data-panel]")).to_be_hidden()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.route("**/notifications.css", lambda route: route.abort())
    page.goto(url_of(server, name))
    page.goto(server.url + "/bell/")
    expect(page.locator("notification-bell [data-link]")).to_be_visible()
    expect(page.locator("notification-bell [data-button]")).to_be_hidden()
    context.close()


def test_without_javascript(chromium, server, name):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url_of(server, name))
    notify(server, name, *(f"text {number}" for number in range(25)))
    page.goto(server.url + "/bell/")
    page.get_by_role("link", name="Notifications, 25 unread").click()
    expect(page.get_by_role("heading", name="Notifications")).to_be_visible()
    expect(page.locator(".notification-item")).to_have_count(20)
    page.get_by_role("button", name="Mark as read").first.click()
    expect(page.get_by_text("24 unread")).to_be_visible()
    page.get_by_role("button", name="Delete").last.click()
    expect(page.get_by_text("23 unread")).to_be_visible()
    page.get_by_role("link", name="Older").click()
    expect(page.locator(".notification-item")).to_have_count(4)
    page.go_back()
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.get_by_text("0 unread")).to_be_visible()
    context.close()


def test_in_german(chromium, server, name):
    context = chromium.new_context(locale="de-DE")
    page = context.new_page()
    open_bell(page, server, name)
    notify(server, name, "eins")
    page.get_by_role("button", name="Benachrichtigungen").click()
    expect(page.get_by_role("button", name="Alle als gelesen markieren")).to_be_enabled()
    expect(page.get_by_role("status")).to_have_text("1 ungelesen")
    page.goto(server.url + "/notifications/")
    expect(page.get_by_role("button", name="Als gelesen markieren", exact=True)).to_be_visible()
    context.close()


def test_a_bell_that_is_moved_or_replaced_keeps_its_stream(page, server, name):
    open_bell(page, server, name)
    page.evaluate("document.querySelector('main').append(document.querySelector('notification-bell'))")
    page.evaluate("document.querySelector('notification-toasts').remove()")
    notify(server, name, "one")
    expect(count(page)).to_have_text("1")
    page.evaluate("document.querySelector('notification-bell').remove()")
    wait_for(lambda: page.evaluate("document.querySelector('event-stream') === null"), "the end of the stream")


@pytest.mark.service("npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(chromium, server, name, scheme):
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    open_bell(page, server, name)
    for level in ("debug", "info", "success", "warning", "error"):
        notify(server, name, f"A text of the level {level}", level=level, url="#top")
    expect(page.locator(".notification-toast")).to_have_count(5)
    page.get_by_role("button", name="Notifications").click()
    expect(items(page)).to_have_count(5)
    items(page).nth(1).get_by_role("button", name="Mark as read").click()
    for path in ("", "/notifications/"):
        if path:
            page.goto(server.url + path)
        page.evaluate((ROOT / "node_modules/axe-core/axe.min.js").read_text())
        found = page.evaluate("axe.run().then(({ violations, passes }) => [violations, passes.length])")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found[0]] == []
        assert found[1] > 15
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_bell_fits_the_screen(chromium, server, name, tmp_path, scheme, width):
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    open_bell(page, server, name)
    notify(server, name, "A long text that has to be broken into lines. " * 4, url="/bell/", level="success")
    notify(server, name, "Averylongwordwithoutanyspace" * 6, level="error")
    page.get_by_role("button", name="Notifications").click()
    expect(items(page)).to_have_count(2)
    for path in ("", "/notifications/"):
        if path:
            page.goto(server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for box in [element.bounding_box() for element in page.locator("button:visible, a:visible").all()]:
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        page.screenshot(path=tmp_path / f"{scheme}-{width}{path.strip('/')}.png")
    context.close()


@pytest.mark.service("firefox")
def test_firefox_and_chromium(server, page, name):
    """Two browsers of two makers: both count up, and a click in the one marks read in the other."""
    open_bell(page, server, name)
    with remote.firefox() as firefox:
        tab = firefox.open(url_of(server, name))
        tab.goto(server.url + "/bell/")
        wait_for(lambda: tab.evaluate("document.querySelector('event-stream')?.stream?.state") == "open", "the stream")

        def text(selector):
            return tab.evaluate(f"document.querySelector('{selector}')?.textContent ?? null")

        notify(server, name, SVG, "two")
        wait_for(lambda: text("notification-bell [data-button] [data-count]") == "2", "the number in Firefox")
        expect(count(page)).to_have_text("2")
        assert text(".notification-toast .notification-text") == SVG
        tab.evaluate("document.querySelector('notification-bell [data-button]').click()")
        wait_for(lambda: text(".notification-item .notification-text") == "two", "the list in Firefox")
        tab.evaluate("document.querySelector('.notification-item [data-read]').click()")
        expect(count(page)).to_have_text("1")
        page.get_by_role("button", name="Notifications").click()
        page.get_by_role("button", name="Mark all as read").click()
        wait_for(
            lambda: tab.evaluate("document.querySelector('notification-bell [data-button] [data-count]').hidden"),
            "nothing left in Firefox",
        )
        tab.close()
