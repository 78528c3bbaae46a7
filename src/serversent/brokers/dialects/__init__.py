"""What differs between databases?

A dialect has the SQL and the behaviour of one database: everything that depends on ``connection.vendor`` is here.

- ``detect``: which dialect a connection speaks
- ``base``: what the others have in common, and what a dialect may override
- ``postgresql``: procedures, a trigger, ``LISTEN``
- ``mariadb``: compound statements
- ``sqlite``: one writer at a time
"""

__all__: list[str] = []
