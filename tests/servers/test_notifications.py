"""Notifications over real servers: sent in one process, delivered by another, marked, and followed by all devices."""

import json
import urllib.parse

import pytest

from tests.processes import serve
from tests.waiting import wait_for

STREAM = "/notifications/stream/"


@pytest.fixture(scope="module", params=["uvicorn-httptools", "daphne"])
def server(request, server_folder, environment):
    with serve(request.param, server_folder, environment=environment) as server:
        yield server


@pytest.fixture
def user(request):
    return "".join(letter for letter in request.node.name if letter.isalnum())[:100]


class Account:
    """A user who is logged in."""

    def __init__(self, server, user):
        self.server, self.user = server, user
        answer = server.get("/login/?" + urllib.parse.urlencode({"user": user}))
        self.headers = {"Cookie": answer.cookies[0].split(";")[0]}

    def listen(self, cursor=None, server=None):
        headers = {**self.headers, **({} if cursor is None else {"Last-Event-ID": cursor})}
        return (server or self.server).open(STREAM, headers=headers)

    def get(self, path):
        answer = self.server.get(path, headers=self.headers)
        assert answer.status == 200, answer.body
        return answer.json()

    def post(self, path):
        page = self.server.get("/notifications/", headers={**self.headers, "Accept": "text/html"})
        token = page.body.decode().split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        cookies = "; ".join([self.headers["Cookie"], *(cookie.split(";")[0] for cookie in page.cookies)])
        with self.server.open(path, method="POST", headers={"Cookie": cookies, "X-CSRFToken": token}, body=b"x") as got:
            got.read_to_end()
            assert got.status == 200, got.body
            return json.loads(got.body)

    def known(self):
        return self.get("/notified/?" + urllib.parse.urlencode({"user": self.user}))


def notify(server, *users, texts=("x",)):
    query = [("user", user) for user in users] + [("text", text) for text in texts]
    assert server.get("/notify/?" + urllib.parse.urlencode(query)).status == 200


def begin(stream):
    """Return the cursor and the number of unread notifications that a stream begins with."""
    ready, state = stream.next(), stream.next()
    assert (ready.event, ready.id, state.event) == ("ready", "", "notification-state")
    return state.id, json.loads(state.data)["unread"]


def text_of(event):
    assert event.event == "notification"
    return json.loads(event.data)["text"]


def test_unsent_notifications_come_before_new_ones(server, elsewhere, user):
    account = Account(server, user)
    notify(elsewhere, user, texts=["one", "two", "three"])
    with account.listen() as stream:
        _, unread = begin(stream)
        events = stream.take(3)
        assert unread == 0
        assert [text_of(event) for event in events] == ["one", "two", "three"]
        assert [bool(event.id) for event in events] == [False, False, True]
        notify(elsewhere, user, texts=["four"])
        assert text_of(stream.next()) == "four"
        wait_for(lambda: all(sent for _, sent, _ in account.known()), "all of them marked as sent")
    with account.listen() as stream:
        assert begin(stream)[1] == 4
        notify(server, user, texts=["five"])
        assert text_of(stream.next()) == "five"


def test_at_once_again(server, user):
    """What one process has written is marked before it looks at what it has not, however soon its user is back."""
    account = Account(server, user)
    for number in range(5):
        notify(server, user, texts=[str(number)])
        with account.listen() as stream:
            assert begin(stream)[1] == number
            assert text_of(stream.next()) == str(number)


def test_with_a_cursor_the_log_alone(server, elsewhere, user):
    account = Account(server, user)
    with Account(server, f"not{user}").listen() as stream:  # so that nothing of this user's was ever live
        cursor, _ = begin(stream)
    notify(elsewhere, user, texts=["one", "two"])
    with account.listen(cursor) as stream:
        events = stream.take(2)
        assert [text_of(event) for event in events] == ["one", "two"]
    with account.listen(events[0].id, elsewhere) as stream:
        assert text_of(stream.next()) == "two"
        wait_for(lambda: all(sent for _, sent, _ in account.known()), "both marked as sent")


def test_a_notification_read_on_one_device_is_read_on_all(server, elsewhere, user):
    here, there = Account(server, user), Account(elsewhere, user)
    notify(server, user, texts=["one", "two"])
    with here.listen() as stream, there.listen() as other:
        begin(stream), begin(other)
        stream.take(2)
        first, second = (item["id"] for item in reversed(here.get("/notifications/")["notifications"]))
        assert there.post(f"/notifications/{first}/read/") == {"unread": 1}
        wait_for(lambda: here.get("/notifications/count/") == {"unread": 1})
        here.post(f"/notifications/{second}/delete/")
        notify(server, user, texts=["three"])
        there.post("/notifications/read-all/")
        for each in (stream, other):
            came = []
            while not came or came[-1].get("change") != "read" or came[-1]["ids"] == [first]:
                came.append(json.loads(each.next().data))
            changes = [change for change in came if "change" in change]
            third = came[-2]["id"]
            assert changes == [
                {"change": "read", "ids": [first], "unread": 1},
                {"change": "deleted", "ids": [second], "unread": 0},
                {"change": "read", "ids": [third], "unread": 0},
            ]


@pytest.mark.parametrize("end", ["logout", "deactivate", "delete", "password"])
def test_the_stream_of_a_user_without_permission_ends(server, elsewhere, user, end):
    account = Account(server, user)
    with account.listen() as stream:
        cursor, _ = begin(stream)
        where = {"logout": "/logout/", "password": "/password/"}.get(end, f"/user/{end}/")
        answer = elsewhere.get(f"{where}?" + urllib.parse.urlencode({"user": user}), headers=account.headers)
        assert answer.status == 200, answer.body
        stream.read_to_end()
        assert stream.ended
    with account.listen(cursor) as stream:
        assert stream.status == 403


def test_nobody_is_refused_at_once(server):
    assert server.get(STREAM).status == 403
    answer = server.get(STREAM, headers={"Accept": "text/event-stream", "Cookie": "sessionid=wrong"})
    assert (answer.status, "location" in answer.headers) == (403, False)
