"""How do databases differ?

A dialect has the SQL and the behaviour of one database. No other module asks for ``connection.vendor``.

- ``detect``: which dialect a connection speaks
- ``base``: the common part of all dialects
- ``postgresql``: procedures, a trigger, ``NOTIFY``
- ``mariadb``: compound statements
- ``sqlite``: one writer at a time
"""

__all__: list[str] = []
