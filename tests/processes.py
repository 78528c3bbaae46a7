"""Servers as real processes: ASGI and WSGI servers on free ports, PostgreSQL and nginx as private instances."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme

from .client import Stream, get
from .waiting import DEADLINE_SECONDS, wait_for

__all__ = [
    "ASGI_SERVERS",
    "PostgreSQL",
    "Server",
    "find_program",
    "free_port",
    "mariadb",
    "network",
    "nginx",
    "pgbouncer",
    "postgresql",
    "serve",
    "touch",
]

ROOT = Path(__file__).resolve().parent.parent

RELOAD_SECONDS = 8  # of one attempt

_UVICORN = ["-m", "uvicorn", "--port", "{port}"]
_HYPERCORN = ["-m", "hypercorn", "--bind", "127.0.0.1:{port}"]
_GRANIAN = ["-m", "granian", "--interface", "asgi", "--port", "{port}"]
_GUNICORN = ["-m", "gunicorn", "-b", "127.0.0.1:{port}"]
_UVICORN_WORKER = [*_GUNICORN, "-k", "uvicorn_worker.UvicornWorker"]
_KEY = ["--ssl-keyfile", "{folder}/key.pem", "--ssl-certfile", "{folder}/cert.pem"]

# How each server is started, as arguments of Python.
ASGI_SERVERS = {
    "daphne": ["-m", "daphne", "-p", "{port}", "{application}"],
    "uvicorn-httptools": [*_UVICORN, "--http", "httptools", "--loop", "uvloop", "{application}"],
    "uvicorn-h11": [*_UVICORN, "--http", "h11", "--loop", "asyncio", "{application}"],
    "uvicorn-tls": [*_UVICORN, *_KEY, "{application}"],
    "uvicorn-4": [*_UVICORN, "--workers", "4", "{application}"],
    "hypercorn": [*_HYPERCORN, "{application}"],
    "hypercorn-0": [*_HYPERCORN, "--workers", "0", "{application}"],
    "granian": [*_GRANIAN, "{application}"],
    "gunicorn-uvicorn": [*_UVICORN_WORKER, "{application}"],
    "gunicorn-asgi": [*_GUNICORN, "-k", "asgi", "{application}"],
    "runserver": ["-m", "django", "runserver", "--noreload", "127.0.0.1:{port}"],
    "runserver-reload": ["-m", "django", "runserver", "127.0.0.1:{port}"],
    "uvicorn-reload": [*_UVICORN, "--reload", "--reload-dir", "{folder}", "{application}"],
    # These end a worker after some requests. The second and the third start another.
    "uvicorn-recycled": [*_UVICORN, "--limit-max-requests", "20", "{application}"],
    "hypercorn-recycled": [*_HYPERCORN, "--graceful-timeout", "60", "--max-requests", "20", "{application}"],
    "gunicorn-uvicorn-recycled": [*_UVICORN_WORKER, "--max-requests", "20", "{application}"],
    "wsgi-runserver": ["-m", "django", "runserver", "--noreload", "127.0.0.1:{port}"],
    "gunicorn": [*_GUNICORN, "--threads", "4", "tests.project.wsgi:application"],
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A running server: its URL, its process and its log."""

    def __init__(
        self, command: list[str], port: int, environment: dict[str, str], folder: Path, scheme: str = "http"
    ) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.log_path = folder / f"server-{port}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def open(self, path: str, **options: Any) -> Stream:
        return Stream(self.url + path, **options)

    def get(self, path: str, **options: Any) -> Stream:
        return get(self.url + path, **options)

    def state(self, headers: dict[str, str] | None = None) -> dict[str, Any]:
        state: dict[str, Any] = get(self.url + "/state/", headers=headers).json()
        return state

    def wait_closed(self, name: str, count: int = 1) -> None:
        wait_for(lambda: self.state()["closed"].count(name) >= count, f"the end of {count} {name}")

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the server exited with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(OSError):
                return get(self.url + "/").status > 0
            return False

        wait_for(is_ready, "the server's start")

    def stop(self) -> None:
        """End it and whatever it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def serve(
    kind: str,
    folder: Path,
    *,
    application: str = "tests.project.asgi:application",
    command: list[str] | None = None,
    environment: dict[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Server]:
    port = port or free_port()
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.project.settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "1",
        **(environment or {}),
    }
    if kind.startswith("runserver"):
        variables.setdefault("TEST_FIRST_APPS", "daphne")
    scheme = "http"
    if kind.endswith("-tls"):
        scheme = "https"
        certificate = trustme.CA().issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    pattern = command or [sys.executable, *ASGI_SERVERS[kind]]
    arguments = [part.format(port=port, application=application, folder=folder) for part in pattern]
    server = Server(arguments, port, variables, folder, scheme)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def touch(path: Path) -> None:
    """Change a file as an editor does, so that a reloader sees it."""
    # A new modification time, a second ahead at least: some watchers look at whole seconds.
    moment = max(time.time(), path.stat().st_mtime + 2)
    os.utime(path, (moment, moment))


def reload(server: Server, path: Path, says: str) -> None:
    """Change a file until its server has started again, and has said so for the second time.

    Django's reloader takes what it finds in its first look for the state from which files change. A server answers
    before that look.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while server.log.count(says) < 2 and time.monotonic() < deadline:
        touch(path)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: server.log.count(says) >= 2, "the second start", RELOAD_SECONDS)
    assert server.log.count(says) >= 2, server.log[-2000:]


