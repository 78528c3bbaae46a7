"""The source that runs a sync generator, in a thread of its own."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import Any

from ..concurrency.live_servers import served_by_thread
from ..concurrency.sync_iterator import ThreadedIterator
from ..conf import setting
from ..wire.frames import END_FRAME
from .failures import last_frames, log_failure
from .generator_stream import GeneratorStream, encode_yielded
from .source import HEARTBEAT_FRAME

__all__ = ["SyncGeneratorStream"]


class SyncGeneratorStream(GeneratorStream):
    """A generator stream of a sync iterator. Raises ``TooManySyncStreams`` when the pool of threads is full."""

    __slots__ = ("_iterator",)

    def __init__(
        self,
        values: Iterator[Any],
        *,
        name: str,
        hold_connection: bool = False,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self._iterator = ThreadedIterator(values, prepare=prepare)
        super().__init__(self._iterator, name=name, hold_connection=hold_connection, prepare=prepare)

    def first_in_thread(self, seconds: float) -> None:
        """Run up to the first value, from sync code, at most ``seconds``. Raises the generator's exceptions until
        then."""
        self._iterator.start(seconds)

    def close_with(self, *closers: Callable[[], Any]) -> None:
        self._iterator.close_with(*closers)

    def cancel_threadsafe(self) -> None:
        if self._task is None:
            self._iterator.close()
        else:
            super().cancel_threadsafe()

    def frames_in_thread(self) -> Iterator[bytes]:
        interrupted: Future[None] = Future()

        def interrupt() -> None:
            with contextlib.suppress(InvalidStateError):
                interrupted.set_result(None)

        try:
            with served_by_thread(interrupt):
                yield self.opening()
                while True:
                    try:
                        has_value, value = self._iterator.next_within(setting("HEARTBEAT_SECONDS"), interrupted)
                        frame = encode_yielded(self.name, value) if has_value else HEARTBEAT_FRAME
                    except StopIteration:
                        break
                    except Exception as error:
                        log_failure(self.name, error)
                        yield last_frames(self.name, error)
                        return
                    yield frame
                yield END_FRAME
        finally:
            self._iterator.close()
