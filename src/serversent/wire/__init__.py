"""How does an event look on the wire?

Events become frames, frames become events, and a cursor is the id of an event.

- ``json_text``: the text of an event's data
- ``event``: ``ServerSentEvent`` and its checks
- ``frames``: events as bytes
- ``parser``: bytes as events
- ``cursor``: a position in a log
"""

__all__: list[str] = []
