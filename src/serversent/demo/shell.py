"""The lines for another terminal: another process, and the same database."""

import os
import shlex
import sys

__all__ = ["shell_command"]


def shell_command(*arguments: str) -> str:
    """Return the line that calls the demo with these arguments."""
    folder = _short(os.environ.get("SERVERSENT_DEMO_FOLDER", ".demo"))
    words = [_short(sys.executable), "-m", "serversent.demo", *arguments]
    return shlex.join(words if folder == ".demo" else [*words, "--folder", folder])


def _short(path: str) -> str:
    """Return a path below the working directory without it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
