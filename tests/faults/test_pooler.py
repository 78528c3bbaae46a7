"""PostgreSQL behind a pooler in transaction mode: LISTEN hears nothing there, which is told and made up for."""

import json

import pytest

from tests.processes import pgbouncer, serve

pytestmark = [pytest.mark.service("postgresql"), pytest.mark.service("pgbouncer")]


@pytest.fixture(scope="module")
def pooled(postgresql_settings):
    with pgbouncer(postgresql_settings) as settings:
        yield {"TEST_DATABASE": json.dumps(settings)}


def test_events_are_polled_for_and_the_log_says_so(server_folder, pooled, postgresql_settings):
    direct = {"TEST_DATABASE": json.dumps(postgresql_settings)}
    with (
        serve("uvicorn-httptools", server_folder, environment=pooled) as server,
        serve("uvicorn-httptools", server_folder, environment=direct) as sender,
        server.open("/channels/?channel=pooled") as stream,
    ):
        assert stream.next().event == "ready"
        for number, process in enumerate([server, sender] * 3):
            assert process.get(f"/send/?channel=pooled&data={number}").status == 200
            assert stream.next().data == str(number)
        assert "is it behind a pooler in transaction mode?" in server.log
        assert "pooler" not in sender.log
