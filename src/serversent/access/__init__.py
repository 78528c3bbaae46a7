"""Which user and session does a stream have, and is its permission revoked?

An identity names the user and the session of a stream; a revocation ends the streams that match it.

- ``identity``: the user, the session and the address of a request
- ``sessions``: sessions that ended without a logout
- ``revocations``: which streams a revocation matches, and since when
- ``revocation_feed``: applies each revocation of the log to the open streams
- ``end_streams``: ``end_streams``, which sends revocations
- ``auth_signals``: logout, a changed password and a deleted account send them, too
"""

__all__: list[str] = []
