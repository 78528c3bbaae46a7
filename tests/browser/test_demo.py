"""The demo page in a real browser: Start, events, Stop, and the server's connection gone."""

import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.processes import ROOT
from tests.waiting import wait_for

pytestmark = pytest.mark.service("chromium")

SENTENCE = "Sorry, your browser does not support server-sent events..."


def card(page, heading):
    return page.locator("section", has=page.get_by_role("heading", name=heading, exact=True))


def open_sockets(port):
    """Count the server's established connections, as the kernel lists them."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


@pytest.mark.parametrize(
    ("heading", "pattern"),
    [
        ("Server Sent Events", r"^(🚀|🐎|🌅|🦾|🍇) \d+$"),
        ("Getting server updates", r"^The server time is: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+$"),
    ],
)
def test_start_and_stop(page, demo, heading, pattern):
    page.goto(demo.url)
    section = card(page, heading)
    start, stop = section.get_by_role("button", name="Start"), section.get_by_role("button", name="Stop")
    expect(start).to_be_enabled()
    expect(stop).to_be_disabled()
    start.click()
    expect(start).to_be_disabled()
    expect(stop).to_be_enabled()
    lines = section.get_by_role("log").locator("div")
    expect(lines.nth(2)).to_be_visible()
    for text in lines.all_inner_texts():
        assert re.match(pattern, text)
    if heading == "Server Sent Events":
        assert [text.split()[1] for text in lines.all_inner_texts()[:3]] == ["0", "1", "2"]
    expect(section.get_by_role("status")).to_have_text("connected")
    before = open_sockets(demo.port)
    stop.click()
    expect(start).to_be_enabled()
    expect(stop).to_be_disabled()
    count = lines.count()
    wait_for(lambda: open_sockets(demo.port) == before - 1, "the end of the server's connection")
    page.wait_for_timeout(2500)  # two events would have come
    assert lines.count() == count


def test_the_wire(page, demo):
    page.goto(demo.url)
    section = card(page, "On the wire")
    section.get_by_role("button", name="Start").click()
    lines = section.get_by_role("log").locator("div")
    expect(lines.nth(4)).to_be_visible()
    texts = lines.all_inner_texts()
    assert texts[:2] == [": stream, heartbeat 15 s", "retry: 3000"]
    assert re.match(r"^data: (🚀|🐎|🌅|🦾|🍇) 0$", texts[2])
    expect(section.get_by_role("status")).to_have_text("200 text/event-stream; charset=utf-8")
    section.get_by_role("button", name="Stop").click()
    expect(section.get_by_role("status")).to_have_text("stopped")


def test_the_board_is_shared(page, chromium, demo):
    other = chromium.new_context().new_page()
    for each in (page, other):
        each.goto(demo.url)
        expect(card(each, "A shared board").get_by_role("status")).to_have_text("connected")
    board = card(page, "A shared board")
    board.get_by_label("Your note").fill("<b>hello</b> from one window")
    board.get_by_role("button", name="Send").click()
    note = card(other, "A shared board").get_by_role("listitem").last
    expect(note).to_contain_text("<b>hello</b> from one window")
    assert re.match(r"^[a-z0-9]+-\d+ ", note.inner_text())
    other.context.close()


def test_the_board_misses_nothing_while_the_line_is_cut(page, demo):
    page.goto(demo.url)
    board = card(page, "A shared board")
    expect(board.get_by_role("status")).to_have_text("connected")
    notes = board.get_by_role("listitem")
    before = notes.count()
    board.get_by_role("button", name="Cut the line").click()
    expect(board.get_by_role("status")).to_have_text("reconnecting")
    for number in range(3):
        send_from_a_shell(demo, f"while away {number}")
    expect(board.get_by_role("status")).to_have_text("connected", timeout=60_000)
    expect(notes).to_have_count(before + 3)
    texts = notes.all_inner_texts()[-3:]
    assert [text.split(maxsplit=1)[1] for text in texts] == [f"while away {number}" for number in range(3)]
    ids = [int(text.split()[0].split("-")[1]) for text in texts]
    assert ids == sorted(set(ids))


def send_from_a_shell(demo, text):
    folder = demo.log_path.parent / "demo"
    command = [sys.executable, "-m", "serversent.demo", "--folder", str(folder), "--send", text]
    subprocess.run(command, check=True, timeout=60)


def test_a_browser_that_cannot_is_told(chromium, demo):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(demo.url)
    expect(page.get_by_role("alert")).to_have_text(SENTENCE)
    for number in range(2):
        expect(page.get_by_role("button", name="Start").nth(number)).to_be_disabled()
    # The board's form is an ordinary one.
    page.get_by_label("Your note").fill("without a script")
    page.get_by_role("button", name="Send").click()
    expect(page).to_have_url(f"{demo.url}/")
    context.close()


def test_a_browser_that_can_is_not(page, demo):
    page.goto(demo.url)
    page.wait_for_timeout(2500)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_ten_tabs_have_one_connection(page, demo):
    page.goto(demo.url)
    section = card(page, "One connection for all tabs")
    count = section.locator("[data-sse-output]")
    expect(count).to_have_text("1")
    section.get_by_role("button", name="Open 10 tabs").click()
    expect(section.locator("#tabs-count")).to_have_text("11")
    for number in range(10):
        frame = page.frame_locator("iframe").nth(number)
        expect(frame.locator("event-stream")).to_have_attribute("state", "open")
    expect(count).to_have_text("1")
    board = card(page, "A shared board")
    board.get_by_label("Your note").fill("to all tabs")
    board.get_by_role("button", name="Send").click()
    for number in range(10):
        expect(page.frame_locator("iframe").nth(number).locator("[data-sse-output] p").last).to_have_text("to all tabs")
    section.get_by_role("button", name="Close them").click()
    expect(section.locator("iframe")).to_have_count(0)
    expect(count).to_have_text("1")


def test_a_frozen_tab_loses_the_connection_to_another(page, chromium, demo):
    page.goto(demo.url)
    expect(card(page, "A shared board").get_by_role("status")).to_have_text("connected")
    other = page.context.new_page()
    other.goto(demo.url)
    board = card(other, "A shared board")
    expect(board.get_by_role("status")).to_have_text("connected")
    page.evaluate("void setTimeout(() => document.querySelector('[data-freeze]').click())")
    send_from_a_shell(demo, "while one is frozen")
    expect(board.get_by_role("listitem").last).to_contain_text("while one is frozen")


VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + event.blockedURI));
"""


