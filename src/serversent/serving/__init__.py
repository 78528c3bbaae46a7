"""How is one stream sent to one client?

A source makes the frames; a connection writes them, sends heartbeats, and ends the response.

- ``source``: the interface of a stream's source
- ``generator_stream``: the source that runs an async generator
- ``sync_generator_stream``: the source that runs a sync generator in a thread
- ``foreign_stream``: the sources of bytes that other code makes: a plain response, a middleware
- ``grant``: the subscription of one request
- ``channel_stream``: the source that serves channels: live, or replaying
- ``start``: where a stream of channels starts
- ``initial_state``: ``ready`` or ``reset``, and the project's initial state
- ``failures``: errors after the headers: the log line and the last frames
- ``connection``: one open response
- ``writer``: writes the frames of a connection, and heartbeats between them
- ``idle_monitor``: when a heartbeat is due, and whether the client reads
- ``registry``: the open connections of an event loop, their limits and their timer
- ``shutdown``: ends the streams when the server stops
"""

__all__: list[str] = []
