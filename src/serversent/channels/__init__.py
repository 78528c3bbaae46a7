"""How does one event reach the streams of its channel?

Publishing gives it to the broker; the hub of each event loop reads the log and hands each event to all streams that
listen.

- ``subscription``: the channels that a view grants
- ``publish``: ``send_event`` and the other functions that send
- ``hub``: reads one broker's log for all streams of an event loop
- ``log_reader``: reads of the log that several streams share
- ``replay_buffer``: the newest events as frames, in memory
- ``group``: all open streams with the same set of channels
"""

__all__: list[str] = []
