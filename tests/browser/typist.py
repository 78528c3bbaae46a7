"""Types what a page of the documentation says, word for word, in an empty folder."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.processes import ROOT, Server, serve

__all__ = ["Box", "Typist", "boxes", "build_wheel", "is_server"]

STOP_SECONDS = 30

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Box(NamedTuple):
    """A block of code, and the sentence before it."""

    before: str
    language: str
    text: str


def boxes(page: Path, *, section: str = "") -> list[Box]:
    text = page.read_text()
    if section:
        text = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    found, end = [], 0
    for match in BLOCK.finditer(text):
        before = " ".join(text[end : match.start()].split())
        found.append(Box(before, match[1], match[2]))
        end = match.end()
    return found


def build_wheel(folder: Path) -> None:
    """Build this package into a folder."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)


class Typist:
    """Sits at a shell in an empty folder. ``lines``: all lines typed so far."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        kept |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_", "HTTP"))}
        self.environment = {**kept, "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def type(self, box: Box) -> None:
        """Do what a box says: a shell's commands, or a file that the sentence before it names."""
        self.lines += [line for line in box.text.splitlines() if line.strip()]
        if box.language == "sh":
            self.run("\n".join(line for line in box.text.splitlines() if not is_server(line)))
            return
        *_, name = re.findall(r"`([\w/.]+\.\w+)`", box.before)
        file, text = self.folder / name, box.text
        if "A new file" in box.before.split(". ")[-1] or "instead of its present content" in box.before:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif "change one import" in box.before:
            old = file.read_text()
            changed = re.sub(r"^from django\.core\.asgi import .*\n", lambda _: text, old, flags=re.MULTILINE)
            assert changed != old
            file.write_text(changed)
        else:
            assert "At the end of" in box.before, box.before
            file.write_text(file.read_text() + text)

    def run(self, commands: str) -> str:
        """Run commands in one shell, which stops at the first that fails; return their output."""
        script = f"set -e\n[ ! -d .venv ] || . .venv/bin/activate\n{commands}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def serving(self, command: str, *, port: int | None = None) -> Iterator[Server]:
        """Run a server's command of a box, on another port than it would have: others may have that."""
        program, *arguments = command.split()
        options = ["--port", "{port}"] if program == "uvicorn" else ["127.0.0.1:{port}"]
        line = f"cd {self.folder} && . .venv/bin/activate && exec {' '.join([program, *arguments, *options])}"
        environment = {**self.environment, "DJANGO_SETTINGS_MODULE": "core.settings", "PYTHONPATH": ""}
        with serve("typed", self.folder, command=["bash", "-c", line], environment=environment, port=port) as server:
            yield server
            os.killpg(server.process.pid, signal.SIGINT)  # Ctrl-C
            server.process.wait(STOP_SECONDS)


def is_server(line: str) -> bool:
    return line.startswith(("python manage.py runserver", "uvicorn "))
