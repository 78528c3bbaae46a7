import json
import os

SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "tests.tenants.urls"
DATABASES = {
    "default": {**json.loads(os.environ["TEST_DATABASE"]), "ENGINE": "django_tenants.postgresql_backend"},
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = ["django_tenants", "tests.tenants.customers", "django.contrib.contenttypes", "serversent"]
# The same table, empty, is in the public schema: a stream that reads there gets no error.
TENANT_APPS = ["tests.tenants.notes"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
if os.environ.get("TEST_SHARED_NOTES"):
    SHARED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware"]
if os.environ.get("TEST_PREPARE"):
    SERVERSENT = {"PREPARE_CONNECTIONS": "tests.tenants.urls.prepare_connections"}
