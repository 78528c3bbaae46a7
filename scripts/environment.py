"""Make a virtual environment, on a machine that may have nothing but Python: ``environment.py FOLDER [GROUP]``.

Installs this package, editable, and one dependency group of pyproject.toml. Standard library only. A second run
with nothing changed does nothing. Tries, in this order: uv; venv with its own pip; venv with a pip brought from the
package index (the one that pip is configured for, hash checked); as root, Debian's python3-venv.
"""

import configparser
import hashlib
import html.parser
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HELP = "Cannot make a virtual environment. Install one of: uv, or your system's venv package (Debian: python3-venv)."


class Failed(Exception):
    pass


def main() -> int:
    folder = ROOT / sys.argv[1]
    groups = sys.argv[2:]
    stamp = folder / "made-for"
    wanted = state(groups)
    if stamp.exists() and stamp.read_text() == wanted and python_of(folder).exists():
        return 0
    if sys.version_info < (3, 11):
        print(f"Python 3.11 or newer is needed, and {sys.executable} is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    print(f"Making the environment in {folder.relative_to(ROOT)} ...", flush=True)
    install_groups = [argument for group in groups for argument in ("--group", group)]
    for way in (with_uv, with_venv, with_brought_pip, with_debian):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            install = way(folder)
        except Failed as problem:
            print(f"{way.__name__.replace('_', ' ')}: {problem}", file=sys.stderr)
            continue
        if install is None:
            continue
        try:
            run([*install, *quiet(install), "--editable", str(ROOT), *install_groups])
        except Failed as problem:
            print(f"Cannot install into {folder}: {problem}", file=sys.stderr)
            return 1
        stamp.write_text(wanted)
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    print(HELP, file=sys.stderr)
    return 1


def state(groups: list[str]) -> str:
    """What the environment depends on: made again when it changes."""
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return f"{sys.executable} {sys.version} {groups} {project} {ROOT}\n"


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{error}") from None


def quiet(install: list[str]) -> list[str]:
    return ["--quiet"] if install[0].endswith("uv") else ["--quiet", "--disable-pip-version-check"]


# Each way makes the environment and returns the command that installs into it; None where it does not apply.


def with_uv(folder: Path) -> list[str] | None:
    uv = shutil.which("uv")
    if uv is None:
        return None
    run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    return [uv, "pip", "install", "--python", str(python_of(folder))]


def with_venv(folder: Path) -> list[str] | None:
    if has_module("ensurepip") is False:
        return None
    run([sys.executable, "-m", "venv", str(folder)])
    return pip_of(folder)


def with_brought_pip(folder: Path) -> list[str] | None:
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    wheel = fetch_pip(folder)
    # A wheel of pip runs from its file.
    run([str(python_of(folder)), f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)])
    wheel.unlink()
    return pip_of(folder)


def with_debian(folder: Path) -> list[str] | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    run(["apt-get", "update", "-qq"])
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-venv"])
    run([sys.executable, "-m", "venv", str(folder)])
    return pip_of(folder)


def pip_of(folder: Path) -> list[str]:
    """Return the install command, with a pip that knows dependency groups (25.1 brought them)."""
    pip = [str(python_of(folder)), "-m", "pip", "install"]
    run([*pip, "--quiet", "--disable-pip-version-check", "--upgrade", "pip>=25.1"])
    return pip


def has_module(name: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, check=False).returncode == 0


# The pip that is brought.


class Links(html.parser.HTMLParser):
    """The links of an index page (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and (url := dict(attrs).get("href")):
            self.urls.append(url)


def fetch_pip(folder: Path) -> Path:
    settings = pip_settings()
    page = settings.get("index-url", "https://pypi.org/simple").rstrip("/") + "/pip/"
    context = ssl.create_default_context(cafile=settings.get("cert"))
    links = Links()
    links.feed(download(page, context).decode())
    wheels = {}
    for url in links.urls:
        if match := re.search(r"/pip-(\d+)\.(\d+)(?:\.(\d+))?-py3-none-any\.whl#sha256=([0-9a-f]{64})$", url):
            wheels[tuple(int(part or 0) for part in match.groups()[:3])] = (urllib.parse.urljoin(page, url), match[4])
    if not wheels:
        raise Failed(f"no wheel of pip with a hash at {page}")
    url, wanted = wheels[max(wheels)]
    content = download(url, context)
    if hashlib.sha256(content).hexdigest() != wanted:
        raise Failed(f"{url} does not have the hash that its index names")
    wheel = folder / Path(urllib.parse.urlsplit(url).path).name
    wheel.write_bytes(content)
    return wheel


def download(url: str, context: ssl.SSLContext) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "text/html, */*"})
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            content: bytes = answer.read()
            return content
    except OSError as error:
        raise Failed(f"{url}: {error}") from None


def pip_settings() -> dict[str, str]:
    """Read pip's own settings, the later ones first in rank: system, user, PIP_CONFIG_FILE, environment."""
    home = Path.home()
    files = [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        Path(os.environ.get("XDG_CONFIG_HOME", home / ".config")) / "pip" / "pip.conf",
    ]
    if named := os.environ.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    parser = configparser.RawConfigParser()
    parser.read(files)
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings.update(parser.items(section))
    for name in ("index-url", "cert"):
        if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
            settings[name] = value
    return settings


if __name__ == "__main__":
    sys.exit(main())
