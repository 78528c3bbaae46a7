"""The layout: few folders and root modules, each of which says what it is for."""

import re
from pathlib import Path

import pytest

import serversent
from tests.processes import ROOT as PROJECT

ROOT = Path(serversent.__file__).parent
DOCS = PROJECT / "docs"
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


def test_the_architecture_names_every_room_and_root_module():
    page = (DOCS / "architecture.md").read_text()
    table = page[page.index("| room |") : page.index("## Weak points")]
    named = set(re.findall(r"`(\w+)`", table))
    modules = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" and path.stem != "__init__"}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert named == modules | folders - {"static", "templates"}


@pytest.mark.parametrize("way", ["The way of an event", "The way of a request"])
def test_the_files_of_the_two_ways_are_there(way):
    page = (DOCS / "architecture.md").read_text()
    text = page[page.index(f"## {way}") :].split("\n## ")[0].split("\n## ")[0]
    files = re.findall(r"`([\w/]+\.py)`", text)
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_docs_have_every_term_once():
    terms = re.findall(r"^(\w[\w -]+)\n: ", (DOCS / "glossary.md").read_text(), flags=re.MULTILINE)
    assert terms == sorted(set(terms))
    assert {"cursor", "epoch", "offset", "floor", "live", "replay", "hub", "outbox", "broker", "drain"} <= set(terms)
    assert {"revocation", "hand-off"} <= set(terms)


def test_every_page_that_uses_a_term_links_the_glossary():
    used = re.compile(r"\b(cursor|epoch|offset|floor|replay|hub|outbox|broker|drain|revocation|hand-off)s?\b")
    pages = {*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md")} - {DOCS / "glossary.md"}
    code = re.compile(r"```.*?```|`[^`]*`", flags=re.DOTALL)
    with_terms = {page for page in pages if used.search(code.sub("", page.read_text()))}
    assert len(with_terms) > 20
    assert [page.name for page in with_terms if "glossary.md" not in page.read_text()] == []
