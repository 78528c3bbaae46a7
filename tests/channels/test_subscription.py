"""What a channel view grants, and until when."""

import datetime
import time

import pytest
from django.test import override_settings
from django.utils import timezone

from serversent import Subscription
from serversent.errors import InvalidSubscription


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
@pytest.mark.parametrize("use_tz", [True, False])
def test_expires_in_a_minute(use_tz, zone):
    """As ``timezone.now()`` counts in the project, whatever its time zone."""
    minute = datetime.timedelta(minutes=1)
    with override_settings(USE_TZ=use_tz, TIME_ZONE=zone):
        for expires in (timezone.now() + minute, minute, 60):
            assert abs(Subscription("c", expires=expires).expires_at - (time.time() + 60)) < 5


@override_settings(USE_TZ=True)
def test_a_naive_time_where_times_are_aware():
    with pytest.raises(InvalidSubscription, match=r"aware datetime, as timezone\.now\(\) returns"):
        Subscription("c", expires=datetime.datetime(2026, 1, 1))
