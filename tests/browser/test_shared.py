"""Tabs that share a connection, in Chromium: opened, closed, frozen, blocked, and of two accounts."""

import time

import pytest

from tests.relay import relay
from tests.waiting import wait_for

from .client import listen, open_client
from .remote import chromium as real_chromium
from .tabs import Publisher, check_all, connections, listen_all, send, wait_for_one

pytestmark = pytest.mark.service("chromium")


@pytest.fixture
def tabs(page):
    """Return a function that opens more tabs of one browser."""

    def open_tabs(count, url, path="/client/"):
        opened = [page.context.new_page() for _ in range(count)]
        for tab in opened:
            open_client(tab, url, path)
        return opened

    return open_tabs


def test_twelve_tabs_have_one_connection_and_the_site_still_answers(server, tabs, name):
    opened = tabs(12, server.url)
    listening = listen_all(opened, f"/channels/?channel={name}")
    wait_for_one(server, name)
    assert sum(it.reads for it in listening) == 1
    send(server, name, "a", "b")
    for it in listening:
        it.wait_data(["a", "b"])
        assert it.cursor == it.events[-1][2]
    began = time.monotonic()
    for tab in opened:  # six connections to a host are all that a browser has
        assert tab.evaluate("fetch('/client/').then(answer => answer.status)") == 200
    assert time.monotonic() - began < 10


def test_a_tab_that_comes_later_misses_nothing_and_has_its_initial_state(server, tabs, name):
    first, second, third = tabs(3, server.url)
    url = f"/channels/?channel={name}&state=1"
    one = listen(first, url)
    one.wait_data(['{"state": 1}'])
    cursor = one.cursor
    send(server, name, "a", "b")
    one.wait_data(['{"state": 1}', "a", "b"])
    two = listen(second, url)  # no cursor: it begins with a state of its own
    two.wait_data(['{"state": 1}'])
    three = listen(third, url, cursor=cursor)  # from before what the others have seen
    three.wait_data(["a", "b"])
    wait_for_one(server, name)
    send(server, name, "c")
    one.wait_data(['{"state": 1}', "a", "b", "c"])
    two.wait_data(['{"state": 1}', "c"])
    three.wait_data(["a", "b", "c"])


def test_a_page_that_is_newer_than_the_leaders_cursor_repeats_nothing(server, tabs, name):
    with relay(server.port) as between:
        first, second = tabs(2, f"http://127.0.0.1:{between.port}")
        one = listen(first, f"/channels/?channel={name}")
        wait_for(lambda: one.own == ["ready"], "ready")
        between.freeze()  # what the leader gets is late
        send(server, name, "a")
        with server.open(f"/channels/?channel={name}", headers={"Last-Event-ID": one.cursor}) as stream:
            cursor = stream.next().id
        two = listen(second, f"/channels/?channel={name}", cursor=cursor)
        two.wait_state("open")
        between.thaw()
        one.wait_data(["a"])
        send(server, name, "b")
        one.wait_data(["a", "b"])
        two.wait_data(["b"])
        assert not two.reads


def test_a_lost_word_of_the_leader_is_read_from_the_server(server, tabs, name):
    first, second = tabs(2, server.url)
    one, two = listen_all([first, second], f"/channels/?channel={name}")
    wait_for_one(server, name)
    leader, follower = (one, two) if one.reads else (two, one)
    page = first if leader is one else second
    page.evaluate(
        """
        () => {
          const post = BroadcastChannel.prototype.postMessage;
          BroadcastChannel.prototype.postMessage = function (said) {
            if (said.event?.data !== "b") post.call(this, said);
          };
        }
        """
    )
    send(server, name, "a", "b", "c")
    leader.wait_data(["a", "b", "c"])
    follower.wait_data(["a", "b", "c"])
    wait_for_one(server, name)


def test_the_leader_is_closed(server, tabs, name):
    listening = list(zip(opened := tabs(4, server.url), listen_all(opened, f"/channels/?channel={name}"), strict=True))
    wait_for_one(server, name)
    with Publisher(server, name) as publisher:
        publisher.wait_more()
        took = []
        while len(listening) > 1:
            (leader,) = [pair for pair in listening if pair[1].reads]
            listening.remove(leader)
            leader[0].close()
            began = time.monotonic()
            wait_for(lambda: any(it.reads for _, it in listening), "another that reads")
            took.append(time.monotonic() - began)
            publisher.wait_more()
    check_all([it for _, it in listening], publisher.sent)
    assert max(took) < 10  # the target is 1 s
    wait_for_one(server, name)


