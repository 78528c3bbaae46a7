"""``make chaos``: everything at once, for minutes, on each database. Nothing may be lost, doubled or reordered.

Publishers with rollbacks, killed with SIGKILL and started again; servers that are killed and come back on their port;
the log pruned, and given new epochs; the servers' database connections cut and swallowed; clients that are slow, leave
and resume. At the end each client's events are compared with the log, and the log with what the publishers committed.

A line of figures for each database, and exit status 1 if anything is wrong.
"""

import argparse
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import django
from django.db import DatabaseError, connections

from tests import processes
from tests.relay import relay

CHANNELS = 8
WRITERS = 4
READERS = 12
EVENTS_PER_WRITER = 400
RETENTION_SECONDS = 25
SETTLE_SECONDS = 60


class Recorder(threading.Thread):
    """Copies the log before it is pruned: the truth that clients are compared with."""

    def __init__(self, alias):
        super().__init__(daemon=True)
        self.alias = alias
        self.events = {}  # by offset: channel and data
        self.stopping = threading.Event()
        self.errors = collections.Counter()

    def run(self):
        while not self.stopping.wait(1):
            self.look()
        connections.close_all()

    def look(self):
        try:
            with connections[self.alias].cursor() as cursor:
                after = max(self.events, default=0) - 5000
                cursor.execute(f"SELECT id, channel, data FROM serversent_event WHERE id > {after}")
                for offset, channel, data in cursor.fetchall():
                    assert self.events.setdefault(offset, (channel, data)) == (channel, data), "an offset twice"
        except DatabaseError as error:
            self.errors[type(error).__name__] += 1
            connections[self.alias].close()


class Writers:
    """Processes that publish, some of them killed, and what they have committed for certain."""

    def __init__(self, environment, rng):
        self.environment = environment
        self.rng = rng
        self.committed = []
        self.names = itertools.count()
        self.running = []
        self.killed = self.started = 0

    def tick(self):
        for process, lines in list(self.running):
            if process.poll() is not None or self.rng.random() < 0.03:
                self.killed += process.poll() is None
                process.kill()
                self._collect(process, lines)
        while len(self.running) < WRITERS:
            self._start()

    def _start(self):
        name = f"w{next(self.names)}"
        lines = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with its process
        command = [sys.executable, "-W", "ignore", "-m", "tests.faults.writer"]
        command += [name, str(EVENTS_PER_WRITER), str(CHANNELS)]
        process = subprocess.Popen(
            command,
            stdout=lines,
            stderr=subprocess.DEVNULL,
            env={**self.environment, "SEED": name[1:]},
            cwd=processes.ROOT,
        )
        self.running.append((process, lines))
        self.started += 1

    def _collect(self, process, lines):
        process.wait()
        self.running.remove((process, lines))
        lines.seek(0)
        with lines:
            written = lines.read().splitlines()
        for line in written:
            with contextlib.suppress(json.JSONDecodeError):  # it was killed in the midst of it
                found = json.loads(line)
                if isinstance(found, list):
                    self.committed += [tuple(event) for event in found]

    def stop(self):
        for process, lines in list(self.running):
            process.wait(120)
            self._collect(process, lines)


class Segment:
    """What a client got from one beginning, or reset, to the next."""

    def __init__(self, start):
        self.start = self.end = start
        self.offsets = []


