"""The shared board: a note is an event, and the log is where the notes are kept."""

import os
import shlex
import sys
import time

from serversent import send_event

__all__ = ["MAX_CHARACTERS", "put_up", "shell_command"]

MAX_CHARACTERS = 200


def put_up(text: str) -> None:
    send_event("board", {"text": text, "at": round(time.time() * 1000)})


def shell_command() -> str:
    """Return the line that puts up a note from a shell: another process, and the same database."""
    python, folder = sys.executable, os.environ.get("SERVERSENT_DEMO_FOLDER", ".demo")
    words = [_short(python), "-m", "serversent.demo", "--send", "Hello from a shell"]
    if _short(folder) != ".demo":
        words += ["--folder", _short(folder)]
    return shlex.join(words)


def _short(path: str) -> str:
    """Return a path below the working directory without it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
