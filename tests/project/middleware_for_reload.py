"""Loaded by the project, and touched by the test of runserver's reloader."""
