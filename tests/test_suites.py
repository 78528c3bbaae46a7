"""A project's own tests of its streams, with Django's runner and pytest's, on every database. They leave nothing."""

import json
import os
import subprocess
import sys

import pytest

from .conftest import DATABASES
from .processes import ROOT

SECONDS = 240


@pytest.fixture(params=["memory", *DATABASES])
def environment(request, tmp_path):
    """The databases, in memory too. The project runs with its tests' database made anew."""
    if request.param == "memory":
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    elif request.param == "sqlite":
        file = str(tmp_path / "db.sqlite3")
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "TEST": {"NAME": f"{file}-test"}}
    else:
        database = dict(request.getfixturevalue(f"{request.param}_settings"))
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", "TEST_DATABASE": json.dumps(database)}


def run(environment, *arguments):
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output[-6000:]
    # Django's runner and pytest-django say so where a connection is left.
    assert "being accessed by other users" not in output
    assert "locked" not in output
    return output


def test_with_djangos_runner(environment):
    assert "OK" in run(environment, "django", "test", "--noinput", "tests.suite.cases")


@pytest.mark.parametrize("migrations", ["--migrations", "--nomigrations"])
def test_with_pytest(environment, migrations):
    cases = ["tests/suite/cases.py", "tests/suite/pytest_cases.py"]
    # The suite leaves sockets open on purpose: that is no error of its own.
    options = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--create-db", migrations]
    options += ["-o", "filterwarnings=default"]
    assert "failed" not in run(environment, "pytest", *options, *cases)
