"""``<event-stream>`` in Chromium: what it shows, its buttons and state, and pages whose parts are swapped."""

import pytest
from playwright.sync_api import expect

from tests.waiting import wait_for

from .client import open_client
from .tabs import connections, send, wait_for_one

pytestmark = pytest.mark.service("chromium")


@pytest.fixture
def show(page, server, name):
    """Return a function that puts an element for the test's channel into a page, and waits until it is open."""

    def put(attributes="autostart", inside="", around="{}", state="open"):
        open_client(page, server.url)
        element = f'<event-stream src="/channels/?channel={name}" {attributes}>{inside}</event-stream>'
        page.evaluate("(html) => { document.body.innerHTML = html; }", around.replace("{}", element))
        elements = page.locator("event-stream")
        for number in range(elements.count()):  # each of them: one that shares a connection is open a little later
            expect(elements.nth(number)).to_have_attribute("state", state)
        return elements.first

    return put


def lines(element):
    return element.locator("[data-sse-output] > *")


def test_text_is_text(show, server, name, page):
    element = show()
    send(server, name, "<script>document.title = 'broken'</script><b>bold</b>", "a\nb")
    expect(lines(element)).to_have_text(["<script>document.title = 'broken'</script><b>bold</b>", "a\nb"])
    assert element.locator("script, b").count() == 0
    assert page.title() == "Client"


def test_modes(show, server, name):
    element = show("autostart mode=prepend")
    send(server, name, "a", "b")
    expect(lines(element)).to_have_text(["b", "a"])
    element = show("autostart mode=replace")
    send(server, name, "c", "<i>d</i>")
    expect(element.locator("[data-sse-output]")).to_have_text("<i>d</i>")
    assert element.locator("i").count() == 0
    element = show("autostart mode=html")
    send(server, name, "<b>e</b>", "<i>f</i>")
    expect(element.locator("[data-sse-output]")).to_have_text("f")
    assert element.locator("i").count() == 1
    element = show("autostart mode='append html'")
    send(server, name, "<b>g</b>", "<i>h</i>")
    expect(lines(element)).to_have_text(["g", "h"])


def test_html_that_was_asked_for_runs_no_script(show, server, name, page):
    element = show("autostart mode=html")
    send(server, name, "<script>document.title = 'broken'</script><p>there</p>")
    expect(element.locator("p")).to_have_text("there")
    assert page.title() == "Client"


def test_limit(show, server, name):
    element = show("autostart limit=3")
    send(server, name, *"abcdef")
    expect(lines(element)).to_have_text(["d", "e", "f"])
    element = show("autostart limit=2 mode=prepend")
    send(server, name, *"abc")
    expect(lines(element)).to_have_text(["c", "b"])
    for limit in ("-1", "", "many"):
        element = show(f"autostart limit='{limit}'")
        send(server, name, *"ab")
        expect(lines(element)).to_have_text(["a", "b"])


def test_target_and_lists(show, server, name, page):
    show("autostart target='#there'", around="<ol id=there></ol>{}")
    send(server, name, "a")
    expect(page.locator("#there > li")).to_have_text(["a"])
    expect(page.get_by_role("list")).to_have_attribute("aria-live", "polite")


def test_types(show, server, name):
    element = show("autostart event='updated, message'")
    assert server.get(f"/send/?channel={name}&event=updated&data=one").status == 200
    assert server.get(f"/send/?channel={name}&event=other&data=two").status == 200
    send(server, name, "three")
    expect(lines(element)).to_have_text(["one", "three"])


def test_a_template_is_filled_in(show, server, name):
    template = (
        "<ul data-sse-output></ul><template><li><b data-sse-text=name></b> <i data-sse-text=count></i>"
        "<u data-sse-text=$id></u><s data-sse-text></s><em data-sse-text=missing></em></li></template>"
    )
    element = show("autostart", template)
    send(server, name, '{"name": "<b>x</b>", "count": 0}', "text")
    expect(element.locator("li")).to_have_count(2)
    first, second = element.locator("li").all()
    expect(first.locator("b")).to_have_text("<b>x</b>")
    expect(first.locator("i")).to_have_text("0")
    expect(first.locator("em")).to_have_text("")
    assert "-" in first.locator("u").inner_text()
    expect(second.locator("s")).to_have_text("text")


