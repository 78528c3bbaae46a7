"""The settings, and the system checks of them."""

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from serversent.checks import check_settings
from serversent.conf import SETTINGS, setting


def test_defaults():
    with override_settings():
        from django.conf import settings

        del settings.SERVERSENT
        assert {name: setting(name) for name in SETTINGS} == {
            "HEARTBEAT_SECONDS": 15,
            "RETRY_MILLISECONDS": 3000,
            "DRAIN_SECONDS": 5,
            "MAX_SYNC_STREAMS": 100,
            "MAX_EVENT_BYTES": 1024 * 1024,
            "MAX_CHANNELS": 100,
            "REPLAY_BYTES": 2 * 1024 * 1024,
            "MAX_CONNECTIONS": None,
            "MAX_CONNECTIONS_PER_USER": None,
            "MAX_CONNECTIONS_PER_ADDRESS": None,
            "CLIENT_ADDRESS": None,
            "PREPARE_CONNECTIONS": None,
            "NOTIFICATION_USER": None,
            "SESSION_CHECK_SECONDS": 10,
            "MAX_STREAM_SECONDS": None,
            "SEND_TIMEOUT_SECONDS": 60,
            "SERVER_SHORTCUTS": True,
        }
        assert check_settings(None) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT_SECONDS", 0),
        ("HEARTBEAT_SECONDS", "15"),
        ("HEARTBEAT_SECONDS", True),
        ("HEARTBEAT_SECONDS", float("nan")),
        ("RETRY_MILLISECONDS", 499),
        ("RETRY_MILLISECONDS", 1000.5),
        ("DRAIN_SECONDS", None),
        ("MAX_SYNC_STREAMS", -1),
        ("SERVER_SHORTCUTS", "yes"),
        ("SERVER_SHORTCUTS", 1),
    ],
)
def test_a_wrong_value_is_an_error_with_the_key_and_the_allowed_values(name, value):
    with override_settings(SERVERSENT={name: value}):
        (message,) = check_settings(None)
        assert message.id == "serversent.E003"
        assert f"SERVERSENT['{name}'] is {value!r}; it must be" in message.msg
        allowed = SETTINGS[name]
        words = "True or False" if name == "SERVER_SHORTCUTS" else f"from {allowed.minimum} to {allowed.maximum}"
        assert words in message.msg
        with pytest.raises(ImproperlyConfigured, match=name):
            setting(name)


def test_an_unknown_key_is_an_error_that_names_the_known():
    with override_settings(SERVERSENT={"HEARTBEAT": 15}):
        (message,) = check_settings(None)
    assert message.id == "serversent.E002"
    assert "'HEARTBEAT'" in message.msg
    assert "HEARTBEAT_SECONDS" in message.msg


def test_not_a_dict():
    with override_settings(SERVERSENT=["HEARTBEAT_SECONDS"]):
        (message,) = check_settings(None)
    assert message.id == "serversent.E001"


def test_the_checks_are_registered():
    with override_settings(SERVERSENT={"nothing": 1}):
        assert "serversent.E002" in [message.id for message in run_checks(tags=["serversent"])]
