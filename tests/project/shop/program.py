"""Sends a notification of the project's own model, and prints what there is of it."""

import json

import django
from django.core.management import call_command
from django.db import connection

django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from serversent.models import Event  # noqa: E402
from serversent.notifications import send_notification  # noqa: E402
from serversent.notifications.models import notification_model  # noqa: E402
from serversent.notifications.unsent import Unsent  # noqa: E402

setup_test_environment()
call_command("makemigrations", "--check", "--dry-run", "serversent_notifications", verbosity=0)
call_command("migrate", run_syncdb=True, verbosity=0)
user = get_user_model().objects.create_user("ada")
made = send_notification(user, "Sold out", category="stock")
send_notification([user], "Sold out too", category="stock")
model = notification_model()
client = Client()
client.force_login(user)
listed = client.get("/notifications/").json()["notifications"]
Unsent(user.pk).read_now()
print(
    json.dumps(
        {
            "model": model.__name__,
            "made": type(made).__name__,
            "categories": list(model.objects.filter(sent=False, user=user).values_list("category", flat=True)),
            "events": [json.loads(data)["category"] for data in Event.objects.values_list("data", flat=True)],
            "tables": [name for name in connection.introspection.table_names() if "notif" in name or "notice" in name],
            "listed": [item["category"] for item in listed],
            "admin": type(admin.site.get_model_admin(model)).__name__,
            "marked": model.objects.unread().mark_all_as_read(),
        }
    )
)
