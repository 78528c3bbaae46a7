import os

from channels.routing import ProtocolTypeRouter

from serversent.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
application = ProtocolTypeRouter({"http": get_asgi_application()})