def test_buttons_and_state(show, server, name, page):
    buttons = (
        "<button data-sse-start>Start</button><button data-sse-stop>Stop</button>"
        "<span data-sse-state data-open=verbunden></span>"
    )
    element = show("", buttons, state="idle")
    start, stop = page.get_by_role("button", name="Start"), page.get_by_role("button", name="Stop")
    expect(start).to_be_enabled()
    expect(stop).to_be_disabled()
    start.focus()
    page.keyboard.press("Enter")
    expect(element).to_have_attribute("state", "open")
    expect(start).to_be_disabled()
    expect(stop).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("verbunden")
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    send(server, name, "a")
    expect(lines(element)).to_have_text(["a"])
    page.keyboard.press("Enter")
    expect(element).to_have_attribute("state", "closed")
    expect(start).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("closed")
    wait_for(lambda: connections(server, name) == 0, "the end of the connection")
    send(server, name, "b")
    start.click()
    expect(lines(element)).to_have_text(["a", "b"])


def test_roles(show):
    expect(show("autostart").locator("[data-sse-output]")).to_have_attribute("role", "log")
    expect(show("autostart mode=replace").locator("[data-sse-output]")).to_have_attribute("role", "status")
    kept = show("autostart", "<p data-sse-output role=alert></p>").locator("[data-sse-output]")
    expect(kept).to_have_attribute("role", "alert")


def test_trouble_is_shown_after_three_seconds(show, server, name, page):
    element = show()
    page.evaluate(
        """
        () => {
          window.shown = [];
          const element = document.querySelector("event-stream");
          new MutationObserver(() => shown.push(element.getAttribute("state"))).observe(element, { attributes: true });
          // A timer of three seconds ends when the test says so.
          const { setTimeout, clearTimeout } = window;
          window.waiting = new Map();
          window.count = 0;
          window.setTimeout = (run, milliseconds) => {
            if (milliseconds !== 3000) return setTimeout(run, milliseconds);
            count -= 1;
            waiting.set(count, run);
            return count;
          };
          window.clearTimeout = (timer) => waiting.delete(timer) || clearTimeout(timer);
        }
        """
    )
    page.evaluate("document.querySelector('event-stream').stream.leave()")  # a blip
    page.evaluate("document.querySelector('event-stream').stream.join()")
    wait_for(lambda: page.evaluate("count") == -1, "the three seconds")
    wait_for(lambda: page.evaluate("waiting.size") == 0, "the end of the blip")
    assert connections(server, name) == 1
    assert set(page.evaluate("shown")) <= {"open"}
    page.context.set_offline(True)
    page.evaluate("() => { const { stream } = document.querySelector('event-stream'); stream.leave(); stream.join(); }")
    wait_for(lambda: page.evaluate("waiting.size") == 1, "the three seconds")
    expect(element).to_have_attribute("state", "open")
    page.evaluate("waiting.values().next().value()")
    expect(element).to_have_attribute("state", "retrying")
    expect(element.locator("[data-sse-output]")).to_have_attribute("aria-busy", "true")
    page.context.set_offline(False)
    expect(element).to_have_attribute("state", "open")


