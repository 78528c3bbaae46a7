"""The system checks of notifications."""

import pytest
from django.db import models
from django.test import modify_settings, override_settings
from django.test.utils import isolate_apps

from serversent.notifications.checks import check_setup
from serversent.notifications.models import AbstractNotification, notification_model
from tests.test_checks import MEMORY, configured


def ids():
    return [message.id for message in check_setup(None)]


def test_a_new_project_has_nothing_to_hear():
    assert ids() == []


def test_without_the_app_that_has_the_log():
    with modify_settings(INSTALLED_APPS={"remove": "serversent"}):
        assert ids() == ["serversent.E020"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.Model", "is no model"),
        ("nonsense", "is no model"),
        ("auth.User", "is no AbstractNotification"),
    ],
)
def test_a_model_that_cannot_be(name, words):
    with override_settings(SERVERSENT_NOTIFICATION_MODEL=name):
        (message,) = check_setup(None)
    assert message.id == "serversent.E021"
    assert words in message.msg


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"id": models.UUIDField(primary_key=True)}, "needs the id of AbstractNotification"),
        ({"objects": models.Manager()}, "needs a manager of NotificationQuerySet"),
    ],
)
@isolate_apps("tests.project")
def test_a_model_that_lacks_required_fields(attributes, words, monkeypatch):
    class Meta(AbstractNotification.Meta):
        app_label = "project"

    made = type("Notice", (AbstractNotification,), {**attributes, "Meta": Meta, "__module__": __name__})
    monkeypatch.setattr("serversent.notifications.models.apps.get_model", lambda *args, **kwargs: made)
    (message,) = check_setup(None)
    assert message.id == "serversent.E021"
    assert words in message.msg


def test_a_log_elsewhere():
    with configured(MEMORY):
        assert ids() == ["serversent.W020"]


def test_without_the_app():
    with (
        modify_settings(INSTALLED_APPS={"remove": "serversent.notifications"}),
        pytest.raises(Exception, match='need "serversent.notifications" in INSTALLED_APPS'),
    ):
        notification_model()
