"""The same with pytest-django: its fixtures instead of test cases."""

import pytest
from django.contrib.auth import get_user_model

from serversent import asend_event
from serversent.testing import open_stream

from .cases import SECONDS, use_live_server

pytestmark = pytest.mark.urls("tests.suite.streams")


@pytest.mark.django_db
def test_the_fixture_db(client):
    get_user_model().objects.create_user("ada")
    with open_stream(client, "/users/") as stream:
        assert [event.data for event in stream.take(2, SECONDS)] == ["{}", '["ada"]']
    assert get_user_model().objects.count() == 1


@pytest.mark.django_db
async def test_async(async_client):
    async with open_stream(async_client, "/news/") as stream:
        await stream.next(SECONDS)
        await asend_event("news", "hello")
        assert (await stream.next(SECONDS)).data == "hello"


@pytest.mark.parametrize("closes", [True, False])
def test_live_server(live_server, closes):
    use_live_server(live_server.url, closes=closes)
