"""For the tests of your project: open a stream and take its events, and see the events that were sent. Each wait has a
timeout.

- ``streams``: ``open_stream`` and ``captured_events``
- ``broker_contract``: the tests that every broker has to pass
"""

from .streams import Stream, captured_events, open_stream

__all__ = ["Stream", "captured_events", "open_stream"]
