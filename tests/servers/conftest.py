"""One server process per kind and session; tests that need other settings start their own."""

import json

import pytest

from tests import processes
from tests.conftest import DATABASES


@pytest.fixture(scope="session")
def servers(server_folder, sqlite_file):
    """Return the running server of a kind, started when it is first asked for."""
    running = {}
    contexts = []

    def get(kind):
        if kind not in running:
            context = processes.serve(kind, server_folder, environment={"TEST_SQLITE": sqlite_file})
            running[kind] = context.__enter__()
            contexts.append(context)
        return running[kind]

    yield get
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture(
    params=["daphne", "runserver", "uvicorn-httptools", "uvicorn-h11", "hypercorn", "granian", "gunicorn-uvicorn"]
)
def server(request, servers):
    return servers(request.param)


@pytest.fixture(scope="module", params=DATABASES)
def environment(request):
    """Each database, for servers that share one."""
    if request.param == "sqlite":
        return {"TEST_SQLITE": request.getfixturevalue("sqlite_file")}
    return {"TEST_DATABASE": json.dumps(request.getfixturevalue(f"{request.param}_settings"))}


@pytest.fixture(scope="module")
def elsewhere(server_folder, environment):
    """Another process of the same project."""
    with processes.serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server
