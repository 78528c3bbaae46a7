"""The demo's two people: each in a browser of their own, from the page, from the admin, from a shell."""

import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.processes import ROOT

pytestmark = pytest.mark.service("chromium")


@pytest.fixture
def people(chromium, demo):
    """Ada and Grace, logged in, each in a browser of her own."""
    contexts = [chromium.new_context() for _ in range(2)]
    pages = []
    for context, name in zip(contexts, ("Ada", "Grace"), strict=True):
        page = context.new_page()
        page.goto(demo.url + "/people/")
        page.get_by_role("button", name=f"I am {name}").click()
        expect(page.get_by_role("heading", name=f"You are {name}")).to_be_visible()
        expect(page.locator("event-stream")).to_have_attribute("state", "open")
        page.get_by_role("button", name="Notifications").click()
        if page.get_by_role("button", name="Mark all as read").is_enabled():
            page.get_by_role("button", name="Mark all as read").click()
        expect(page.locator("[data-button] [data-count]")).to_be_hidden()
        page.keyboard.press("Escape")
        pages.append(page)
    yield pages
    for context in contexts:
        context.close()


def tell(page, name, text):
    page.get_by_label(f"What to tell {name}").fill(text)
    page.get_by_role("button", name=f"Send to {name}").click()


def toasts(page):
    return page.locator(".notification-toast .notification-text")


def test_from_one_to_the_other(people):
    ada, grace = people
    tell(ada, "Grace", "Hello <b>Grace</b>")
    expect(toasts(grace)).to_have_text(["Ada: Hello <b>Grace</b>"])
    expect(grace.locator("[data-button] [data-count]")).to_have_text("1")
    tell(grace, "Ada", "Hello Ada")
    expect(toasts(ada)).to_have_text(["Grace: Hello Ada"])


def test_close_one_send_three_open_it(people, demo):
    ada, grace = people
    grace.goto("about:blank")
    for text in ("one", "two", "three"):
        tell(ada, "Grace", text)
        expect(ada.get_by_label("What to tell Grace")).to_have_value("")
    grace.goto(demo.url + "/people/")
    expect(toasts(grace)).to_have_text(["Ada: one", "Ada: two", "Ada: three"])
    expect(grace.locator("[data-button] [data-count]")).to_have_text("3")


def test_from_the_admin(people):
    ada, grace = people
    ada.get_by_role("link", name="selected users").click()
    ada.get_by_role("row", name="grace").get_by_role("checkbox").check()
    ada.get_by_label("Action:").select_option(label="Send a notification to selected users")
    ada.get_by_role("button", name="Run").or_(ada.get_by_role("button", name="Go")).first.click()
    expect(ada.get_by_text("To 1 user.")).to_be_visible()
    ada.get_by_label("Text").fill("From the admin")
    ada.get_by_role("button", name="Send").click()
    expect(ada.get_by_text("The notification was sent to 1 user.")).to_be_visible()
    expect(toasts(grace)).to_have_text(["From the admin"])


def test_from_a_shell(people, server_folder):
    command = [sys.executable, "-m", "serversent.demo", "--folder", str(server_folder / "demo")]
    subprocess.run([*command, "--notify", "grace", "Hello from a shell"], cwd=ROOT, check=True)
    expect(toasts(people[1])).to_have_text(["Hello from a shell"])
    ended = subprocess.run([*command, "--notify", "nobody", "x"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "There is no user 'nobody'" in ended.stderr


def test_a_user_who_logs_out_gets_no_more_events(people):
    ada, grace = people
    grace.get_by_role("button", name="Log out").click()
    expect(grace.get_by_role("heading", name="Who are you?")).to_be_visible()
    assert grace.locator("notification-bell").count() == 0
    tell(ada, "Grace", "later")
    grace.get_by_role("button", name="I am Grace").click()
    expect(toasts(grace)).to_have_text(["Ada: later"])
