"""The tests that a project would write of its streams. ``tests/test_suites.py`` runs them, on each database."""
