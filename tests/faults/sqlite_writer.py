"""A process with ordinary read-then-write transactions that publish. It prints how many failed, and how."""

import json
import sys

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import OperationalError, transaction  # noqa: E402

from serversent import send_event  # noqa: E402
from serversent.errors import BrokerUnavailable  # noqa: E402

name, count = sys.argv[1], int(sys.argv[2])
sent, failed = [], 0
for number in range(count):
    try:
        with transaction.atomic():
            user = get_user_model().objects.get(username="ada")
            user.first_name = f"{name} {number}"
            user.save()
            send_event("sqlite", f"{name}:{number}")
        sent.append(f"{name}:{number}")
    except (OperationalError, BrokerUnavailable) as error:
        if "locked" not in str(error):
            raise
        failed += 1
print(json.dumps({"sent": sent, "failed": failed}))