def test_a_tab_that_stops_as_it_becomes_the_leader_leaves_no_lock(server, tabs, name):
    opened = tabs(2, server.url)
    listening = listen_all(opened, f"/channels/?channel={name}")
    wait_for_one(server, name)
    (leader,) = [tab for tab, it in zip(opened, listening, strict=True) if it.reads]
    (follower,) = [tab for tab in opened if tab is not leader]
    follower.evaluate(
        """
        () => {
          const { stream } = seen.it;
          stream.on("state", (event) => { if (event.data === "connecting") stream.stop(); });
        }
        """
    )
    leader.close()
    wait_for(lambda: follower.evaluate("seen.it.stream.state") == "closed", "the stop")
    locks = "navigator.locks.query().then(({ held }) => held.map((lock) => lock.name))"
    wait_for(lambda: not [lock for lock in follower.evaluate(locks) if name in lock], "no lock")


FREEZE = "void setTimeout(() => { const end = Date.now() + 9000; while (Date.now() < end); })"


@pytest.mark.parametrize("how", ["frozen", "blocked"])
def test_the_leader_is_frozen(server, name, how):
    with real_chromium() as browser:
        opened = [browser.open("about:blank") for _ in range(3)]
        for tab in opened:
            open_client(tab, server.url)
        listening = listen_all(opened, f"/channels/?channel={name}")
        wait_for_one(server, name)
        with Publisher(server, name) as publisher:
            publisher.wait_more()
            (leader,) = [number for number, it in enumerate(listening) if it.reads]
            others = [it for it in listening if it is not listening[leader]]
            opened[leader - 1].bring_to_front()  # who is looked at is not frozen
            began = time.monotonic()
            if how == "frozen":
                opened[leader].send("Page.setWebLifecycleState", state="frozen")
            else:  # without a word to anybody
                opened[leader].evaluate(FREEZE)
            wait_for(lambda: any(it.reads for it in others), "another that reads")
            took = time.monotonic() - began
            count = publisher.wait_more()
            for it in others:
                wait_for(lambda it=it: int(it.data[-1]) > count, "its events")
            if how == "frozen":
                opened[leader].send("Page.setWebLifecycleState", state="active")
        check_all(listening, publisher.sent)
        assert took < 50  # the target is 5 s
        wait_for_one(server, name)


def test_a_leader_whose_timers_are_late_is_reminded(server, tabs, name):
    """Those of a tab in the background are, by a minute."""
    with relay(server.port) as between:
        opened = tabs(2, f"http://127.0.0.1:{between.port}")
        listening = listen_all(opened, f"/channels/?channel={name}")
        wait_for_one(server, name)
        (leader,) = [number for number, it in enumerate(listening) if it.reads]
        opened[leader].evaluate("() => { const real = setTimeout; window.setTimeout = (fn) => real(fn, 60_000); }")
        between.cut()
        send(server, name, "a")
        for it in listening:
            it.wait_data(["a"])
        assert listening[leader].reads


def test_the_leader_stops_and_the_other_tab_goes_on(server, tabs, name):
    one, two = listen_all(tabs(2, server.url), f"/channels/?channel={name}")
    wait_for_one(server, name)
    leader, other = (one, two) if one.reads else (two, one)
    leader.stop()
    assert leader.state == "closed"
    wait_for(lambda: other.reads, "the other's connection")
    send(server, name, "a")
    other.wait_data(["a"])
    leader.start()
    leader.wait_data(["a"])
    wait_for_one(server, name)
    assert leader.own == other.own == ["ready"]


def test_a_channel_that_is_closed_is_closed_in_all_tabs(server, tabs, name):
    listening = listen_all(tabs(4, server.url), f"/channels/?channel={name}")
    wait_for_one(server, name)
    assert server.get(f"/close/?channel={name}").status == 200
    for it in listening:
        it.wait_state("closed")
        assert it.own == ["ready", "end"]


def log_in(page, server, user):
    page.goto(f"{server.url}/login/?user={user}")


def test_logging_out_in_one_tab_closes_all(server, tabs, page):
    log_in(page, server, "ada")
    opened = tabs(4, server.url)
    listening = listen_all(opened, "/mine/")
    wait_for(lambda: sum(it.reads for it in listening) == 1, "one connection")
    page.goto(f"{server.url}/logout/")
    for it in listening:
        it.wait_state("unauthorized")
        assert it.own[-2:] == ["error", "onUnauthorized"]


