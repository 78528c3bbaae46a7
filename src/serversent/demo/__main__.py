"""Run the demo: migrate its database, then ``manage.py runserver`` with Daphne."""

import argparse
import contextlib
import os
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from django.core.management import CommandError, call_command, execute_from_command_line
from django.db import DatabaseError

from serversent.errors import ServerSentError

from .shell import shell_command
from .terminal import own_foreground

HOST = "127.0.0.1"

INTRODUCTION = """
  The demo is on http://{host}:{port}/

  Open it and press Start. Then look from a terminal:

    curl -N http://{host}:{port}/stream/      an event each second
    curl -N http://{host}:{port}/time/        the server's time
    {send}
                                              a note on the board, from another process
    {notify}
                                              a notification for Grace, of http://{host}:{port}/people/

  Ctrl-C stops it, open streams or not.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serversent.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "8000"), help="default: PORT, or 8000")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where the database is kept")
    parser.add_argument("--send", metavar="TEXT", help="put a note on the board of the running demo, and end")
    parser.add_argument("--notify", nargs=2, metavar=("WHO", "TEXT"), help="notify ada or grace, and end")
    options = parser.parse_args()
    os.environ["SERVERSENT_DEMO_FOLDER"] = str(options.folder.resolve())
    os.environ["DJANGO_SETTINGS_MODULE"] = "serversent.demo.settings"
    if options.send is not None:
        return send(options.send)
    if options.notify is not None:
        return notify(*options.notify)
    if find_spec("daphne") is None:
        print('The demo runs on Daphne. Install it: pip install "django-serversent[daphne]"', file=sys.stderr)
        return 1
    if not is_free(options.port):
        print(f"Port {options.port} is busy. Choose another: PORT={options.port + 1}", file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("DJANGO_RUNSERVER_HIDE_WARNING", "true")  # this server is for this page alone
    with own_foreground(), contextlib.suppress(KeyboardInterrupt):
        serve(options.port)
    return 0


def send(text: str) -> int:
    import django

    django.setup()
    from .board import put_up

    try:
        put_up(text)
    except ServerSentError as error:
        print(f"{error}\nStart the demo first, in this folder.", file=sys.stderr)
        return 1
    return 0


def notify(who: str, text: str) -> int:
    import django

    django.setup()
    try:
        call_command("serversent", "notify", who, text)
    except (CommandError, DatabaseError) as error:
        print(f"{error}\nStart the demo first, in this folder.", file=sys.stderr)
        return 1
    return 0


def serve(port: int) -> None:
    import django

    django.setup()
    call_command("migrate", verbosity=0)
    from .people import SHELL, make_people

    make_people()
    send, notify = shell_command("--send", "Hello from a shell"), shell_command(*SHELL)
    print(INTRODUCTION.format(host=HOST, port=port, send=send, notify=notify), flush=True)
    signal.signal(signal.SIGINT, stop_server)
    execute_from_command_line(["manage.py", "runserver", "--noreload", f"{HOST}:{port}"])


def stop_server(signum: int, frame: FrameType | None) -> None:
    """Stop Daphne, or let it stop as soon as it runs.

    Twisted installs its own handler after the port is open, and drops a ``KeyboardInterrupt`` that comes before.
    """
    from twisted.internet import reactor

    reactor.callFromThread(reactor.callWhenRunning, reactor.stop)  # type: ignore[misc]  # Twisted types a module


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
