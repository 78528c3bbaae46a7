"""A test whose service is missing: skipped by name on a developer's machine, a failure in CI."""

import os
import subprocess
import sys

from . import processes

RUN = """
import sys, pytest, tests.conftest
tests.conftest.SERVICES["nowhere"] = "no-such-program"
options = ["--rootdir", ".", "-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider", "-W", "ignore"]
sys.exit(pytest.main([sys.argv[1], *options]))
"""


def run(tmp_path, **environment):
    file = tmp_path / "test_it.py"
    file.write_text('import pytest\n\n@pytest.mark.service("nowhere")\ndef test_it(): pass\n')
    variables = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-c", RUN, str(file)],
        cwd=processes.ROOT,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_on_a_developers_machine_it_is_skipped_and_counted(tmp_path):
    ended = run(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 skipped" in ended.stdout
    assert "nowhere (1). To install all of them: make services" in ended.stdout


def test_a_missing_service_fails_in_ci(tmp_path):
    ended = run(tmp_path, CI="true")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "1 error" in ended.stdout
    assert "make services" in ended.stdout
