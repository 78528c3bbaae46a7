"""The cursor: a position in a broker's log, and the name of the log. On the wire it is the id of an event."""

import re
from dataclasses import dataclass

__all__ = ["Cursor"]


_CURSOR = re.compile(r"([a-z0-9]{1,40})-(0|[1-9][0-9]{0,18})")
MAX_OFFSET = 2**63 - 1


@dataclass(frozen=True, slots=True, order=False)
class Cursor:
    """Everything up to ``offset`` of the log that ``epoch`` names was seen. ``str()`` gives it as it is sent."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    def is_of(self, other: "Cursor") -> bool:
        """Whether both are of one log, before and after a standby took it over: then offsets go on."""
        return self.epoch.partition("t")[0] == other.epoch.partition("t")[0]

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """Return the cursor that ``text`` writes; ``None`` for anything else: it comes from the client."""
        match = _CURSOR.fullmatch(text)
        if match is None or int(match[2]) > MAX_OFFSET:
            return None
        return cls(match[1], int(match[2]))
