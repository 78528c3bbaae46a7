"""What can be imported, from where, and when."""

import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import requires, version

import pytest

import serversent


def test_every_public_name_can_be_imported_without_settings():
    code = (
        "from serversent import *; import serversent, sys; from serversent import ServerSentEvent, event_stream;"
        "assert set(serversent.__all__) <= set(dir(serversent));"
        "assert ServerSentEvent({'a': 1}).data == '{\"a\": 1}';"
        "from serversent.asgi import get_asgi_application;"
        "from django.conf import settings; assert not settings.configured;"
        "exec('@event_stream\\nasync def view(request):\\n    yield 1')"
    )
    environment = {"PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)


def test_an_import_loads_nothing():
    code = "import serversent, sys; assert 'django' not in sys.modules; print(serversent.__version__)"
    environment = {"PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))}
    output = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    assert output.stdout.strip() == version("django-serversent")


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        serversent.nothing  # noqa: B018


def test_all_names_exist_and_the_rest_is_underscored_or_imported():
    for module in pkgutil.walk_packages(serversent.__path__, "serversent."):
        if re.search(r"\.(demo|migrations|admin)\b|\.(management|commands|templatetags)$", module.name):
            continue
        loaded = importlib.import_module(module.name)
        for name in loaded.__all__:
            assert hasattr(loaded, name), f"{module.name}.{name}"
        for name, value in vars(loaded).items():
            defined_here = getattr(value, "__module__", None) == module.name and isinstance(value, type)
            if defined_here and not name.startswith("_"):
                assert name in loaded.__all__ or module.name == "serversent.conf", f"{module.name}.{name}"


def test_the_core_depends_on_django_and_asgiref_alone():
    needed = [line for line in requires("django-serversent") if "extra ==" not in line]
    assert sorted(line.split(">")[0].lower() for line in needed) == ["asgiref", "django"]


def test_the_package_is_typed():
    from importlib.resources import files

    assert (files("serversent") / "py.typed").is_file()
