"""A process that publishes to two channels, leaves its transaction open until its input ends, and commits."""

import sys

import django

django.setup()

from django.db import transaction  # noqa: E402

from serversent import send_event  # noqa: E402

with transaction.atomic():
    send_event("c0", "holder:0")
    send_event("c1", "holder:1")
    print("open", flush=True)
    sys.stdin.read()
