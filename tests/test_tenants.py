"""django-tenants: the streams of a tenant read that tenant's rows, if the project prepares their connections."""

import json
import os
import subprocess
import sys

import pytest

from . import processes

pytest.importorskip("django_tenants")


@pytest.mark.service("postgresql")
@pytest.mark.parametrize("prepares", [True, False])
def test_streams_of_tenants(prepares):
    with processes.postgresql("-c", "fsync=off") as server:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.tenants.settings",
            "TEST_DATABASE": json.dumps(server.settings),
            "TEST_PREPARE": "yes" if prepares else "",
            "TEST_SHARED_NOTES": "" if prepares else "yes",
        }
        ended = subprocess.run(
            [sys.executable, "-m", "tests.tenants.program"],
            cwd=processes.ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert ended.returncode == 0, ended.stderr[-3000:]
    for name, data in json.loads(ended.stdout.splitlines()[-1]).items():
        read = [text.replace("'", '"') for text in data]
        tenant = name.split()[0]
        # Without it each reads the public schema, in silence: what the documentation warns of.
        assert read == [f'["of {tenant}"]' if prepares else "[]"] * 2, name