def test_a_part_that_is_moved_or_swapped_has_one_connection_and_shows_each_event_once(show, server, name, page):
    element = show("autostart", around="<main>{}</main><aside></aside>")
    send(server, name, "a")
    expect(lines(element)).to_have_text(["a"])
    page.evaluate("document.querySelector('aside').append(document.querySelector('event-stream'))")
    send(server, name, "b")
    expect(lines(element)).to_have_text(["a", "b"])
    # As a framework swaps: a copy of the markup as it is now, in the place of the old.
    page.evaluate("() => { const aside = document.querySelector('aside'); aside.innerHTML = aside.innerHTML; }")
    send(server, name, "c")
    expect(lines(element)).to_have_text(["a", "b", "c"])
    wait_for_one(server, name)
    page.evaluate("document.querySelector('event-stream').remove()")
    wait_for(lambda: connections(server, name) == 0, "the end of the connection")


def test_two_elements_of_one_stream_share_a_connection(show, server, name, page):
    show("autostart", around="{}{}")
    send(server, name, "a")
    for number in range(2):
        expect(lines(page.locator("event-stream").nth(number))).to_have_text(["a"])
    wait_for_one(server, name)


def test_another_src_is_another_stream(show, server, name, page):
    element = show()
    send(server, name, "a")
    expect(lines(element)).to_have_text(["a"])
    element.evaluate(f"(element) => element.setAttribute('src', '/channels/?channel={name}-other')")
    wait_for_one(server, f"{name}-other")
    wait_for(lambda: connections(server, name) == 0, "the end of the other connection")
    send(server, f"{name}-other", "b")
    expect(lines(element)).to_have_text(["a", "b"])


@pytest.mark.parametrize("order", [["src", "cursor"], ["cursor", "src"]])
def test_another_src_begins_at_the_cursor_that_comes_with_it(show, server, name, page, order):
    element = show()
    send(server, name, "a")
    expect(lines(element)).to_have_text(["a"])
    cursor = element.get_attribute("cursor")
    send(server, f"{name}-other", "sent meanwhile")
    values = {"src": f"/channels/?channel={name}-other", "cursor": cursor}
    element.evaluate(
        "(element, [order, values]) => { for (const each of order) element.setAttribute(each, values[each]); }",
        [order, values],
    )
    expect(lines(element)).to_have_text(["a", "sent meanwhile"])


def test_stopped_before_its_first_event_it_goes_on_from_there(show, server, name):
    element = show()
    wait_for(lambda: element.evaluate("(element) => element.stream.cursor"), "the cursor")
    element.evaluate("(element) => element.stop()")
    send(server, name, "a")
    element.evaluate("(element) => element.start()")
    expect(lines(element)).to_have_text(["a"])


def test_the_state_survives_a_morph(show, page):
    element = show()
    element.evaluate("(element) => element.removeAttribute('state')")
    expect(element).to_have_attribute("state", "open")


def test_the_page_is_told_and_may_say_no(show, server, name, page):
    element = show()
    page.evaluate(
        """
        () => {
          window.told = [];
          addEventListener("serversent:event", (event) => {
            told.push(event.detail.data);
            if (event.detail.data === "b") event.preventDefault();
          });
        }
        """
    )
    send(server, name, *"abc")
    expect(lines(element)).to_have_text(["a", "c"])
    assert page.evaluate("told") == ["a", "b", "c"]


def test_an_event_between_the_request_and_the_rendering_arrives(server, page, name):
    page.goto(f"{server.url}/between/?channel={name}")
    element = page.locator("event-stream")
    expect(lines(element)).to_have_text([f"while it is rendered {number}" for number in range(3)])
    send(server, name, "later")
    expect(lines(element).last).to_have_text("later")
    expect(page.get_by_role("log")).to_have_attribute("aria-label", "What came")
    with server.open(page.locator("#url").inner_text(), headers={"Cookie": cookies(page)}) as stream:
        assert stream.next().event == "ready"
        assert stream.next().data == "while it is rendered 0"


def cookies(page):
    return "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in page.context.cookies())


def test_events_from_before_the_request_are_not_repeated(server, page, name):
    page.goto(f"{server.url}/client/")
    send(server, name, "before")
    page.goto(f"{server.url}/between/?channel={name}")
    expect(lines(page.locator("event-stream"))).to_have_text([f"while it is rendered {number}" for number in range(3)])
