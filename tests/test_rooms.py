"""The layout: few folders and root modules, each of which says what it is for."""

import re
from pathlib import Path

import pytest

import serversent

ROOT = Path(serversent.__file__).parent
ROOMS = [
    *["views", "serving", "access", "channels", "brokers", "brokers/database", "brokers/dialects"],
    *["servers", "concurrency", "wire"],
]

# Where Django looks for them, and the apps on top.
OTHER_FOLDERS = {
    *["contrib", "demo", "notifications", "testing"],
    *["management", "migrations", "static", "templates", "templatetags"],
}


def test_folders():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders - OTHER_FOLDERS == {room for room in ROOMS if "/" not in room}


def test_root_modules():
    assert len(list(ROOT.glob("*.py"))) <= 16


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_lists_its_files(room):
    text = (ROOT / room / "__init__.py").read_text()
    listed = re.findall(r"^- ``(\w+)``: ", text, flags=re.MULTILINE)
    modules = {path.stem for path in (ROOT / room).iterdir() if not path.name.startswith("__")}
    assert sorted(listed) == sorted(modules)
