"""Pages that are open for longer than their signed URL is valid, in Chromium: they live on, as long as they may."""

import json

import pytest

from tests.processes import free_port, serve
from tests.waiting import wait_for

from .client import Listening, listen, open_client
from .tabs import APPLICATION, Publisher, check_all

pytestmark = pytest.mark.service("chromium")

EXPIRES_SECONDS = 2


@pytest.fixture(scope="module")
def start(server_folder, sqlite_file):
    """Return a function that starts the server, on one port each time."""
    port = free_port()
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"RETRY_MILLISECONDS": 500}', "TEST_DEBUG": "1"}

    def start():
        return serve("uvicorn-httptools", server_folder, application=APPLICATION, environment=environment, port=port)

    return start


@pytest.fixture
def user(name):
    return f"user-{name}"


@pytest.fixture
def warnings(page):
    found = []
    page.on("console", lambda message: found.append(message.text))
    return found


def fetch(page, path, **options):
    return page.evaluate(f"fetch({json.dumps(path)}, {json.dumps(options)}).then((answer) => answer.text())")


def listen_signed(page, server, user, name, it="it", **options):
    """Log in, and listen to a URL that is valid for a moment only."""
    open_client(page, server.url)
    fetch(page, f"/login/?user={user}")
    open_client(page, server.url)
    listening = listen(page, fetch(page, f"/url/?channel={name}&expires={EXPIRES_SECONDS}"), it, **options)
    listening.wait_state("open")
    return listening


def renewals(page):
    script = "performance.getEntriesByType('resource').filter(({name}) => name.endsWith('/renew/')).length"
    return page.evaluate(script)


@pytest.mark.parametrize("transport", ["fetch", "eventsource"])
def test_no_event_is_missed_over_many_urls_and_a_restart(page, start, user, name, transport, warnings):
    with start() as server:
        listening = listen_signed(page, server, user, name, transport=transport)
        with Publisher(server, name) as publisher:
            wait_for(lambda: renewals(page) >= 2, "two renewals", 60)
            publisher.wait_more()
        check_all([listening], publisher.sent)
    with start() as server:
        page.wait_for_timeout(EXPIRES_SECONDS * 1000)
        with Publisher(server, name) as later:
            wait_for(lambda: (later.sent and listening.data[-1] == later.sent[-1]) or None, "what is sent now", 60)
            later.wait_more()
        check_all([listening], [*publisher.sent, *later.sent])
        assert [type for type in listening.own if type != "error"] == ["ready"]
        listening.stop()
    assert [text for text in warnings if "token" in text] == []


def test_after_a_change_of_the_own_password_in_another_tab(page, start, user, name):
    with start() as server:
        listening = listen_signed(page, server, user, name)
        other = page.context.new_page()
        other.goto(f"{server.url}/password/")
        before = renewals(page)
        # The stream may end while the old session is over and the new one not there yet.
        wait_for(lambda: renewals(page) > before + 1 and listening.state == "open", "a renewal", 60)
        with Publisher(server, name) as publisher:
            publisher.wait_more()
        check_all([listening], publisher.sent)
        listening.stop()


def test_two_minutes_with_urls_of_five_seconds(page, start, user, name):
    """A restart, and another password, meanwhile; then a logout."""
    with start() as server:
        open_client(page, server.url)
        fetch(page, f"/login/?user={user}")
        open_client(page, server.url)
        listening = listen(page, fetch(page, f"/url/?channel={name}&expires=5"))
        listening.wait_state("open")
        page.wait_for_timeout(40_000)
        other = page.context.new_page()
        other.goto(f"{server.url}/password/")
        page.wait_for_timeout(20_000)
        server.process.terminate()
        server.process.wait(30)
    with start() as server:
        page.wait_for_timeout(60_000)
        with Publisher(server, name) as publisher:
            publisher.wait_more()
        check_all([listening], publisher.sent)
        assert listening.state == "open"
        other.goto(f"{server.url}/logout/")
        listening.wait_state("unauthorized")


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("/logout/", "unauthorized"),
        ("/end/?user={user}", "closed"),
        ("/end/?channel={name}", "closed"),
        ("/user/deactivate/?user={user}", "unauthorized"),
        ("/user/delete/?user={user}", "unauthorized"),
    ],
)
def test_when_it_does_not_hold_any_more(page, start, user, name, path, state, warnings):
    with start() as server:
        listening = listen_signed(page, server, user, name)
        other = page.context.new_page()
        other.goto(server.url + path.format(user=user, name=name))
        listening.wait_state(state, 60)
        server.get(f"/send/?channel={name}&data=secret")
        page.wait_for_timeout(1000)
        assert listening.data == []
        assert listening.states.count(state) == 1
    said = [text for text in warnings if text.startswith("serversent:")]
    assert len(said) == 1
    assert "token" not in said[0]
    assert "token" not in listening.why


def test_a_logout_between_a_renewal_and_its_stream(page, start, user, name):
    with start() as server:

        def log_out_afterwards(route):
            answer = route.fetch()
            page.context.request.get(f"{server.url}/logout/")
            route.fulfill(response=answer)

        page.route("**/renew/", log_out_afterwards, times=1)
        listening = listen_signed(page, server, user, name)
        listening.wait_state("unauthorized", 60)


# The stream of the first renewed URL is refused, as while the session gets another key.
REFUSE_ONCE = """
window.renewals = window.refusals = 0;
const ours = window.fetch;
window.fetch = async (url, ...options) => {
  const isRenewal = `${url}`.endsWith("/renew/");
  if (!isRenewal && window.renewals === 1 && !window.refusals) {
    window.refusals += 1;
    return new Response("for another session", { status: 403, headers: { "Content-Type": "text/plain" } });
  }
  const response = await ours(url, ...options);
  window.renewals += isRenewal && response.ok;
  return response;
};
"""


def test_a_renewed_url_that_is_refused_once(page, start, user, name):
    with start() as server:
        page.add_init_script(REFUSE_ONCE)
        listening = listen_signed(page, server, user, name)
        wait_for(lambda: page.evaluate("window.refusals") and listening.state == "open", "a stream", 60)
        with Publisher(server, name) as publisher:
            publisher.wait_more()
        check_all([listening], publisher.sent)


def test_another_user_in_another_tab_gets_nothing_renewed(page, start, user, name):
    with start() as server:
        listening = listen_signed(page, server, user, name)
        other = page.context.new_page()
        other.goto(f"{server.url}/login/?user=another-{user}")
        wait_for(lambda: listening.state in ("closed", "unauthorized"), "the end", 60)
        assert listening.data == []


def test_a_renewal_that_fails_is_tried_again(page, start, user, name):
    with start() as server:
        page.route("**/renew/", lambda route: route.abort())
        listening = listen_signed(page, server, user, name)
        listening.wait_state("retrying", 60)
        page.unroute("**/renew/")
        wait_for(lambda: renewals(page) >= 1 and listening.state == "open", "a connection", 60)
        assert isinstance(listening, Listening)
