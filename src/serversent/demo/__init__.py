"""The demo project: one page with live streams. ``python -m serversent.demo``."""
