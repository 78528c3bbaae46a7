"""The browser client's files: small, and made from the source that is beside them."""

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

from .processes import ROOT

FOLDER = ROOT / "src/serversent/static/serversent"
NOTIFICATIONS = ROOT / "src/serversent/notifications/static/serversent"


@pytest.mark.parametrize(("name", "most"), [("serversent", 7168), ("notifications", 3000)])
def test_they_are_small(name, most):
    size = len(gzip.compress(Path(finders.find(f"serversent/{name}.min.js")).read_bytes(), 9))
    assert size < most


@pytest.mark.service("npm")
@pytest.mark.parametrize(
    ("script", "sources", "made"),
    [
        ("build", "client/*.js", FOLDER),
        ("build:notifications", "src/serversent/notifications/static/serversent/notifications.js", NOTIFICATIONS),
    ],
)
def test_the_files_are_made_from_the_sources(tmp_path, script, sources, made):
    """`make client` makes them."""
    folder = tmp_path / made.relative_to(ROOT)
    folder.mkdir(parents=True)
    for source in ROOT.glob(sources):
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(source, copy)
    command = json.loads((ROOT / "package.json").read_text())["scripts"][script]
    path = os.pathsep.join([str(ROOT / "node_modules/.bin"), os.environ["PATH"]])
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True)
    new = {file.relative_to(folder): file.read_text() for file in folder.rglob("*") if file.is_file()}
    assert len(new) > 1
    for name, text in new.items():
        assert text == (made / name).read_text(), f"{name}: make client"
    left = {file.name for file in (made / "types").glob("*")} - {file.name for file in (folder / "types").glob("*")}
    assert not left, "make client no longer makes them"
