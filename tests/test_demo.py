"""The demo as a program: its port, Ctrl-C, its static files."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time

import pytest
from django.core.management import call_command
from django.test import override_settings

from .processes import ROOT, free_port
from .waiting import wait_for


def demo(folder, port, **options):
    command = [sys.executable, "-m", "serversent.demo", "--folder", str(folder)]
    environment = {**os.environ, "PORT": str(port)}
    environment.pop("DJANGO_SETTINGS_MODULE")
    return subprocess.Popen(command, env=environment, **options)


def test_a_busy_port_is_named(tmp_path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        process = demo(tmp_path, port, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Port {port} is busy" in errors


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_stops_at_once_without_an_error(tmp_path, number):
    from .client import Stream

    port = free_port()
    process = demo(tmp_path, port, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lambda: is_listening(port), "the demo's start", 60)
        with Stream(f"http://127.0.0.1:{port}/stream/") as stream:
            stream.next()
            process.send_signal(number)
            output, _ = process.communicate(timeout=20)
            stream.read_to_end()
            assert stream.ended
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}/" in output
    assert "curl -N" in output
    assert "Traceback" not in output
    assert (tmp_path / "db.sqlite3").exists()


def test_ctrl_c_below_make_in_a_terminal(tmp_path):
    """make would die of the interrupt; the terminal's Ctrl-C goes to the demo alone, and make sees exit 0."""
    port = free_port()
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"demo:\n\t@PORT={port} {sys.executable} -m serversent.demo --folder {tmp_path}\n")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        os.execvp("make", ["make", "-f", str(makefile), "demo"])
    try:
        wait_for(lambda: is_listening(port), "the demo's start", 60)
        os.write(terminal, b"\x03")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                break
            drain(terminal)
        assert ended, "make did not end"
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        os.close(terminal)


# Twisted drops a KeyboardInterrupt there, and the port is open already.
INTERRUPTED_START = """
import os, signal, sys
from twisted.internet import _signals

install = _signals._WithSignalHandling.install

def interrupted(self):
    os.kill(os.getpid(), signal.SIGINT)
    install(self)

_signals._WithSignalHandling.install = interrupted
from serversent.demo.__main__ import main
sys.exit(main())
"""


def test_ctrl_c_while_the_server_starts(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED_START, f"--port={free_port()}", f"--folder={tmp_path}"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def drain(terminal):
    import select

    if select.select([terminal], [], [], 0.1)[0]:
        try:
            os.read(terminal, 65536)
        except OSError:
            time.sleep(0.05)


def test_collectstatic_with_hashed_names(tmp_path):
    storages = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}}
    apps = ["django.contrib.staticfiles", "serversent", "serversent.demo"]
    with override_settings(STORAGES=storages, STATIC_ROOT=tmp_path, INSTALLED_APPS=apps):
        call_command("collectstatic", interactive=False, verbosity=0)
    assert (tmp_path / "staticfiles.json").exists()
    assert list(tmp_path.glob("serversent_demo/demo.*.css"))
    (client,) = tmp_path.glob("serversent/serversent.min.*.js")
    (its_map,) = tmp_path.glob("serversent/serversent.min.js.*.map")
    assert client.read_text().endswith(f"//# sourceMappingURL={its_map.name}\n")