class Reader(threading.Thread):
    """A client of some channels, which leaves and resumes, and is slow now and then."""

    def __init__(self, servers, channels, seed):
        super().__init__(daemon=True)
        self.servers = servers
        self.channels = channels
        self.rng = random.Random(seed)
        self.cursor = ""
        self.segments = []
        self.problems = []
        self.resets = self.opened = 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            try:
                self.listen_once()
            except (OSError, EOFError):
                time.sleep(self.rng.uniform(0.05, 0.4))  # a server that was killed, or is not there yet
            except Exception as error:
                self.problems.append(repr(error))
                return

    def listen_once(self):
        query = urllib.parse.urlencode([("channel", channel) for channel in self.channels])
        headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
        with self.rng.choice(self.servers)().open(f"/channels/?{query}", headers=headers, seconds=2) as stream:
            if stream.status != 200:
                time.sleep(0.3)
                return
            self.opened += 1
            for _ in range(self.rng.choice((20, 200, 2000))):
                try:
                    event = stream.next()
                except TimeoutError:
                    if self.stopping.is_set():
                        return
                    continue
                self.take(event)
                if self.rng.random() < 0.002:
                    time.sleep(self.rng.uniform(0.5, 3))

    def take(self, event):
        if event.event == "end" or not event.id:
            return
        self.cursor = event.id
        offset = int(event.id.rpartition("-")[2])
        if event.event in ("ready", "reset"):
            self.resets += event.event == "reset"
            self.segments.append(Segment(offset))
            return
        segment = self.segments[-1]
        if offset <= segment.end:
            self.problems.append(f"{offset} after {segment.end}")
        segment.end = offset
        segment.offsets.append(offset)

    def compare(self, recorded):
        """Return how many events are right; what is wrong is among the problems."""
        for segment in self.segments:
            expected = [
                offset
                for offset, (channel, _) in sorted(recorded.items())
                if segment.start < offset <= segment.end and channel in self.channels
            ]
            if expected != segment.offsets:
                lost, doubled = set(expected) - set(segment.offsets), set(segment.offsets) - set(expected)
                self.problems.append(f"lost {sorted(lost)[:5]}, invented {sorted(doubled)[:5]}")
        return sum(len(segment.offsets) for segment in self.segments)


class Servers:
    """Two servers that are killed, and come back on their ports."""

    def __init__(self, environment, folder):
        self.environment = environment
        self.folder = folder
        self.ports = [processes.free_port() for _ in range(2)]
        self.stacks = [self._start(port) for port in self.ports]
        self.killed = 0

    def _start(self, port):
        stack = contextlib.ExitStack()
        server = processes.serve("uvicorn-httptools", self.folder, environment=self.environment, port=port)
        stack.server = stack.enter_context(server)
        return stack

    def kill_one(self, rng):
        number = rng.randrange(len(self.stacks))
        self.stacks[number].server.process.send_signal(signal.SIGKILL)
        self.stacks[number].close()
        self.killed += 1
        self.stacks[number] = self._start(self.ports[number])

    def getters(self):
        return [lambda number=number: self.stacks[number].server for number in range(len(self.stacks))]

    def close(self):
        for stack in self.stacks:
            stack.close()


