"""``manage.py serversent``: send and listen from a shell, and look after the log."""

import asyncio
import contextlib
import http.client
import json
import signal
import threading
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from serversent.brokers import broker
from serversent.channels.hub import stop_hubs
from serversent.channels.publish import send_event
from serversent.channels.subscription import Subscription
from serversent.errors import ServerSentError
from serversent.event import EventParser, ReceivedEvent
from serversent.logs import printable
from serversent.serving.channel_stream import ChannelStream
from serversent.serving.grant import Grant
from serversent.wire.event import END_ID

__all__ = ["Command"]

DEFAULT_RETRY_SECONDS = 3.0

# A stream that says nothing for three heartbeats is dead.
SILENCE_SECONDS = 50


class Command(BaseCommand):
    help = "Send events, listen to them, and look after the log of a broker."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

        send = commands.add_parser("send", help="send an event to a channel")
        send.add_argument("channel", help="its name")
        send.add_argument("data", help="text as it is")
        send.add_argument("--event", default="message", help="the type of the event")

        listen = commands.add_parser("listen", help="print events as they come, until Ctrl-C")
        listen.add_argument("url", nargs="?", help="the URL of a stream")
        listen.add_argument("--channel", action="append", help="a channel of the broker, instead of a URL")
        listen.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="sent with the request")
        listen.add_argument("--cursor", default="", help="where to begin, as the id of an event")

        prune = commands.add_parser("prune", help="remove old events")
        prune.add_argument("--older-than", type=float, metavar="SECONDS", help="default: the broker's option")
        prune.add_argument("--keep", type=int, metavar="N", help="keep the newest N of each channel")

        commands.add_parser("stats", help="print figures about the log, as JSON")
        commands.add_parser("newepoch", help="make every client start again; after the log was restored from a backup")
        for command in commands.choices.values():
            command.add_argument("--using", default="default", help="the broker's alias")
        for config in apps.get_app_configs():  # an app on top may have commands of its own
            if add := getattr(config, "add_serversent_commands", None):
                add(commands)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if run := options.get("run"):
                run(self, options)
            else:
                getattr(self, options["command"])(options)
        except ServerSentError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("")

    def send(self, options: dict[str, Any]) -> None:
        if getattr(self, "_called_from_command_line", False) and not broker(options["using"]).durable:
            raise CommandError(
                f"The broker {options['using']!r} keeps its events in the memory of one process. What this command "
                "sends reaches no other. Use the database broker, or send from the process that has the streams."
            )
        send_event(options["channel"], options["data"], event=options["event"], using=options["using"])
        self.stdout.write(f"Sent to {options['channel']}")

    def prune(self, options: dict[str, Any]) -> None:
        removed = broker(options["using"]).prune(options["older_than"], options["keep"])
        self.stdout.write(f"{removed} events removed")

    def stats(self, options: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(broker(options["using"]).stats(), indent=2))

    def newepoch(self, options: dict[str, Any]) -> None:
        self.stdout.write(f"The log is {broker(options['using']).new_epoch()} now; open streams are reset")

    def listen(self, options: dict[str, Any]) -> None:
        if bool(options["url"]) == bool(options["channel"]):
            raise CommandError("listen needs a URL, or --channel NAME")
        if options["channel"]:
            asyncio.run(self._listen_to_channels(options))
        else:
            with _noted_interrupts() as interrupted:
                self._listen_to_url(options, interrupted)

    def _print(self, events: list[ReceivedEvent]) -> None:
        for event in events:
            kind = "" if event.event == "message" else f"{printable(event.event)} "
            data = printable(event.data, keep="\n\t")
            self.stdout.write(f"{self.style.SUCCESS(printable(event.id) or '-')} {kind}{data}")
        self.stdout.flush()

    async def _listen_to_channels(self, options: dict[str, Any]) -> None:
        ended, parser = asyncio.Event(), EventParser()
        stream = ChannelStream(Grant(Subscription(options["channel"]), name="listen", using=options["using"]))
        await stream.begin(options["cursor"])
        stream.attach(lambda frame: self._print(parser.feed(frame)), lambda _: ended.set())
        try:
            await ended.wait()
        finally:
            stream.cancel()
            await stop_hubs()

    def _listen_to_url(self, options: dict[str, Any], interrupted: threading.Event) -> None:
        headers = {"Accept": "text/event-stream"}
        for header in options["header"]:
            name, separator, value = header.partition(":")
            if not separator:
                raise CommandError(f"--header {header!r}: it is NAME:VALUE")
            headers[name.strip()] = value.strip()
        retry, last_event_id = DEFAULT_RETRY_SECONDS, options["cursor"]
        while last_event_id != END_ID and not interrupted.is_set():
            parser = EventParser(last_event_id)
            try:
                if not self._read(options["url"], headers, parser):
                    return
                problem = "the stream ended"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 425, 429):
                    raise CommandError(f"{options['url']} answered {error.code} {printable(error.reason)}") from error
                problem = f"{error.code} {printable(error.reason)}"
            except (OSError, http.client.HTTPException, ServerSentError) as error:
                problem = f"{type(error).__name__}: {error}"
            last_event_id = parser.last_event_id
            retry = retry if parser.retry is None else parser.retry / 1000
            if last_event_id != END_ID:
                self.stderr.write(f"{printable(problem)}; again in {retry:g} s")
                interrupted.wait(retry)

    def _read(self, url: str, headers: dict[str, str], parser: EventParser) -> bool:
        """Print the events of one response. Return whether to connect again."""
        if parser.last_event_id:
            headers = {**headers, "Last-Event-ID": parser.last_event_id}
        if not url.startswith(("http://", "https://")):
            raise CommandError(f"{url!r} is no http or https URL")
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=SILENCE_SECONDS) as response:  # noqa: S310
            if response.status == 204:
                return False
            kind = response.headers.get_content_type()
            if kind != "text/event-stream":
                raise CommandError(f"{url} answered with {kind}, which is no stream")
            while chunk := response.read1(65536):
                self._print(parser.feed(chunk))
        return True


@contextlib.contextmanager
def _noted_interrupts() -> Iterator[threading.Event]:
    """Note each Ctrl-C. Python drops the ``KeyboardInterrupt`` of one that comes while a finalizer closes a file."""
    interrupted = threading.Event()

    def note(signum: int, frame: Any) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
