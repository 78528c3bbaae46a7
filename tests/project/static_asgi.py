import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

from serversent.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
application = ASGIStaticFilesHandler(get_asgi_application())