def manage(environment, *arguments):
    command = [sys.executable, "-W", "ignore", "-m", "django", "serversent", *arguments]
    subprocess.run(command, env=environment, cwd=processes.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def disturb(rng, environment, between):
    """Do something to the log or to the servers' database connections, now and then; return what it was."""
    chance = rng.random()
    if chance < 0.03:
        manage(environment, "prune", "--older-than", str(RETENTION_SECONDS))
        return ["prunes"]
    if chance < 0.04:
        manage(environment, "newepoch")
        return ["epochs"]
    if chance < 0.08 and between is not None:
        between.cut()
        return ["cut"]
    if chance < 0.10 and between is not None:
        between.swallow()
        return ["swallowed"]
    return []


def play(kind, settings, between, seconds, seed, folder):
    rng = random.Random(seed)
    direct = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", "TEST_DATABASE": json.dumps(settings)}
    served = settings if between is None else {**settings, "PORT": between.port}
    options = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.database.DatabaseBroker", "OPTIONS": {}}}}
    options["BROKERS"]["default"]["OPTIONS"]["retention_seconds"] = RETENTION_SECONDS
    environment = {
        "TEST_DATABASE": json.dumps(served),
        "TEST_SERVERSENT": json.dumps({**options, "REPLAY_BYTES": 65536}),
    }
    connections.settings[kind] = connections.configure_settings({"default": {}, kind: settings})[kind]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "django", "migrate", "-v0"], env=direct, cwd=processes.ROOT, check=True
    )
    servers = Servers(environment, folder)
    writers = Writers(direct, rng)
    recorder = Recorder(kind)
    recorder.start()
    readers = []
    counted = collections.Counter()
    try:
        for number in range(READERS):
            channels = [f"c{channel}" for channel in rng.sample(range(CHANNELS), rng.randrange(1, 4))]
            readers.append(Reader(servers.getters(), channels, (seed, number).__hash__()))
            readers[-1].start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.5)
            writers.tick()
            if rng.random() < 0.02:
                servers.kill_one(rng)
            counted.update(disturb(rng, direct, between))
        writers.stop()
        last = {}
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            recorder.look()
            last = {channel: offset for offset, (channel, _) in sorted(recorder.events.items())}
            ends = [max([last.get(channel, 0) for channel in reader.channels]) for reader in readers]
            if all(
                reader.segments and reader.segments[-1].end >= end for reader, end in zip(readers, ends, strict=True)
            ):
                break
            time.sleep(1)
        else:
            counted["late"] = 1
    finally:
        for reader in readers:
            reader.stopping.set()
        recorder.stopping.set()
        for thread in (*readers, recorder):
            thread.join(30)
        servers.close()
    connections[kind].close()
    return judge(kind, seconds, recorder, writers, servers, readers, counted)


def settle(recorder, readers):
    """Wait until every client has the last event of its channels; say whether they all got there."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        recorder.look()
        last = {channel: offset for offset, (channel, _) in sorted(recorder.events.items())}
        if all(
            reader.segments and reader.segments[-1].end >= max(last.get(channel, 0) for channel in reader.channels)
            for reader in readers
        ):
            return True
        time.sleep(1)
    return False


def judge(kind, seconds, recorder, writers, servers, readers, counted):
    delivered = sum(reader.compare(recorder.events) for reader in readers)
    problems = [f"reader of {reader.channels}: {problem}" for reader in readers for problem in reader.problems]
    logged = collections.Counter(recorder.events.values())
    problems += [f"logged {count} times: {event}" for event, count in logged.items() if count > 1]
    problems += [f"committed and not logged: {event}" for event in writers.committed if event not in logged][:10]
    problems += [f"rolled back and logged: {event}" for event in logged if event[1].endswith(":rolled-back")][:10]
    if counted.pop("late", 0):
        problems.append("some client had not caught up in the end")
    figures = {
        "seconds": round(seconds),
        "events": len(recorder.events),
        "delivered": delivered,
        "streams": sum(reader.opened for reader in readers),
        "resets": sum(reader.resets for reader in readers),
        "writers": writers.started,
        "killed writers": writers.killed,
        "killed servers": servers.killed,
        **counted,
        "problems": len(problems),
    }
    print(f"{kind}: " + ", ".join(f"{value:,} {name}" for name, value in figures.items()), flush=True)
    for problem in problems[:20]:
        print(f"  {problem}")
    return not problems


@contextlib.contextmanager
def database(kind, folder):
    if kind == "sqlite":
        options = {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": "PRAGMA journal_mode=WAL"}
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "chaos.sqlite3"), "OPTIONS": options}
    elif kind == "postgresql":
        with processes.postgresql("-c", "fsync=off") as server:
            yield server.settings
    else:
        with processes.mariadb() as settings:
            yield settings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="for each database")
    parser.add_argument("--databases", nargs="+", default=["postgresql", "mariadb", "sqlite"])
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
    django.setup()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}")
    is_right = True
    for kind in options.databases:
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            settings = stack.enter_context(database(kind, folder))
            between = stack.enter_context(relay(int(settings["PORT"]))) if "PORT" in settings else None
            is_right &= play(kind, settings, between, options.seconds, seed, folder)
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
