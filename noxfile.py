"""The tests on each supported pair of Python and Django, and against the built wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = os.environ.get("CI") == "true"
nox.options.sessions = ["tests", "newest", "servers", "wheel"]

# The oldest pair is what the wheel is tested on.
OLDEST = ("3.11", "5.2")
PAIRS = [("3.12", "6.0")]
NEWEST = ("3.13", "6.1")

# What is written past ASGI depends on the server: from the oldest that is supported on. The newest have all other runs.
SERVERS = [
    ("uvicorn==0.30.6", "hypercorn==0.17.3", "granian==2.0.0", "daphne==4.2.0"),
    ("uvicorn==0.38.0", "hypercorn==0.18.0", "granian==2.4.2", "daphne==4.2.1"),
]

# What the servers and the browsers do does not change with every pair, nor what thousands of users cost ("crowd"):
# these run in the main run alone.
QUICK = [
    *["--ignore=tests/browser", "--ignore=tests/faults", "--ignore=tests/test_scripts.py"],
    "--deselect=tests/test_benchmarks.py::test_scenarios_run",
    "--ignore=tests/test_client_files.py",
    "--ignore=tests/servers/test_ai_clients.py",
    "--ignore=tests/servers/test_restart.py",
    "--ignore=tests/servers/test_unread.py",
    "--ignore=tests/servers/test_drain.py",
    "--ignore=tests/servers/test_postgresql.py",
    "--ignore=tests/brokers/test_statements.py",
    "--ignore=tests/serving/test_registry.py",
]
NO_SERVERS = ["--ignore=tests/servers", "--ignore=tests/serving/test_registry.py"]
# The pairs in the middle leave out the slow tests of brokers, which run on the oldest and on the newest pair.
MIDDLE = [
    *NO_SERVERS,
    "--ignore=tests/property",
    "--ignore=tests/brokers",
    "--ignore=tests/test_suites.py",
    "-k",
    "not (mariadb or crowd)",
]
# Streams and applications on two servers; the rest of tests/servers/ has its run on the oldest pair.
TWO_SERVERS = [
    *[
        f"--ignore=tests/servers/test_{name}.py"
        for name in ("channels", "channels_elsewhere", "notifications", "revocations", "shortcuts")
    ],
    "-k",
    "not (mariadb or crowd or hypercorn or granian or gunicorn or h11 or runserver)",
]
FILES = [
    *NO_SERVERS,
    "--ignore=tests/property",
    "--ignore=tests/brokers",
    "--ignore=tests/test_suites.py",
    "--ignore=tests/views/test_surroundings.py",
    "--ignore=tests/access/test_sessions.py",
    "--ignore=tests/test_tenants.py",
    "-k",
    "not (mariadb or crowd or postgresql)",
]
FUZZ_EXAMPLES = "100"

if pyenv := shutil.which("pyenv"):
    # Its shims answer for the versions that are switched on. Switch on all that are installed.
    installed = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=True).stdout.split()
    os.environ["PYENV_VERSION"] = ":".join(sorted(installed, reverse=True))


def groups() -> list[str]:
    project = nox.project.load_toml("pyproject.toml")
    return list(nox.project.dependency_groups(project, "test"))


def run_tests(session: nox.Session, *arguments: str) -> None:
    # From a folder without src/, so that only what was installed is imported.
    folder = Path(session.create_tmp()).resolve()
    for name in (
        "tests",
        "benchmarks",
        "examples",
        "docs",
        "scripts",
        "pyproject.toml",
        "README.md",
        "CONTRIBUTING.md",
    ):
        source, target = Path(name).resolve(), folder / name
        if target.is_dir():
            shutil.rmtree(target)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "_build"))
        else:
            shutil.copy(source, target)
    session.chdir(folder)
    parallel = ["--numprocesses=6", "--dist=loadfile"]
    session.run("python", "-m", "pytest", "-q", "--matrix", "-m", "not long", *parallel, *arguments, *session.posargs)


@nox.session
@nox.parametrize(("python", "django"), PAIRS)
def tests(session: nox.Session, django: str) -> None:
    run_on_pair(session, django, *MIDDLE)


@nox.session(python=NEWEST[0])
def newest(session: nox.Session) -> None:
    """Two of the servers, too, which had their tests in the main run."""
    run_on_pair(session, NEWEST[1], *TWO_SERVERS)


def run_on_pair(session: nox.Session, django: str, *arguments: str) -> None:
    session.install(".", f"Django~={django}.0", *groups())
    session.env["TEST_EXAMPLES"] = "15"  # of the property test of channels, which is the same on every pair
    session.env["TEST_FUZZ_EXAMPLES"] = FUZZ_EXAMPLES
    run_tests(session, *QUICK, *arguments)


@nox.session(python=f"{sys.version_info[0]}.{sys.version_info[1]}")
@nox.parametrize("versions", SERVERS, ids=["oldest", "middle"])
def servers(session: nox.Session, versions: tuple[str, ...]) -> None:
    session.install(".", *groups())
    session.install(*versions)
    # Streams as such do not depend on Granian's version, and its older ones have tasks that asyncio cannot count.
    which = ["-k", "shortcuts or test_servers or not (granian or gunicorn)"]
    tests = ["tests/servers/test_adapters.py", "tests/servers/test_shortcuts.py", "tests/servers/test_streams.py"]
    run_tests(session, *which, *tests)


@nox.session(python=OLDEST[0])
def wheel(session: nox.Session) -> None:
    """Build the wheel, and run the tests against it."""
    dist = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(dist))
    (built,) = dist.glob("*.whl")
    session.install(str(built), f"Django~={OLDEST[1]}.0", *groups())
    # What the code does was seen on every pair. Here it is about the files.
    run_tests(session, *QUICK, *FILES)
