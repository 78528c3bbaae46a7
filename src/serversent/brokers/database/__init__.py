"""How does a database keep the log?

Publishers insert into the outbox in their own transactions; after the commit, events get their offsets in commit
order. On SQLite, which has one writer at a time, publishers insert into the log.

- ``broker``: ``DatabaseBroker``
- ``session``: a database connection of a hub's own
- ``procedures``: the SQL beside the tables: procedures, triggers, an index
- ``numbering``: outbox to log, in commit order
- ``wakeup``: how the tail learns of new events
- ``log``: reading the log's tables
- ``pages``: the next events of some channels
- ``pruning``: old events leave the log
- ``committed``: the newest committed offset, on SQLite
"""

from .broker import DatabaseBroker

__all__ = ["DatabaseBroker"]
