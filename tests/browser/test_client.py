"""The browser client in Chromium: the parser, and each line of the checklist about connections."""

import json
from urllib.parse import quote

import pytest

from tests.processes import ROOT
from tests.relay import relay
from tests.waiting import wait_for

from .client import listen, open_client
from .tabs import send

pytestmark = pytest.mark.service("chromium")

VECTORS = json.loads((ROOT / "tests/wire/sse-vectors.json").read_text())


@pytest.fixture
def client(page, server):
    open_client(page, server.url)
    return page


def asked(server, name):
    return server.get(f"/asked/{name}/").json()


# The parser.

PARSE = """
([bytes, size]) => {
  const events = [];
  const parser = new client.Parser({ event: (event) => events.push([event.type, event.data, event.id]) });
  const decoder = new TextDecoder();
  const all = new Uint8Array(bytes);
  for (let at = 0; at < all.length; at += size) {
    parser.feed(decoder.decode(all.subarray(at, at + size), { stream: true }));
  }
  return events;
}
"""


@pytest.mark.parametrize("size", [10**6, 1], ids=["whole", "1-byte"])
def test_vectors(client, size):
    assert len(VECTORS) == 26
    for vector, text, expected in VECTORS:
        assert client.evaluate(PARSE, [list(text.encode()), size]) == expected, vector


def test_cases_beside_the_vectors(client):
    def parse(body, size=10**6):
        return client.evaluate(PARSE, [list(body), size])

    assert parse(b"data: a\xffb\n\n") == [["message", "a\ufffdb", ""]]
    assert parse("data: é€😀\n\n".encode(), 1) == [["message", "é€😀", ""]]
    assert parse(b"data: a\r\n\r\ndata: b\r\r", 1) == [["message", "a", ""], ["message", "b", ""]]
    assert parse(b"id: 1\0\ndata: a\n\nid: 2\ndata: unfinished\n") == [["message", "a", ""]]
    assert parse(b"id: 7\n\ndata: a\n\n") == [["message", "a", "7"]]  # of a block without data, too


def test_a_long_line_in_tiny_chunks_costs_linear_time(client):
    """One line beside ten of a tenth: the same number of chunks, at the same time on the same machine."""
    ratio = """
    () => {
      const measure = (lines, size) => {
        const began = performance.now();
        for (let line = 0; line < lines; line += 1) {
          const parser = new client.Parser({ event() {} });
          for (let sent = 0; sent < size; sent += 4) parser.feed("abcd");
        }
        return performance.now() - began;
      };
      return measure(1, 4_000_000) / measure(10, 400_000);
    }
    """
    assert min(client.evaluate(ratio) for _ in range(3)) < 5  # 10, if each chunk cost a look at the whole line


@pytest.mark.parametrize("line", ["data: " + "x" * 1000 + "\\n", "data:\\n", "x"])
def test_an_event_is_bounded(client, line):
    message = client.evaluate(
        """
        (line) => {
          const parser = new client.Parser({ event() {} });
          const piece = line.replaceAll("\\\\n", "\\n").repeat(1000);
          try {
            for (let sent = 0; sent < 2 ** 26; sent += piece.length) parser.feed(piece);
          } catch (error) { return error.message; }
        }
        """,
        line,
    )
    assert message == "event too large"


def test_comments_may_be_endless(client):
    client.evaluate(
        """
        () => {
          const parser = new client.Parser({ event() {} });
          for (let number = 0; number < 20_000; number += 1) parser.feed(`:${"x".repeat(2000)}\\n`);
        }
        """
    )


# Answers.


