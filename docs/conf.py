"""Sphinx configuration."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "serversent.demo.settings")
django.setup()

from serversent import __version__  # noqa: E402

project = "django-serversent"
author = "The django-serversent contributors"
copyright = "2026, the django-serversent contributors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "django-serversent"
exclude_patterns = ["_build", "benchmarks"]  # the output of `make bench` is included in pages
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
nitpicky = False
