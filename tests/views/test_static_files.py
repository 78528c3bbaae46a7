"""The client's files: in development they are there, and `check --deploy` tells where they will not be."""

from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import override_settings

from serversent.asgi import get_asgi_application
from serversent.testing import open_stream

SCRIPT = "/static/serversent/serversent.js"
MANIFEST = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}


async def answer_of(url):
    async with open_stream(get_asgi_application(), url) as stream:
        await stream._exchange.until(lambda: stream._exchange.is_over, 20, "no end")
        return stream.status, stream.headers.get("content-type", "")


async def test_an_asgi_server_delivers_them_in_development():
    with override_settings(DEBUG=True):
        status, content_type = await answer_of(SCRIPT)
        assert status == 200
        assert "javascript" in content_type
        assert (await answer_of("/static/serversent/nothing.js"))[0] == 404
        assert (await answer_of("/static/admin/css/base.css"))[0] == 404, "only those of this package"


@pytest.mark.parametrize(
    "settings",
    [
        {"DEBUG": False},
        {"DEBUG": True, "STATIC_URL": "https://cdn.example/static/"},
        {"DEBUG": True, "STATIC_URL": None},
    ],
)
async def test_and_nowhere_else(settings):
    with override_settings(**settings):
        assert (await answer_of(SCRIPT))[0] == 404


def ids():
    found = run_checks(tags=["serversent"], include_deployment_checks=True)
    return [message.id for message in found if message.id in ("serversent.W010", "serversent.W011")]


@pytest.fixture
def collected(tmp_path):
    """Return a function that uses an empty STATIC_ROOT, with a storage."""

    def use(**settings):
        override = override_settings(STATIC_ROOT=str(tmp_path / "static"), **settings)
        override.enable()
        used.append(override)

    used = []
    yield use
    for override in used:
        override.disable()


def test_without_a_static_root(settings):
    settings.STATIC_ROOT = None
    assert ids() == ["serversent.W010"]


@pytest.mark.parametrize("storages", [None, MANIFEST], ids=["plain", "manifest"])
def test_files_that_are_not_collected(collected, storages):
    collected(**({"STORAGES": storages} if storages else {}))
    assert ids() == ["serversent.W011"]
    call_command("collectstatic", interactive=False, verbosity=0)
    if storages:
        staticfiles_storage._setup()
    assert ids() == []
    assert Path(staticfiles_storage.path("serversent/serversent.min.js")).is_file()


def test_a_storage_that_is_elsewhere_is_not_asked_in_vain(collected):
    class Elsewhere:
        def __init__(self, **options):
            pass

        def exists(self, name):
            raise OSError("no network")

    import tests.views.test_static_files as module

    module.Elsewhere = Elsewhere
    collected(STORAGES={**MANIFEST, "staticfiles": {"BACKEND": "tests.views.test_static_files.Elsewhere"}})
    assert ids() == []
