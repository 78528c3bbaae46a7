"""Many writing processes, some killed, one transaction that stays open; readers that come and go: nothing is lost."""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

from serversent.wire.cursor import Cursor
from tests.processes import ROOT, serve
from tests.waiting import wait_for

DATABASES = [
    pytest.param("postgresql", marks=pytest.mark.service("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.service("mariadb")),
]


class Reader(threading.Thread):
    """Listens to some channels, cuts its connection now and then, and resumes, until it is told to stop."""

    def __init__(self, servers, channels, seed):
        super().__init__(daemon=True)
        self.servers = servers
        self.channels = channels
        self.rng = random.Random(seed)
        self.received = []
        self.errors = []
        self.stopping = threading.Event()
        self.cursor = ""

    def run(self):
        try:
            while not self.stopping.is_set():
                self.listen_once()
        except Exception as error:
            self.errors.append(error)

    def listen_once(self):
        query = urllib.parse.urlencode([("channel", channel) for channel in self.channels])
        headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
        until = self.rng.choice((5, 50, 500, 5000))
        with self.rng.choice(self.servers).open(f"/channels/?{query}", headers=headers, seconds=1) as stream:
            for _ in range(until):
                try:
                    event = stream.next()
                except TimeoutError:
                    if self.stopping.is_set():
                        return
                    continue
                if event.event == "ready":
                    assert not self.cursor
                else:
                    assert event.event == "message", event
                    self.received.append((Cursor.parse(event.id), event.data))
                self.cursor = event.id


class Process:
    """A process of the project's, whose output goes to a file. As a context, it is killed at the end."""

    def __init__(self, module, *arguments, environment, folder):
        self.output_path = folder / f"{module}-{'-'.join(arguments)}.out"
        command = [sys.executable, "-m", f"tests.faults.{module}", *arguments]
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=output)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()

    @property
    def lines(self):
        return [line for line in self.output_path.read_text().split("\n")[:-1] if line]

    def kill_somewhere(self, rng):
        """At a random point of its work, also between a commit and the numbering."""
        enough = rng.randrange(3, 10)
        wait_for(lambda: len(self.lines) > enough, "the work of a writer", 120)
        time.sleep(rng.random() * 0.05)
        self.process.send_signal(signal.SIGKILL)


def start_readers(servers, names, count):
    """One reads everything, the others a third of the channels each."""
    readers = [Reader(servers, names, 0)]
    readers += [Reader(servers, random.Random(seed).sample(names, len(names) // 3), seed) for seed in range(1, count)]
    for reader in readers:
        reader.start()
    wait_for(lambda: all(reader.cursor for reader in readers), "the readers' first cursors")
    return readers


def run(environment, folder, *, writers, events, channels, killed, readers):
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serve("uvicorn-httptools", folder, environment=environment)) for _ in range(2)]
        names = [f"c{number}" for number in range(channels)]
        listening = start_readers(servers, names, readers)

        holder = stack.enter_context(Process("holder", environment=variables, folder=folder))
        wait_for(lambda: holder.lines == ["open"], "the open transaction")
        working = [
            stack.enter_context(
                Process(
                    "writer",
                    f"w{number}",
                    str(events // writers),
                    str(channels),
                    environment={**variables, "SEED": str(number)},
                    folder=folder,
                )
            )
            for number in range(writers)
        ]
        rng = random.Random(7)
        for writer in working[:killed]:
            writer.kill_somewhere(rng)
        wait_for(lambda: len(listening[0].received) > 10, "the events of others than the open transaction")
        holder.process.stdin.close()
        for each in [*working, holder]:
            each.process.wait(600)

        certain = [pair for writer in working for line in writer.lines if line != "done" for pair in json.loads(line)]
        certain += [["c0", "holder:0"], ["c1", "holder:1"]]
        texts = {text for _, text in certain}
        wait_for(lambda: texts <= {text for _, text in list(listening[0].received)}, "every committed event", 120)
        logged = json.loads(servers[0].get("/log/").body)
        for reader in listening:
            check(reader, [text for _, channel, text in logged if channel in reader.channels])
    assert not [text for _, _, text in logged if "rolled-back" in text]
    assert {tuple(pair) for pair in certain} <= {(channel, text) for _, channel, text in logged}
    check_order(logged)
    return len(logged)


def check(reader, wanted):
    wait_for(lambda: len(reader.received) >= len(wanted) or reader.errors, "a reader's last event", 60)
    reader.stopping.set()
    reader.join(30)
    assert not reader.errors
    offsets = [cursor.offset for cursor, _ in reader.received]
    assert offsets == sorted(set(offsets)), "doubled or out of order"
    assert [text for _, text in reader.received] == wanted, "lost"


def check_order(logged):
    """Each writer's events of one channel are in its order."""
    sent = collections.defaultdict(list)
    for _, channel, text in logged:
        writer, number = text.split(":")
        sent[writer, channel].append(int(number))
    for numbers in sent.values():
        assert numbers == sorted(set(numbers))


@pytest.fixture(params=DATABASES)
def environment(request):
    settings = request.getfixturevalue(f"{request.param}_settings")
    environment = {"TEST_DATABASE": json.dumps(settings)}
    code = (
        "import django; django.setup(); from serversent.models import Event, OutboxEvent;"
        "Event.objects.all().delete(); OutboxEvent.objects.all().delete()"
    )
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=variables)
    return environment


def test_writers_that_are_killed(environment, tmp_path):
    run(environment, tmp_path, writers=6, events=900, channels=12, killed=2, readers=4)


@pytest.mark.long
def test_sixteen_writers_twenty_thousand_events(environment, tmp_path):
    count = run(environment, tmp_path, writers=16, events=20_000, channels=50, killed=5, readers=8)
    assert count > 10_000