def test_two_accounts_never_mix(server, tabs, page):
    log_in(page, server, "ada")
    (ada,) = tabs(1, server.url)
    adas = listen(ada, "/mine/")
    adas.wait_state("open")
    # Grace logs in before Ada's page comes back, with the cookie that is Grace's then.
    ada.route("**/mine/", lambda route: (page.wait_for_timeout(1500), route.continue_()))
    page.goto(f"{server.url}/logout/")
    log_in(page, server, "grace")
    (grace,) = tabs(1, server.url)
    graces = listen(grace, "/mine/")
    graces.wait_state("open")
    users = dict(page.evaluate("fetch('/users/').then(answer => answer.json())"))
    send(server, f"user-{users['grace']}", "for grace")
    graces.wait_data(["for grace"])
    send(server, f"user-{users['ada']}", "for ada")
    adas.wait_state("unauthorized")
    assert "for grace" not in adas.data
    assert graces.data == ["for grace"]


def test_without_a_secure_context_each_tab_has_its_own(chromium, server, name):
    """A name that is not this machine's, to the browser."""
    context = chromium.new_context()
    opened = [context.new_page() for _ in range(3)]
    url = server.url.replace("127.0.0.1", "elsewhere.test")
    for tab in opened:
        open_client(tab, url)
    assert opened[0].evaluate("[isSecureContext, typeof navigator.locks]") == [False, "undefined"]
    listening = listen_all(opened, f"/channels/?channel={name}")
    wait_for(lambda: connections(server, name) == 3, "three connections")
    send(server, name, "a")
    for it in listening:
        it.wait_data(["a"])
    context.close()


def test_without_the_tag_pages_do_not_share(server, tabs, name):
    opened = tabs(2, server.url, "/client/?without")
    listening = listen_all(opened, f"/channels/?channel={name}")
    wait_for(lambda: connections(server, name) == 2, "two connections")
    assert all(it.reads for it in listening)
    more = listen(opened[0], f"/channels/?channel={name}", "more")  # those of one page do
    more.wait_state("open")
    wait_for(lambda: connections(server, name) == 2, "two connections")
    send(server, name, "a")
    for it in [*listening, more]:
        it.wait_data(["a"])


def test_streams_without_cursors_are_not_shared_unless_asked_for(server, tabs):
    one, two = tabs(2, server.url)
    first, second = listen_all([one, two], "/async/")
    for it in (first, second):
        wait_for(lambda it=it: it.data[:2] == ['{"number": 0}', '{"number": 1}'], "its own beginning")
    assert first.reads
    assert second.reads
    for it in (first, second):
        it.stop()
    first = listen(one, "/async/", share=True)
    wait_for(lambda: len(first.data) > 5, "events")
    second = listen(two, "/async/", share=True)
    wait_for(lambda: len(second.data) > 5, "events")
    assert not second.reads
    assert second.data[0] != '{"number": 0}'


def test_the_end_of_one_tab_s_own_stream_is_not_that_of_another(server, tabs):
    one, two = tabs(2, server.url)
    first = listen(one, "/slowly/")
    first.wait_state("open")
    wait_for(lambda: first.data, "its first event")
    one.wait_for_timeout(1000)
    second = listen(two, "/slowly/")
    first.wait_state("closed")
    second.wait_state("closed")
    assert first.data == second.data


def test_pages_with_addresses_of_their_own_signature_share(server, tabs, name):
    one, two = tabs(2, server.url)
    urls = [
        tab.evaluate(f"fetch('/url/?channel={name}&expires={60 + number}').then(answer => answer.text())")
        for number, tab in enumerate((one, two))
    ]
    assert urls[0] != urls[1]
    first, second = listen(one, urls[0]), listen(two, urls[1])
    first.wait_state("open")
    second.wait_state("open")
    wait_for_one(server, name)
    send(server, name, "a")
    first.wait_data(["a"])
    second.wait_data(["a"])


def test_an_address_that_has_expired_does_not_end_the_others(server, tabs, name):
    one, two = tabs(2, server.url)
    one.route("**/renew/", lambda route: route.fulfill(status=403))  # it cannot be renewed
    short, long = [
        one.evaluate(f"fetch('/url/?channel={name}&expires={seconds}').then(answer => answer.text())")
        for seconds in (3, 60)
    ]
    first = listen(one, short)
    first.wait_state("open")
    second = listen(two, long)
    second.wait_state("open")
    wait_for_one(server, name)
    first.wait_state("closed")
    wait_for(lambda: second.reads and second.state == "open", "the other's connection")
    send(server, name, "a")
    second.wait_data(["a"])
