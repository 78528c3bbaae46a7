"""A project's own model in place of ours: with fields of its own, and without our table."""

import json
import os
import subprocess
import sys

import pytest

from tests.processes import ROOT


# Whether ours comes first or not, the project's admin is the one.
@pytest.mark.parametrize("apps", ["django.contrib.admin {ours} {shop}", "{shop} django.contrib.admin"])
def test_a_model_with_fields_of_its_own(tmp_path, apps):
    apps = apps.format(ours="serversent serversent.notifications", shop="django.contrib.messages tests.project.shop")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.project.settings",
        "TEST_SQLITE": str(tmp_path / "db.sqlite3"),
        "TEST_FIRST_APPS": apps,
        "TEST_NOTIFICATION_MODEL": "shop.Notice",
    }
    command = [sys.executable, "-m", "tests.project.shop.program"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "model": "Notice",
        "made": "Notice",
        "categories": ["stock", "stock"],
        "events": ["stock", "stock"],
        "tables": ["shop_notice"],
        "listed": ["stock", "stock"],
        "admin": "NoticeAdmin",
        "marked": 2,
    }
