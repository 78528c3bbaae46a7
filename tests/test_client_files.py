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
    ("script", "folder", "source", "made"),
    [
        ("build", FOLDER, "serversent.js", ("serversent.min.js", "serversent.min.js.map", "serversent.d.ts")),
        (
            "build:notifications",
            NOTIFICATIONS,
            "notifications.js",
            ("notifications.min.js", "notifications.min.js.map"),
        ),
    ],
)
def test_the_files_are_made_from_the_source(tmp_path, script, folder, source, made):
    """`make client` makes them."""
    shutil.copy(folder / source, tmp_path)
    command = json.loads((ROOT / "package.json").read_text())["scripts"][script]
    _, _, command = command.partition(" && ")  # without its cd
    path = os.pathsep.join([str(ROOT / "node_modules/.bin"), os.environ["PATH"]])
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True)
    for name in made:
        assert (tmp_path / name).read_text() == (folder / name).read_text(), f"{name}: make client"
