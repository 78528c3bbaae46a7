"""The project that the tests serve, configured by environment variables, because servers run it in other processes."""

import json
import os
import sys
from pathlib import Path

for name in os.environ.get("TEST_WITHOUT", "").split():
    sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed

try:
    import pymysql
except ImportError:  # the benchmark's and the demo's environments have none
    pass
else:
    pymysql.install_as_MySQLdb()

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = "for tests only"
DEBUG = bool(os.environ.get("TEST_DEBUG"))
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "tests.project.urls"
ASGI_APPLICATION = os.environ.get("TEST_ASGI_APPLICATION", "tests.project.asgi.application")
WSGI_APPLICATION = "tests.project.wsgi.application"
STATIC_URL = "static/"
CORS_ALLOWED_ORIGINS = os.environ.get("TEST_CORS_ORIGINS", "").split()
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "last-event-id", "x-csrftoken"]
INSTALLED_APPS = list(
    dict.fromkeys(
        [
            *os.environ.get("TEST_FIRST_APPS", "").split(),
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "serversent",
            "serversent.notifications",
        ]
    )
)
MIDDLEWARE = os.environ.get(
    "TEST_MIDDLEWARE",
    "django.contrib.sessions.middleware.SessionMiddleware django.contrib.auth.middleware.AuthenticationMiddleware",
).split()
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

DATABASES = {
    "default": json.loads(os.environ.get("TEST_DATABASE", "null"))
    or {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("TEST_SQLITE", ":memory:")}
}
DATABASES["default"]["ATOMIC_REQUESTS"] = bool(os.environ.get("TEST_ATOMIC_REQUESTS"))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_SAVE_EVERY_REQUEST = bool(os.environ.get("TEST_SAVE_EVERY_REQUEST"))
LOGIN_URL = "/login/"
if "TEST_NOTIFICATION_MODEL" in os.environ:
    SERVERSENT_NOTIFICATION_MODEL = os.environ["TEST_NOTIFICATION_MODEL"]
SERVERSENT = json.loads(os.environ.get("TEST_SERVERSENT", "{}"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {
        "serversent": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "django": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}