@pytest.mark.parametrize(
    ("plan", "state", "why", "times"),
    [
        ("204", "closed", "answered 204", 1),
        ("205", "closed", "answered 205", 1),
        ("400", "closed", "400", 1),
        ("403", "closed", "403", 1),
        ("404", "closed", "404", 1),
        ("410", "closed", "410", 1),
        ("type:text/html", "closed", "answered 200 with text/html", 1),
        ("type:text/event-streams", "closed", "answered 200 with text/event-streams", 1),
        ("401", "unauthorized", "401", 1),
        ("302:/client/", "unauthorized", "at http", 1),
    ],
)
def test_answers_that_end_it(client, server, name, plan, state, why, times):
    it = listen(client, f"/answer/{name}/?plan={plan}")
    it.wait_state(state)
    assert why in it.why
    assert it.own == (["error", "onUnauthorized"] if state == "unauthorized" else ["error"])
    client.wait_for_timeout(1500)  # it would have come back twice
    assert len(asked(server, name)) == times
    it.start()  # asked for by the page, it tries again
    wait_for(lambda: len(asked(server, name)) == times + 1, "another request")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_answers_after_which_it_comes_back(client, server, name, status):
    it = listen(client, f"/answer/{name}/?plan={status},frames:data: there\\n\\n")
    it.wait_data(["there"])
    assert len(asked(server, name)) == 2
    if status != 408:  # Chromium asks again by itself
        assert it.states == ["connecting", "retrying", "connecting", "open"]
        assert it.own == ["error"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(client, server, name, status):
    there = f"/answer/{name}-there/%3Fplan=frames:data: there\\n\\n"
    it = listen(client, f"/answer/{name}/?plan={status}:{there}")
    it.wait_data(["there"])


@pytest.mark.parametrize("content_type", ["text/event-stream;charset=utf-8", "Text/Event-Stream; x=y"])
def test_the_type_may_have_parameters(client, server, name, content_type):
    it = listen(client, f"/answer/{name}/?plan=type:{content_type},204")
    wait_for(lambda: it.data == ["one"], "the event")


def test_retry_after_in_seconds_and_as_a_date(client, server, name):
    it = listen(client, f"/answer/{name}/?plan=503%2B2,429%2B3,frames:data: there\\n\\n")
    it.wait_data(["there"])
    at = [each["at"] for each in asked(server, name)]
    assert at[1] - at[0] >= 2
    assert at[2] - at[1] >= 3
    date = quote(client.evaluate("new Date(Date.now() + 3000).toUTCString()"))
    it = listen(client, f"/answer/{name}-date/?retry_after={date}&plan=503,frames:data: there\\n\\n", "date")
    it.wait_data(["there"])
    at = [each["at"] for each in asked(server, f"{name}-date")]
    assert 1.9 <= at[1] - at[0] < 20  # a date has whole seconds


def test_the_page_waking_up_does_not_shorten_retry_after(client, server, name):
    it = listen(client, f"/answer/{name}/?plan=503%2B2,frames:data: there\\n\\n")
    it.wait_state("retrying")
    client.evaluate("dispatchEvent(new Event('online'))")
    it.wait_data(["there"])
    at = [each["at"] for each in asked(server, name)]
    assert at[1] - at[0] >= 2


# Coming back.


def test_backoff_with_full_jitter(client):
    client.evaluate("void (window.random = Math.random)")

    def backoff(failures, random, least=1000):
        return client.evaluate(f"(Math.random = () => {random}, client.backoff({least}, {failures}))")

    assert [backoff(failures, 0) for failures in range(3)] == [1000] * 3
    assert [backoff(failures, 1) for failures in range(8)] == [2000, 3000, 5000, 9000, 17000, 30000, 30000, 30000]
    assert backoff(2000, 1) == 30000
    assert backoff(0, 0.5) == 1500
    assert backoff(3, 1, 60_000) == 60_000  # what the server asks for is not cut
    client.evaluate("void (Math.random = window.random)")
    drawn = client.evaluate("Array.from({ length: 300 }, () => client.backoff(1000, 4))")
    assert min(drawn) >= 1000
    assert max(drawn) <= 17_000
    assert max(drawn) - min(drawn) > 8000


SET_CLOCK = """
() => {
  const now = Date.now;
  let ahead = 0;
  Date.now = () => now() + ahead;
  window.ahead = (milliseconds) => { ahead += milliseconds; };
  Math.random = () => 1;
  const { setTimeout } = window;
  window.timers = [];
  window.setTimeout = (run, milliseconds) => {
    timers.push(milliseconds);
    return setTimeout(run, milliseconds);
  };
}
"""
# The timers between two attempts, without those that watch for a silence.
WAITS = "timers.filter((milliseconds) => milliseconds < 5000)"


def test_failures_in_a_row_wait_longer_and_a_good_connection_resets_that(client, server, name):
    client.evaluate(SET_CLOCK)
    it = listen(client, f"/answer/{name}/?plan=cut:retry: 500\\n\\n,503,503,503,frames:data: there\\n\\n")
    it.wait_data(["there"])
    assert client.evaluate(WAITS) == [1000, 1500, 2500, 4500]
    at = [each["at"] for each in asked(server, name)]
    assert at[-1] - at[0] > 9


def test_after_ten_good_seconds_the_count_begins_anew(client, server, name):
    with relay(server.port) as between:
        open_client(client, f"http://127.0.0.1:{between.port}")
        client.evaluate(SET_CLOCK)
        it = listen(
            client, f"/answer/{name}/?plan=cut:retry: 500\\n\\n,503,503,frames:: a\\n,503,frames:data: there\\n\\n"
        )
        it.wait_state("open")
        wait_for(lambda: len(asked(server, name)) == 4, "the fourth request")
        it.wait_state("open")
        client.evaluate("ahead(10_000)")
        between.cut()
        it.wait_data(["there"])
        assert client.evaluate(WAITS)[-1] == 1500  # as after the first failure, not the fourth


def test_stopped_while_it_waits_it_stays_stopped(client, server, name):
    it = listen(client, f"/answer/{name}/?plan=503")
    it.wait_state("retrying")
    it.stop()
    assert it.state == "closed"
    count = len(asked(server, name))
    client.evaluate("dispatchEvent(new Event('online')); dispatchEvent(new PageTransitionEvent('pageshow'))")
    client.wait_for_timeout(2000)
    assert len(asked(server, name)) == count
    assert it.state == "closed"


def test_the_cursor_survives_stop_and_start(client, server, name):
    it = listen(client, f"/channels/?channel={name}")
    wait_for(lambda: it.cursor, "the cursor")
    send(server, name, "a")
    it.wait_data(["a"])
    it.stop()
    send(server, name, "b", "c")
    it.start()
    it.wait_data(["a", "b", "c"])
    assert it.own == ["ready"]
    assert it.cursor == it.events[-1][2]


@pytest.mark.parametrize("persist", [True, False])
def test_the_cursor_survives_a_reload_on_request(client, server, name, persist):
    options = {"persist": persist}
    it = listen(client, f"/channels/?channel={name}", **options)
    wait_for(lambda: it.cursor, "the cursor")
    send(server, name, "a")
    it.wait_data(["a"])
    client.goto("about:blank")
    send(server, name, "b")
    open_client(client, server.url)
    it = listen(client, f"/channels/?channel={name}", **options)
    it.wait_state("open")
    send(server, name, "c")
    it.wait_data(["b", "c"] if persist else ["c"])


def test_the_cursor_of_a_page_is_where_its_stream_begins(client, server, name):
    it = listen(client, f"/channels/?channel={name}")
    wait_for(lambda: it.cursor, "the cursor")
    cursor = it.cursor
    send(server, name, "a", "b")
    later = listen(client, f"/channels/?channel={name}", "later", cursor=cursor)
    later.wait_data(["a", "b"])
    assert later.own == []


def test_a_cursor_of_another_log_is_a_reset(client, server, name):
    it = listen(client, f"/channels/?channel={name}", cursor="another-7")
    wait_for(lambda: it.own == ["reset"], "the reset")
    assert not it.cursor.startswith("another")


def test_heartbeats_carry_the_cursor_on(client, server_with_short_heartbeat, name):
    server = server_with_short_heartbeat
    open_client(client, server.url)
    it = listen(client, f"/channels/?channel={name}")
    wait_for(lambda: it.cursor, "the cursor")
    before = it.cursor
    send(server, f"{name}-another", "x")
    wait_for(lambda: it.cursor != before, "the heartbeat")
    assert it.data == []


def test_the_end_of_a_channel_and_of_a_generator(client, server, name):
    it = listen(client, f"/channels/?channel={name}")
    wait_for(lambda: it.own == ["ready"], "ready")
    assert server.get(f"/close/?channel={name}").status == 200
    it.wait_state("closed")
    assert it.own == ["ready", "end"]
    assert it.cursor != "end"
    three = listen(client, "/three/", "three")
    three.wait_state("closed")
    assert three.data == ["0", "1", "2"]
    assert three.why == "ended"
    three.start()  # that somebody asks for it again is no reconnect
    three.wait_data(["0", "1", "2"] * 2)


# Signs of life.


def test_silence_is_stale_and_then_the_connection_is_given_up(client, server_with_short_heartbeat, name):
    server = server_with_short_heartbeat
    with relay(server.port) as between:
        open_client(client, f"http://127.0.0.1:{between.port}")
        it = listen(client, f"/channels/?channel={name}")
        wait_for(lambda: it.own == ["ready"], "ready")
        between.freeze()
        it.wait_state("stale")
        assert "no sign of life for" in it.why
        send(server, name, "while it is silent")
        wait_for(lambda: it.states[3:] == ["retrying", "connecting"], "the end of patience")
        between.cut()
        it.wait_data(["while it is silent"])
        assert it.own.count("ready") == 1
        assert it.state == "open"


def test_a_healthy_stream_is_left_alone(client, server, name):
    it = listen(client, f"/channels/?channel={name}")
    wait_for(lambda: it.own == ["ready"], "ready")
    for what in ("online", "offline", "pageshow", "focus"):
        client.evaluate(f"dispatchEvent(new Event('{what}')); document.dispatchEvent(new Event('visibilitychange'))")
    client.wait_for_timeout(13_000)  # it would be stale after 12.5 s without a heartbeat
    assert it.states == ["connecting", "open"]
    assert server.get(f"/connections/?channel={name}").json() == 1


@pytest.mark.parametrize("event", ["online", "pageshow", "resume", "visibilitychange"])
def test_after_a_sleep_an_overdue_stream_comes_back_at_once(client, server, name, event):
    with relay(server.port) as between:
        open_client(client, f"http://127.0.0.1:{between.port}")
        it = listen(client, f"/channels/?channel={name}")
        wait_for(lambda: it.own == ["ready"], "ready")
        between.freeze()
        client.evaluate(SET_CLOCK)
        client.evaluate("ahead(60_000)")  # asleep: no timer runs, and the wall clock goes on
        target = "document" if event in ("resume", "visibilitychange") else "window"
        client.evaluate(f"{target}.dispatchEvent(new Event('{event}'))")
        wait_for(lambda: it.states[2:] == ["retrying", "connecting"], "another attempt", 10)  # stale after 12.5 s


@pytest.mark.parametrize(
    ("goes", "comes"), [("window.pagehide", "window.pageshow"), ("document.freeze", "document.resume")]
)
def test_a_page_that_is_put_aside_has_no_connection(client, server, name, goes, comes):
    def dispatch(event):
        target, _, kind = event.partition(".")
        client.evaluate(f"void {target}.dispatchEvent(new Event('{kind}'))")

    it = listen(client, f"/channels/?channel={name}")
    wait_for(lambda: it.own == ["ready"], "ready")
    dispatch(goes)
    wait_for(lambda: server.get(f"/connections/?channel={name}").json() == 0, "the end of the connection")
    send(server, name, "away")
    dispatch(comes)
    it.wait_data(["away"])
    it.stop()
    dispatch(goes)
    dispatch(comes)
    client.wait_for_timeout(500)
    assert server.get(f"/connections/?channel={name}").json() == 0


def test_an_answer_that_does_not_come_is_stale(client, server, name):
    said = []
    client.on("console", lambda message: said.append(message.text))
    it = listen(client, f"/answer/{name}/?plan=late:7")
    it.wait_state("stale")
    assert "no byte for 5 s" in it.why
    assert any("proxy" in text for text in said)
    it.wait_data(["late"])
    assert it.state == "open"


# Requests.


def test_headers_and_methods(client, server, name):
    options = {"method": "POST", "body": "a question", "headers": {"X-Test": "here"}}
    it = listen(client, f"/answer/{name}/?plan=503%2B1,cut:data: token\\n\\n", **options)
    it.wait_state("closed")
    assert it.data == ["token"]
    client.wait_for_timeout(1500)
    requests = asked(server, name)
    assert [(each["method"], each["body"], each["header"]) for each in requests] == [("POST", "a question", "here")] * 2


@pytest.mark.parametrize("plan", ["frames:data: token\\n\\n", "500", "502", "504"])
def test_a_post_is_not_sent_again_when_it_may_have_been_done(client, server, name, plan):
    with relay(server.port) as between:
        open_client(client, f"http://127.0.0.1:{between.port}")
        it = listen(client, f"/answer/{name}/?plan={plan}", method="POST", body="pay")
        if plan.startswith("frames"):
            it.wait_data(["token"])
            between.cut()
        it.wait_state("closed")
        client.wait_for_timeout(2000)
        assert len(asked(server, name)) == 1


@pytest.mark.parametrize("events", [["pagehide", "pageshow"], ["freeze", "resume"], ["online", "pageshow"]])
def test_a_page_that_is_put_aside_does_not_pay_twice(client, server, name, events):
    it = listen(client, f"/answer/{name}/?plan=frames:data: token\\n\\n", method="POST", body="pay")
    it.wait_data(["token"])
    for event in events:
        target = "document" if event in ("freeze", "resume") else "window"
        client.evaluate(f"void {target}.dispatchEvent(new Event('{event}'))")
    client.wait_for_timeout(500)
    assert len(asked(server, name)) == 1
    assert it.state == ("open" if events[0] == "online" else "closed")


def test_an_event_has_an_id_if_it_was_sent_with_one(client, server, name):
    it = listen(client, f"/answer/{name}/?plan=frames:id: 1\\ndata: a\\n\\ndata: b\\n\\nid: 2\\ndata: c\\n\\n")
    it.wait_data(["a", "b", "c"])
    assert [event[2] for event in it.events] == ["1", "", "2"]
    assert it.cursor == "2"


def test_headers_may_be_made_for_each_request(client, server, name):
    client.evaluate(
        """
        (url) => {
          let count = 0;
          window.stream = client.connect(url, { headers: async () => ({ "X-Test": `token ${count += 1}` }) });
        }
        """,
        f"/answer/{name}/?plan=503,503,204",
    )
    wait_for(lambda: client.evaluate("stream.state") == "closed", "the end")
    assert [each["header"] for each in asked(server, name)] == ["token 1", "token 2", "token 3"]


def test_iteration(client, server, name):
    client.evaluate(
        """
        (url) => {
          window.taken = [];
          (async () => {
            for await (const event of client.connect(url)) taken.push(event.json().number);
            taken.push("over");
          })();
        }
        """,
        "/ten/",
    )
    wait_for(lambda: client.evaluate("taken.at(-1)") == "over", "the end of the loop")
    assert client.evaluate("taken") == [*range(10), "over"]


def test_leaving_a_loop_stops_the_stream(client, server):
    client.evaluate(
        """
        async () => {
          window.stream = client.connect("/async/");
          for await (const event of stream) if (event.json().number === 3) break;
        }
        """
    )
    assert client.evaluate("stream.state") == "closed"
    server.wait_closed("async")


def test_an_abort_signal_stops_it(client, server):
    before = server.state()["closed"].count("async")
    client.evaluate("window.controller = new AbortController()")
    client.evaluate("void (window.stream = client.connect('/async/', { signal: controller.signal }))")
    wait_for(lambda: client.evaluate("stream.state") == "open", "the stream")
    client.evaluate("controller.abort()")
    assert client.evaluate("stream.state") == "closed"
    server.wait_closed("async", before + 1)
    assert client.evaluate("client.connect('/async/', { signal: AbortSignal.abort() }).state") == "idle"


def test_a_handler_that_fails_harms_no_stream(client, server, name):
    it = listen(client, f"/channels/?channel={name}")
    client.evaluate(
        """
        () => {
          window.failures = 0;
          window.onerror = () => { failures += 1; return true; };
          seen.it.stream.on("message", () => { throw new Error("mine"); });
          seen.it.stream.on("message", () => { window.after = true; });
        }
        """
    )
    wait_for(lambda: it.own == ["ready"], "ready")
    send(server, name, "a", "b")
    it.wait_data(["a", "b"])
    assert client.evaluate("[window.failures, window.after]") == [2, True]


@pytest.mark.parametrize("state", ["connecting", "open", "closed"])
def test_a_handler_may_stop_and_start_it(client, server, name, state):
    """In any state; it is what was said last, and has one connection or none."""
    path = f"/channels/?channel={name}"
    client.evaluate(
        """
        ([url, state]) => {
          window.stream = client.connect(url, { autostart: false });
          let count = 0;
          stream.on("state", (event) => {
            if (event.data !== state || (count += 1) > 1) return;
            stream.stop();
            stream.start();
          });
          stream.start();
        }
        """,
        [path, state],
    )
    if state == "closed":
        client.evaluate("stream.stop()")
    wait_for(lambda: client.evaluate("stream.state") == "open", "the stream")
    wait_for(lambda: server.get(f"/connections/?channel={name}").json() == 1, "one connection")
    client.evaluate("stream.stop()")
    assert client.evaluate("stream.state") == "closed"
    wait_for(lambda: server.get(f"/connections/?channel={name}").json() == 0, "its end")


def test_types_and_json(client, server, name):
    client.evaluate(
        """
        (url) => {
          window.values = [];
          window.stream = client.connect(url);
          window.off = stream.on("updated", (event) => {
            values.push([event.type, event.json(), event.id === stream.cursor]);
          });
        }
        """,
        f"/channels/?channel={name}",
    )
    wait_for(lambda: client.evaluate("stream.cursor"), "the cursor")
    assert server.get(f"/send/?channel={name}&event=updated&data=%7B%22status%22:%22paid%22%7D").status == 200
    wait_for(lambda: client.evaluate("values.length"), "the event")
    assert client.evaluate("values") == [["updated", {"status": "paid"}, True]]
    client.evaluate("off()")
    it = listen(client, f"/channels/?channel={name}")
    wait_for(lambda: it.cursor, "the cursor")
    assert server.get(f"/send/?channel={name}&event=updated&data=2").status == 200
    it.wait_data(["2"])
    assert len(client.evaluate("values")) == 1


# The browser's own EventSource.


def test_the_native_transport(client, server, name):
    with relay(server.port) as between:
        open_client(client, f"http://127.0.0.1:{between.port}")
        it = listen(client, f"/channels/?channel={name}", transport="eventsource")
        wait_for(lambda: it.own == ["ready"], "ready")
        send(server, name, "a")
        it.wait_data(["a"])
        between.cut()
        it.wait_state("retrying")
        send(server, name, "b")
        it.wait_data(["a", "b"])
        assert it.state == "open"
        it.stop()
        send(server, name, "c")
        it.start()  # a new EventSource, with the cursor in the query
        it.wait_data(["a", "b", "c"])


@pytest.mark.parametrize(
    ("plan", "state"),
    [("401", "unauthorized"), ("403", "closed"), ("204", "closed"), ("503,503,frames:data: there\\n\\n", "open")],
)
def test_the_native_transport_asks_why_it_was_refused(client, server, name, plan, state):
    it = listen(client, f"/answer/{name}/?plan={plan}", transport="eventsource")
    it.wait_state(state)
    assert len(asked(server, name)) == (3 if state == "open" else 2)
