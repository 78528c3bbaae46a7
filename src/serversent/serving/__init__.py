"""How is one stream sent to one client?

A source makes the frames; a connection writes them, sends heartbeats, and ends the response.

- ``source``: the interface between a connection and what makes its frames
- ``generator_stream``: the source that runs a view's generator
- ``channel_stream``: the source that serves channels: live, or catching up
- ``initial_state``: the values that a channel's stream begins with
- ``failures``: errors after the headers: the log line and the last frames
- ``connection``: one open response
- ``registry``: the open connections of an event loop, their limits and their timer
- ``revocation_watch``: finds the connections that a revocation ends
- ``shutdown``: ends the streams when the server stops
"""

__all__: list[str] = []
