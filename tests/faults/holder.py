"""A process that publishes to two channels and leaves its transaction open for some seconds, then commits."""

import sys
import time

import django

django.setup()

from django.db import transaction  # noqa: E402

from serversent import send_event  # noqa: E402

with transaction.atomic():
    send_event("c0", "holder:0")
    send_event("c1", "holder:1")
    print("open", flush=True)
    time.sleep(float(sys.argv[1]))
