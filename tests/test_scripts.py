"""scripts/environment.py: the pip that is brought to a machine that has none."""

import hashlib
import http.server
import importlib.util
import shutil
import subprocess
import sys
import threading

import pytest

from .processes import ROOT

spec = importlib.util.spec_from_file_location("environment", ROOT / "scripts/environment.py")
environment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(environment)


@pytest.fixture
def index(tmp_path):
    """A package index with two versions of pip on this machine; yields its URL and what it serves."""
    pages = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple", pages
        server.shutdown()


def serve_pip(pages, content, wanted):
    pages["/simple/pip/"] = (
        f'<a href="../../files/pip-9.0.1-py3-none-any.whl#sha256={"0" * 64}">old</a>'
        f'<a href="../../files/pip-25.3-py3-none-any.whl#sha256={wanted}" data-x="y">new</a>'
        '<a href="../../files/pip-26.0b1-py3-none-any.whl#sha256=beta">beta</a>'
    ).encode()
    pages["/files/pip-25.3-py3-none-any.whl"] = content


def test_the_newest_pip_of_the_configured_index_is_brought(index, tmp_path, monkeypatch):
    url, pages = index
    serve_pip(pages, b"a wheel", hashlib.sha256(b"a wheel").hexdigest())
    monkeypatch.setenv("PIP_INDEX_URL", url)
    assert environment.fetch_pip(tmp_path).read_bytes() == b"a wheel"


def test_another_hash_is_refused(index, tmp_path, monkeypatch):
    url, pages = index
    serve_pip(pages, b"another wheel", hashlib.sha256(b"a wheel").hexdigest())
    monkeypatch.setenv("PIP_INDEX_URL", url)
    with pytest.raises(environment.Failed, match="does not have the hash that its index names"):
        environment.fetch_pip(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_does_not_answer_is_named(index, tmp_path, monkeypatch):
    url, _ = index
    monkeypatch.setenv("PIP_INDEX_URL", url)
    with pytest.raises(environment.Failed, match=url):
        environment.fetch_pip(tmp_path)


def test_pip_s_settings_are_read_in_pip_s_order(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip/pip.conf").write_text("[global]\nindex-url = http://from-user/\n")
    assert environment.pip_settings()["index-url"] == "http://from-user/"
    (tmp_path / "named.conf").write_text("[install]\nindex-url = http://from-named/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "named.conf"))
    assert environment.pip_settings()["index-url"] == "http://from-named/"
    monkeypatch.setenv("PIP_INDEX_URL", "http://from-environment/")
    assert environment.pip_settings()["index-url"] == "http://from-environment/"


def test_without_pip_and_uv_an_environment_is_made_for_real(tmp_path, monkeypatch):
    folder = tmp_path / "venv"
    install = environment.with_brought_pip(folder)
    version = subprocess.run([*install[:3], "--version"], check=True, capture_output=True, text=True).stdout
    assert str(folder) in version


def test_nothing_works_is_one_line_and_exit_1(tmp_path, monkeypatch, capsys):
    def fails(folder):
        raise environment.Failed("no")

    for name in ("with_uv", "with_venv", "with_brought_pip", "with_debian"):
        fails_here = lambda folder: fails(folder)  # noqa: E731
        fails_here.__name__ = name
        monkeypatch.setattr(environment, name, fails_here)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(sys, "argv", ["environment.py", "venv"])
    assert environment.main() == 1
    assert capsys.readouterr().err.splitlines()[-1] == environment.HELP
    assert not (tmp_path / "venv").exists()


def prose(*arguments, cwd=ROOT):
    command = [sys.executable, str(cwd / "scripts/prose.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_prose_names_things():
    assert prose().returncode == 0


def test_clauses_for_nouns_are_counted(tmp_path):
    for name in ("src/serversent", "docs", "scripts"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "scripts/prose.py", tmp_path / "scripts")
    for name in ("README.md", "CONTRIBUTING.md"):
        (tmp_path / name).write_text("A page. `what` and ``what`` are code.\n\n```\n# what\n```\n")
    (tmp_path / "src/serversent/a.py").write_text('"""Return what was sent."""\nx = "to who"  # for whoever comes\n')
    (tmp_path / "src/serversent/b.js").write_text("// Who has none.\nconst what = 1;\n")
    found = prose("--list", cwd=tmp_path)
    assert found.returncode == 1
    assert found.stdout.splitlines()[:3] == [
        "src/serversent/a.py:1: Return what",
        "src/serversent/a.py:2: for whoever",
        "src/serversent/b.js:1: Who",
    ]
