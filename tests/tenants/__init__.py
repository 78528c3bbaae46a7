"""A project with django-tenants: each tenant has a schema of its own, which its middleware chooses by the host."""
