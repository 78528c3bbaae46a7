"""``manage.py serversent``, against a real server and a real log."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command

from .conftest import migrate
from .processes import ROOT, serve
from .waiting import wait_for


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    environment = {"TEST_SQLITE": str(tmp_path_factory.mktemp("commands") / "db.sqlite3")}
    migrate(environment)
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}


@pytest.fixture(scope="module")
def server(environment, server_folder):
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


def manage(environment, *arguments):
    command = [sys.executable, "-m", "django", "serversent", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)


class Listening:
    def __init__(self, environment, folder, *arguments):
        self.path = folder / "listen.out"
        with self.path.open("wb") as output:
            command = [sys.executable, "-m", "django", "serversent", "listen", *arguments]
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=output)

    def wait_for(self, text):
        wait_for(lambda: text in self.path.read_text() or self.process.poll() is not None, f"{text!r} in the output")
        assert text in self.path.read_text(), self.path.read_text()

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.mark.parametrize("source", ["url", "channel"])
def test_send_and_listen(environment, server, tmp_path, source):
    where = [f"{server.url}/channels/?channel=shell"] if source == "url" else ["--channel", "shell"]
    listening = Listening(environment, tmp_path, *where)
    listening.wait_for("ready")
    assert manage(environment, "send", "shell", "hello 🚀").returncode == 0
    listening.wait_for("hello 🚀")
    assert manage(environment, "send", "shell", "x", "--event", "kind").returncode == 0
    listening.wait_for("kind x")
    assert listening.interrupt() == 0
    assert "Traceback" not in listening.path.read_text()


def test_listen_resumes_when_its_server_is_started_again(environment, server_folder, tmp_path):
    with serve("uvicorn-httptools", server_folder, environment={**environment, "TEST_SERVERSENT": "{}"}) as first:
        listening = Listening(environment, tmp_path, f"{first.url}/channels/?channel=resumed&seconds=1")
        listening.wait_for("ready")
        listening.wait_for("again in 3 s")  # the grant expired
        manage(environment, "send", "resumed", "while away")
        listening.wait_for("while away")
    assert listening.interrupt() == 0


def test_a_ctrl_c_within_a_finalizer_is_not_lost(monkeypatch):
    """Python drops its KeyboardInterrupt."""

    class Closing(io.RawIOBase):
        def close(self):
            os.kill(os.getpid(), signal.SIGINT)

    def read(*_):
        Closing()
        raise OSError("no connection")

    monkeypatch.setattr("serversent.management.commands.serversent.Command._read", read)
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)  # Python 3.13 tells what it drops
    errors = io.StringIO()
    call_command("serversent", "listen", "http://127.0.0.1:1/", stderr=errors)
    assert errors.getvalue().count("no connection") == 1


def test_listen_stops_where_it_is_told_to(environment, server):
    ended = manage(environment, "listen", f"{server.url}/channels/")
    assert (ended.returncode, ended.stdout) == (0, "")
    ended = manage(environment, "listen", f"{server.url}/")
    assert ended.returncode == 1
    assert "which is no stream" in ended.stderr
    ended = manage(environment, "listen", f"{server.url}/nowhere/")
    assert "answered 404" in ended.stderr


def test_stats_prune_and_newepoch(environment):
    manage(environment, "prune", "--older-than", "-60")
    for number in range(5):
        manage(environment, "send", "figures", str(number))
    stats = json.loads(manage(environment, "stats").stdout)
    assert (stats["events"], stats["channels"], stats["bytes"], stats["outbox"]) == (5, 1, 5, 0)
    assert "3 events removed" in manage(environment, "prune", "--keep", "2").stdout
    after = json.loads(manage(environment, "stats").stdout)
    assert (after["events"], after["head"]) == (2, stats["head"])
    assert "The log is" in manage(environment, "newepoch").stdout
    assert json.loads(manage(environment, "stats").stdout)["epoch"] != stats["epoch"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["send", "no name", "x"], "no channel"),
        (["send", "c", "x", "--using", "nowhere"], "There is no broker"),
        (["listen"], "needs a URL"),
        (["listen", "ftp://x/"], "no http"),
        (["listen", "http://x/", "--header", "Cookie"], "NAME:VALUE"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, words):
    with pytest.raises(CommandError, match=words):
        call_command("serversent", *arguments)
