"""In which thread, task and context does code run?

Sync code of a stream runs in a daemon thread that exists only while it works; async code runs in the event loop,
which a monitor watches.

- ``callables``: whether a function is sync or async, a generator or not
- ``tasks``: tasks and coroutines outside a request's context
- ``threads``: the threads that run sync code
- ``sync_iterator``: a sync generator in a thread of its own
- ``sync_code``: errors of sync calls in async code
- ``turns``: a bound on how many run at once
- ``loop_monitor``: names the code that blocks the event loop
- ``live_servers``: ends the streams of Django's live test servers
"""

__all__: list[str] = []
