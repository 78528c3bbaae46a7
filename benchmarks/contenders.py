"""The contenders: this package, what it is compared to, and the floor; each a server process of its own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.processes import ROOT, find_program, free_port, postgresql

from .load import ask, wait_for_port
from .measure import cpu_seconds, pss_bytes
from .publisher import publish_all

__all__ = ["CONTENDERS", "Databases", "Running", "running", "starting"]

NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"


class Contender(NamedTuple):
    """``kind``: how it is started. ``contender``, ``broker``: what the Django project is told."""

    name: str
    kind: str
    path: str
    contender: str = ""
    broker: str = "memory"
    server: str = "uvicorn"


def _ours(name: str, broker: str, server: str = "uvicorn") -> Contender:
    return Contender(name, "django", "/stream/?channel=bench", "serversent-channel", broker, server)


CONTENDERS = {
    "floor": Contender("send() in C", "floor", "/stream/"),
    "bare": Contender("a bare loop over uvicorn's transports", "bare", "/stream/"),
    "nchan": Contender("nchan", "nchan", "/stream/?channel=bench"),
    "memory": _ours("serversent, memory", "memory"),
    "sqlite": _ours("serversent, SQLite", "sqlite"),
    "postgresql": _ours("serversent, PostgreSQL", "postgresql"),
    "decorated": Contender("serversent, @event_stream", "django", "/decorated/", "serversent-decorated"),
    "handed off": Contender("serversent, StreamingHttpResponse", "django", "/plain/", "serversent-plain"),
    "django": Contender("plain Django", "django", "/plain/", "django"),
    "starlette": Contender("sse-starlette", "starlette", "/stream/"),
    "eventstream": Contender("django-eventstream", "django", "/eventstream/", "django-eventstream"),
    "h11": _ours("serversent on uvicorn, h11", "memory", "uvicorn-h11"),
    "hypercorn": _ours("serversent on Hypercorn", "memory", "hypercorn"),
    "granian": _ours("serversent on Granian", "memory", "granian"),
    "daphne": _ours("serversent on Daphne", "memory", "daphne"),
    "django on hypercorn": Contender("plain Django on Hypercorn", "django", "/plain/", "django", server="hypercorn"),
    "django on granian": Contender("plain Django on Granian", "django", "/plain/", "django", server="granian"),
    "django on daphne": Contender("plain Django on Daphne", "django", "/plain/", "django", server="daphne"),
}

SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}", "--log-level", "warning", "--backlog", "4096", "{application}"],
    "uvicorn-h11": ["uvicorn", "--port", "{port}", "--log-level", "warning", "--http", "h11", "{application}"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "0", "--log-level", "WARNING",
                  "{application}"],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "--no-access-log", "--log-level", "warning",
                "--loop", "uvloop", "--backlog", "4096", "{application}"],
    "daphne": ["daphne", "-v", "0", "-p", "{port}", "{application}"],
}  # fmt: skip


class Databases:
    """The databases that contenders use, each made when the first one asks for it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._made: dict[str, dict[str, Any]] = {}

    def of(self, broker: str) -> dict[str, Any]:
        """Return Django's settings for the database of a broker, migrated, with one user's session in it."""
        kind = "postgresql" if broker == "postgresql" else "sqlite"
        if kind not in self._made:
            if kind == "postgresql":
                settings = self._stack.enter_context(postgresql()).settings
            else:
                folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="serversent-"))
                settings = {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": str(Path(folder) / "db.sqlite3"),
                    "OPTIONS": {
                        "transaction_mode": "IMMEDIATE",
                        "timeout": 20,
                        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                    },
                }
            self._made[kind] = settings
            environment = environment_of(CONTENDERS["sqlite"], settings)
            subprocess.run([sys.executable, "-c", _SET_UP], check=True, env=environment, cwd=ROOT)
        return self._made[kind]


_SET_UP = """
import benchmarks.project
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
call_command("migrate", verbosity=0)
user = get_user_model().objects.create_user("ada")
session = SessionStore(session_key=None)
session.update({"_auth_user_id": str(user.pk), "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
                "_auth_user_hash": user.get_session_auth_hash()})
session._session_key = "a" * 32
session.save(must_create=True)
"""
COOKIE = b"Cookie: session=" + b"a" * 32 + b"\r\n"


def environment_of(contender: Contender, database: dict[str, Any]) -> dict[str, str]:
    broker = "memory.MemoryBroker" if contender.broker == "memory" else "database.DatabaseBroker"
    variables = {"CONTENDER": contender.contender, "BROKER": broker, "DATABASE": json.dumps(database)}
    return {**os.environ, "PYTHONWARNINGS": "ignore", **variables}


class Running:
    """A contender's server process."""

    def __init__(self, contender: Contender, port: int, process: subprocess.Popen[bytes]) -> None:
        self.contender = contender
        self.name = contender.name
        self.port = port
        self.process = process
        self.pid = process.pid

    def wait_ready(self) -> None:
        wait_for_port(self.port)
        if self.contender.kind == "nchan" or self.contender.server == "granian":  # a worker does the work
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            self.pid = int(children[-1])

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def pss_bytes(self) -> int:
        return pss_bytes(self.pid)

    def path(self, number: int | None = None) -> str:
        """Return the path of a stream: of the channel that all share, or of one of many."""
        return self.contender.path + ("" if number is None else f"-{number}")

    async def collect(self) -> None:
        await ask(self.port, "/collect/")

    async def publish(self, events: int, interval: float = 0.0, padding: int = 60, channels: int = 1) -> None:
        """Publish events; return when it has begun."""
        order = f"events={events}&interval={interval}&padding={padding}"
        await ask(self.port, f"/publish/?{order}" + (f"&channels={channels}" if channels > 1 else ""))

    async def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((await ask(self.port, "/state/")).partition(b"\r\n\r\n")[2])
        return state

    def stop(self) -> None:
        for pid in {self.pid, self.process.pid}:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


