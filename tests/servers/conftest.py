"""One server process per kind and session; tests that need other settings start their own."""

import pytest

from tests import processes


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