# Private instances of services, as an unprivileged user, which PostgreSQL insists on.


def find_program(name: str) -> str | None:
    """Return where a program is; an absolute path is where it says, if that exists."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name)
    if found:
        return found
    for folder in [*folders, Path("/usr/sbin")]:
        if (folder / name).exists():
            return str(folder / name)
    return None


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="serversent-", dir="/tmp") as name:
        if user := _unprivileged():
            os.chown(name, user["user"], user["group"])
        yield Path(name)


class PostgreSQL:
    """A PostgreSQL of our own; ``settings`` are Django's for it."""

    def __init__(self, folder: Path, *options: str) -> None:
        port = free_port()
        self._folder = folder
        self._spawn: dict[str, Any] = {
            "cwd": folder,
            "env": {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
            **_unprivileged(),
        }
        data = folder / "data"
        initdb = [str(find_program("initdb")), "-D", str(data), "-U", "serversent", "--auth=trust", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **self._spawn)
        self._command = [str(find_program("postgres")), "-D", str(data), "-p", str(port), "-k", str(folder)]
        self._command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=400", *options]
        self.settings: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "serversent",
            "USER": "serversent",
            "HOST": "127.0.0.1",
            "PORT": port,
        }
        self.start()
        self.sql("create database serversent", database="postgres")

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, **self._spawn)

        def is_ready() -> bool:
            with contextlib.suppress(AssertionError):
                self.sql("select 1", database="postgres")
                return True
            return False

        wait_for(is_ready, "PostgreSQL's start")

    def stop(self, *, at_once: bool = True) -> None:
        self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        self._process.wait(30)

    def sql(self, statement: str, *, database: str = "serversent") -> str:
        """Run one statement with psql, as anybody may, and return what it prints."""
        command = [str(find_program("psql")), "-h", "127.0.0.1", "-p", str(self.settings["PORT"]), "-U", "serversent"]
        ended = subprocess.run([*command, "-d", database, "-Atc", statement], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@contextlib.contextmanager
def postgresql(*options: str) -> Iterator[PostgreSQL]:
    with _own_folder() as folder:
        server = PostgreSQL(folder, *options)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def pgbouncer(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A pooler in transaction mode before a PostgreSQL; yields Django's settings for it."""
    with _own_folder() as folder:
        port = free_port()
        (folder / "users").write_text(f'"{settings["USER"]}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"""
            [databases]
            {settings["NAME"]} = host={settings["HOST"]} port={settings["PORT"]}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = trust
            auth_file = {folder}/users
            pool_mode = transaction
            """.replace("    ", "")
        )
        command = [str(find_program("pgbouncer")), str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=folder, **_unprivileged())
        try:
            wait_for(lambda: _accepts(port), "pgbouncer's start")
            yield {**settings, "PORT": port, "DISABLE_SERVER_SIDE_CURSORS": True}
        finally:
            process.terminate()
            process.wait(30)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.contextmanager
def mariadb() -> Iterator[dict[str, Any]]:
    """A MariaDB of our own; yields Django's settings for it."""
    with _own_folder() as folder:
        port = free_port()
        data, sock = folder / "data", folder / "socket"
        options: dict[str, Any] = {
            "cwd": folder,
            "env": {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
            **_unprivileged(),
        }
        install = [str(find_program("mariadb-install-db")), "--no-defaults", f"--datadir={data}"]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        command = [str(find_program("mariadbd")), "--no-defaults", f"--datadir={data}", f"--socket={sock}"]
        command += [f"--port={port}", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"]
        command += ["--max-connections=400", f"--pid-file={folder}/pid"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **options)
        client = [str(find_program("mariadb")), "--no-defaults", f"--socket={sock}", "-u", "root", "-e"]
        statements = (
            "create database serversent character set latin1; "
            "create user serversent@'%' identified by 'serversent'; grant all on *.* to serversent@'%'"
        )
        try:
            wait_for(
                lambda: subprocess.run([*client, statements], capture_output=True).returncode == 0, "MariaDB's start"
            )
            yield {
                "ENGINE": "django.db.backends.mysql",
                "NAME": "serversent",
                "USER": "serversent",
                "PASSWORD": "serversent",
                "HOST": "127.0.0.1",
                "PORT": port,
                "OPTIONS": {"charset": "utf8mb4"},
            }
        finally:
            process.terminate()
            process.wait(30)


class Network:
    """A network namespace behind a pair of virtual interfaces: ``here`` is our address on it, and only ours."""

    def __init__(self) -> None:
        number = os.getpid() % 200
        self.name = f"serversent{number}"
        self.here, self._there = f"10.213.{number}.1", f"10.213.{number}.2"
        self._interface = f"ss{number}"
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", self._interface, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _run("ip", "addr", "add", f"{self.here}/30", "dev", self._interface)
        _run("ip", "link", "set", self._interface, "up")
        _run("ip", "-n", self.name, "addr", "add", f"{self._there}/30", "dev", "eth0")
        _run("ip", "-n", self.name, "link", "set", "eth0", "up")

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in it."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)

    def blackhole(self) -> None:
        """Lose every packet from here on, with no word to anybody: neither data nor its acknowledgement arrives."""
        _run("ip", "-n", self.name, "link", "set", "eth0", "down")

    def remove(self) -> None:
        _run("ip", "netns", "del", self.name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    found = Network()
    try:
        yield found
    finally:
        found.remove()


@contextlib.contextmanager
def nginx(upstream_port: int, *, http: str = "", location: str = "") -> Iterator[int]:
    """An nginx with the settings it comes with, before a server; yields its port. More settings may be given."""
    with _own_folder() as folder:
        port = free_port()
        (folder / "nginx.conf").write_text(
            f"""
            daemon off; pid {folder}/pid; error_log {folder}/error.log;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
                uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
                {http.format(folder=folder)}
                server {{
                    listen 127.0.0.1:{port};
                    location / {{ proxy_pass http://127.0.0.1:{upstream_port}; proxy_http_version 1.1; {location} }}
                }}
            }}
            """
        )
        command = [str(find_program("nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        command += ["-e", str(folder / "error.log")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=folder, **_unprivileged())

        def is_ready() -> bool:
            with contextlib.suppress(OSError):
                return get(f"http://127.0.0.1:{port}/").status == 200
            return False

        try:
            wait_for(is_ready, "nginx's start")
            yield port
        finally:
            process.terminate()
            process.wait(30)
