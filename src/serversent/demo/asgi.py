"""The demo's ASGI application."""

import os

from serversent.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "serversent.demo.settings")
application = get_asgi_application()
