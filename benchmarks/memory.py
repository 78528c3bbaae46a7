"""Memory of an open connection, behind the ordinary middleware and with a logged-in session, and whether it comes back.

Waves of connections of one size: a leak would make each higher than the one before.
"""

from typing import Any

from .contenders import COOKIE, Databases, Running, running
from .load import Crowd

__all__ = ["measure"]


async def measure(databases: Databases, *, quick: bool) -> dict[str, Any]:
    steps = [100, 300] if quick else [1000, 2500, 5000]
    results: dict[str, Any] = {"steps": steps, "contenders": {}}
    for name in (
        ["memory"] if quick else ["memory", "decorated", "handed off", "django", "starlette", "eventstream", "nchan"]
    ):
        with running(name, databases) as server:
            ours = name == "memory"
            path = "/private/" if ours else server.path()
            crowd = Crowd(server.port, headers=COOKIE)
            # What requests on their way need belongs to no open connection.
            await crowd.connect(path, 100 if quick else 400)
            await crowd.close()
            before = await settled(server)
            peaks, growth = [], {}
            for wave in range(3 if ours and not quick else 1):
                for goal in steps if wave == 0 else steps[-1:]:
                    crowd_now = goal - crowd.opened
                    await crowd.connect(path, crowd_now)
                    grown = await settled(server) - before
                    if wave == 0:
                        growth[str(goal)] = grown / goal / 1000
                peaks.append(grown / steps[-1] / 1000)
                await crowd.close()
            results["contenders"][server.name] = {"kb_by_connections": growth, "kb_by_wave": peaks}
    return results


async def settled(server: Running) -> int:
    """Return what the process has, without what requests left as garbage."""
    await server.collect()
    return server.pss_bytes()
