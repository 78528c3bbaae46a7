"""Makes two tenants, opens each of the streams of each, and prints what they read."""

import asyncio
import json
import warnings

warnings.simplefilter("ignore")

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django_tenants.utils import tenant_context  # noqa: E402

from serversent.asgi import get_asgi_application  # noqa: E402
from serversent.testing import open_stream  # noqa: E402
from tests.tenants.customers.models import Client, Domain  # noqa: E402
from tests.tenants.notes.models import Note  # noqa: E402

STREAMS = ("decorated-async", "decorated-sync", "plain", "channel")


def make_tenants():
    call_command("migrate_schemas", "--shared", verbosity=0, interactive=False)
    for name in ("one", "two"):
        client = Client(schema_name=name)
        client.save(verbosity=0)
        Domain.objects.create(domain=f"{name}.test", tenant=client)
        with tenant_context(client):
            Note.objects.create(text=f"of {name}")


async def read():
    application, found = get_asgi_application(), {}
    for tenant in ("one", "two"):
        for name in STREAMS:
            async with open_stream(application, f"/{name}/", headers={"Host": f"{tenant}.test"}) as stream:
                data = []
                while len(data) < 2:
                    event = await stream.next(20)
                    if event.event != "ready":
                        data.append(event.data)
            found[f"{tenant} {name}"] = data
    return found


make_tenants()
print(json.dumps(asyncio.run(read())))