class _WithPublisher(Running):
    """Its publisher is a process beside it, as a worker is, or a shell."""

    publisher: subprocess.Popen[bytes]

    def wait_ready(self) -> None:
        assert self.publisher.stdout is not None
        self.publisher.stdout.readline()
        super().wait_ready()

    async def publish(self, events: int, interval: float = 0.0, padding: int = 60, channels: int = 1) -> None:
        order = {"events": events, "interval": interval, "padding": padding, "channels": channels}
        assert self.publisher.stdin is not None
        self.publisher.stdin.write(json.dumps(order).encode() + b"\n")
        self.publisher.stdin.flush()

    def stop(self) -> None:
        self.publisher.kill()
        self.publisher.wait()
        super().stop()


class _Nchan(Running):
    """nginx with nchan: one worker, whose work is counted; events are sent to it by POST, over one connection."""

    _publishing: asyncio.Task[None]

    async def publish(self, events: int, interval: float = 0.0, padding: int = 60, channels: int = 1) -> None:
        self._publishing = asyncio.create_task(self._publish(events, interval, padding, channels))

    async def _publish(self, events: int, interval: float, padding: int, channels: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def send(channel: str, data: str) -> None:
            head = f"POST /publish?channel={channel} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            size = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(size)

        await publish_all(send, events, interval, padding, channels)
        writer.close()

    async def collect(self) -> None:
        """There is nothing to collect."""

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


_NGINX = """
load_module {module};
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; worker_rlimit_nofile 19000;
events {{ worker_connections 18000; }}
http {{
    access_log off; nchan_shared_memory_size 256M; keepalive_requests 1000000;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /publish {{
            nchan_publisher; nchan_channel_id $arg_channel; nchan_message_buffer_length 200; nchan_message_timeout 1h;
        }}
        location = /stream/ {{
            nchan_subscriber eventsource; nchan_channel_id $arg_channel;
            nchan_subscriber_first_message newest; nchan_eventsource_ping_interval 15;
        }}
        location / {{ return 200 ""; }}
    }}
}}
"""


@contextlib.contextmanager
def running(key: str, databases: Databases, **variables: str) -> Iterator[Running]:
    """Start a contender, some with variables of their own in the environment."""
    with starting(key, databases, **variables) as server:
        server.wait_ready()
        yield server


@contextlib.contextmanager
def starting(key: str, databases: Databases, **variables: str) -> Iterator[Running]:
    """The same without waiting for it, so that several start at once."""
    contender = CONTENDERS[key]
    with contextlib.ExitStack() as stack:
        server = _START[contender.kind](contender, free_port(), databases, stack, **variables)
        stack.callback(server.stop)
        yield server


def _start_floor(
    contender: Contender, port: int, _: Databases, stack: contextlib.ExitStack, **_variables: str
) -> Running:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="serversent-"))
    program = f"{folder}/floor"
    subprocess.run(["cc", "-O2", "-o", program, str(ROOT / "benchmarks/floor.c")], check=True)
    return Running(contender, port, subprocess.Popen([program, str(port)]))


def _start_nchan(
    contender: Contender, port: int, _: Databases, stack: contextlib.ExitStack, **_variables: str
) -> Running:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="serversent-"))
    os.chmod(folder, 0o777)
    Path(folder, "nginx.conf").write_text(_NGINX.format(module=NCHAN_MODULE, folder=folder, port=port))
    command = [str(find_program("nginx")), "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    return _Nchan(contender, port, subprocess.Popen(command))


def _python(server: str, application: str, port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    arguments = [argument.format(port=port, application=application) for argument in SERVERS[server]]
    return subprocess.Popen([sys.executable, "-m", *arguments], env=environment, cwd=ROOT)


def _start_bare(contender: Contender, port: int, _: Databases, __: contextlib.ExitStack, **_variables: str) -> Running:
    return Running(contender, port, _python("uvicorn", "benchmarks.bare:application", port, {**os.environ}))


def _start_starlette(
    contender: Contender, port: int, _: Databases, __: contextlib.ExitStack, **_variables: str
) -> Running:
    return Running(contender, port, _python("uvicorn", "benchmarks.starlette:application", port, {**os.environ}))


def _start_django(
    contender: Contender, port: int, databases: Databases, _: contextlib.ExitStack, **variables: str
) -> Running:
    environment = environment_of(contender, databases.of(contender.broker)) | variables
    process = _python(contender.server, "benchmarks.project:application", port, environment)
    if contender.broker == "memory":
        return Running(contender, port, process)
    server = _WithPublisher(contender, port, process)
    command = [sys.executable, "-m", "benchmarks.publisher"]
    server.publisher = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )
    return server


_START = {
    "floor": _start_floor,
    "nchan": _start_nchan,
    "bare": _start_bare,
    "starlette": _start_starlette,
    "django": _start_django,
}