def test_the_policy_of_the_page_reports_no_violation(page, demo):
    page.add_init_script(VIOLATIONS)
    page.goto(demo.url)
    policy = page.evaluate("fetch('/').then(answer => answer.headers.get('Content-Security-Policy'))")
    assert "script-src 'self';" in policy
    page.get_by_role("button", name="Start").first.click()
    page.get_by_role("button", name="Open 10 tabs").click()
    board = card(page, "A shared board")
    board.get_by_label("Your note").fill("<script>alert(1)</script><img src=x onerror=alert(1)>")
    board.get_by_role("button", name="Send").click()
    expect(board.get_by_role("listitem").last).to_contain_text("<script>alert(1)</script><img src=x onerror=alert(1)>")
    expect(page.frame_locator("iframe").last.locator("event-stream")).to_have_attribute("state", "open")
    assert page.evaluate("violations") == []
    page.evaluate("document.body.append(Object.assign(document.createElement('style'), { textContent: 'p {}' }))")
    wait_for(lambda: page.evaluate("violations"), "a violation of the test's own")


@pytest.mark.service("npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(chromium, demo, scheme):
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(demo.url)
    page.get_by_role("button", name="Start").first.click()
    page.get_by_role("button", name="Open 10 tabs").click()
    expect(page.frame_locator("iframe").last.locator("event-stream")).to_have_attribute("state", "open")
    page.evaluate((ROOT / "node_modules/axe-core/axe.min.js").read_text())
    found = page.evaluate("axe.run().then(({ violations, passes }) => [violations, passes.length])")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found[0]] == []
    assert found[1] > 20
    context.close()


def test_the_line_for_a_terminal(page, demo):
    page.goto(demo.url)
    expect(page.get_by_text(f"curl -N {demo.url}/stream/")).to_be_visible()


def test_the_page_with_the_keyboard(page, demo):
    page.goto(demo.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="notifications")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    section = card(page, "Server Sent Events")
    expect(section.get_by_role("log").locator("div").first).to_be_visible()
    page.keyboard.press("Enter")  # the focus went on to Stop
    expect(section.get_by_role("status")).to_have_text("stopped")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits(chromium, demo, tmp_path, scheme, width):
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(demo.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", background)[:3])) < 200
    assert dark == (scheme == "dark")
    for button in page.get_by_role("button").all():
        assert button.bounding_box()["height"] >= 44  # a finger's size
    context.close()


def test_exact_frames(demo):
    with demo.open("/stream/") as stream:
        stream.take(2)
        assert re.match(
            r": stream, heartbeat 15 s\nretry: 3000\ndata: (🚀|🐎|🌅|🦾|🍇) 0\n\ndata: (🚀|🐎|🌅|🦾|🍇) 1\n\n",
            stream.body.decode(),
        )
    with demo.open("/time/") as stream:
        assert stream.next().data.startswith("The server time is: ")
