"""The code in the documentation runs, and what it shows is there."""

import inspect
import re
from pathlib import Path

import pytest
from django.test import AsyncRequestFactory, override_settings
from django.urls import path

import serversent
from serversent.conf import SETTINGS
from serversent.views.response import EventStreamResponse

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

PYTHON = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def given():
    """What a new project has in the files that the code of a page is added to."""
    lists = {name: [] for name in ("INSTALLED_APPS", "MIDDLEWARE", "urlpatterns")}
    return {"__name__": "documented", "BASE_DIR": ROOT, "path": path, **lists}


def blocks(page):
    """Return the Python code of a page. A module of the project's is the page itself."""
    found = [inspect.cleandoc(match[2]) if match[1] else match[2] for match in PYTHON.finditer(page.read_text())]
    return [re.sub(r"^from myproject\..*\n", "", block, flags=re.MULTILINE) for block in found]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page):
    namespace = given()
    for block in blocks(page):
        # The modules of the tutorial are the page itself.
        block = block.replace("from live import views", "views = __import__('types').SimpleNamespace(**globals())")
        exec(block.replace('include("live.urls")', 'include(([], "live"))'), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_streams_of_a_page_stream(page):
    namespace = given()
    for block in blocks(page):
        if "urlpatterns" not in block:
            exec(block, namespace)
    requests = AsyncRequestFactory()
    for name, view in list(namespace.items()):
        if not (callable(view) and hasattr(view, "_non_atomic_requests")) or name in (
            "profile",
            "private",
            "usernames",
            "listen",
        ):
            continue  # these need a user, rows, or wait for ever; their pattern is tested on real servers
        request = requests.post("/", b'{"question": "a b"}', content_type="application/json")
        if name != "chat":
            request = requests.get("/")
        response = view(request)
        response = await response if inspect.isawaitable(response) else response
        assert isinstance(response, EventStreamResponse), name
        body = aiter(response)
        opening, first = await anext(body), await anext(body)
        assert opening == b": stream, heartbeat 15 s\nretry: 3000\n"
        assert first.endswith(b"\n\n")
        await body.aclose()


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs/reference.md").read_text()
    for name in serversent.__all__:
        assert f"serversent.{name}" in reference
        assert getattr(serversent, name).__doc__


def test_every_setting_is_in_the_reference_with_its_default():
    reference = (ROOT / "docs/reference.md").read_text()
    for name, allowed in SETTINGS.items():
        assert f"| `{name}` | {allowed.default} |" in reference


def test_the_settings_of_the_readme_are_the_defaults():
    (block,) = [block for block in blocks(ROOT / "README.md") if block.startswith("SERVERSENT")]
    namespace = {}
    exec(block, namespace)
    assert namespace["SERVERSENT"] == {name: allowed.default for name, allowed in SETTINGS.items()}
    with override_settings(SERVERSENT=namespace["SERVERSENT"]):
        from serversent.checks import check_settings

        assert check_settings(None) == []


def test_every_trace_is_shown():
    page = (ROOT / "docs/how-it-works.md").read_text()
    traces = {path.name for path in (ROOT / "docs/traces").glob("*.txt")}
    assert traces == set(re.findall(r"traces/(.*?\.txt)", page))
    assert len(traces) == 6


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
