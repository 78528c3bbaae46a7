"""The shared board: a note is an event, and the log is where the notes are kept."""

import time

from serversent import send_event

__all__ = ["MAX_CHARACTERS", "put_up"]

MAX_CHARACTERS = 200


def put_up(text: str) -> None:
    send_event("board", {"text": text, "at": round(time.time() * 1000)})
