"""A crowd of users, some of whom come and go, while processes notify them and roll back: each gets what is theirs."""

import asyncio
import collections
import contextlib
import json
import os
import random
import subprocess
import sys

import pytest

from tests.crowd import Client
from tests.processes import ROOT, serve

pytestmark = pytest.mark.service("postgresql")

# users, notifications, processes that send them
SIZES = [pytest.param(150, 3_000, 4, id="short"), pytest.param(1_000, 20_000, 8, id="full", marks=pytest.mark.long)]


class User(Client):
    """Listens as a page does. Some are cut off at random, and come back with the cursor."""

    def __init__(self, port, key, session, rng, patience):
        super().__init__(port, "/notifications/stream/", f"Cookie: sessionid={session}\r\n")
        self.key = key
        self._rng = rng
        self._patience = patience  # seconds at most that it stays connected; 0: it stays
        self.unread = None

    def __repr__(self):
        return f"<{self.key}, stays: {not self._patience}, {len(self.statuses)} connections>"

    async def run(self):
        while True:
            task = asyncio.ensure_future(super().run())
            try:
                if not self._patience:
                    await task
                while not self.last_event_id:  # before it has a cursor it has nothing to come back with
                    await asyncio.sleep(0.02)
                await asyncio.wait({task}, timeout=self._rng.uniform(0.05, 1) * self._patience)
            finally:
                task.cancel()
                await asyncio.wait({task})  # not "await task": this one's own cancellation would be taken for its
            await asyncio.sleep(self._rng.uniform(0, 1))

    def _take(self, event):
        self.last_event_id = event.id or self.last_event_id
        if event.event == "notification":
            self.data.append(json.loads(event.data)["text"])
            self.unread += 1
        else:
            self.events.append(event.event)
            if event.event == "notification-state":
                self.unread = json.loads(event.data)["unread"]
            self.is_ready.set()


def start(environment, *arguments, **options):
    command = [sys.executable, "-m", "tests.faults.notifier", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, **options)


def lines_of(process):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return [line.split(" ", 1) for line in output.splitlines()]


@pytest.mark.parametrize(("users", "count", "senders"), SIZES)
async def test_each_user_gets_their_committed_notifications(users, count, senders, postgresql_settings, server_folder):
    variables = {"TEST_DATABASE": json.dumps(postgresql_settings)}
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **variables}
    accounts = await asyncio.to_thread(lambda: lines_of(start(environment, "users", users)))
    rng = random.Random(7)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serve("uvicorn-httptools", server_folder, environment=variables)) for _ in "12"]
        crowd = [
            User(servers[number % 2].port, key, session, rng, (number % 4 > 1) and users / 40)
            for number, (key, session) in enumerate(accounts)
        ]
        here, late = crowd[: users * 3 // 4], crowd[users * 3 // 4 :]
        tasks = [asyncio.ensure_future(user.run()) for user in here]
        await asyncio.wait_for(asyncio.gather(*(user.is_ready.wait() for user in here)), 200)
        running = [start(environment, "send", seed, count // senders) for seed in range(senders)]
        await asyncio.sleep(2)
        tasks += [asyncio.ensure_future(user.run()) for user in late]  # without a cursor, in the midst of it
        sent = [
            line
            for lines in await asyncio.gather(*(asyncio.to_thread(lines_of, each) for each in running))
            for line in lines
        ]
        expected = collections.defaultdict(list)
        for key, text in sent:
            expected[key].append(text)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while any(len(user.data) < len(expected[user.key]) for user in crowd):
                    await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(sent) > count / 2
    wrong = [user for user in crowd if sorted(user.data) != sorted(expected[user.key])]
    told = [(user, set(expected[user.key]) ^ set(user.data), len(user.data), user.events) for user in wrong]
    assert not wrong, f"{len(wrong)} of {users}: {told[:3]!r:.2000}"
    for user in crowd:
        for seed in range(senders):
            ours = [int(text.split()[1]) for text in user.data if text.startswith(f"{seed} ")]
            assert ours == sorted(ours)
        assert user.unread == len(user.data)
    assert any(len(user.statuses) > 2 for user in crowd)
    assert await asyncio.to_thread(unsent, environment) == 0


def unsent(environment):
    """Return how many of the crowd's notifications are not marked within some seconds."""
    code = (
        "import django, time; django.setup()\n"
        "from serversent.notifications.models import Notification\n"
        "rows = Notification.objects.filter(user__username__startswith='crowd-')\n"
        "assert rows.exists()\n"
        "for _ in range(100):\n"
        "    if not rows.unsent().exists(): break\n"
        "    time.sleep(0.1)\n"
        "print(rows.unsent().count()); rows.delete()\n"
        "from django.contrib.auth import get_user_model as model\n"
        "model().objects.filter(username__startswith='crowd-').delete()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)
