"""Capture the traces that how-it-works.md shows: ``python docs/traces/capture.py``. Times are in seconds."""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from tests.client import Stream  # noqa: E402
from tests.processes import Server, serve  # noqa: E402


def one_connection(server: Server) -> list[str]:
    lines = ["GET /emoji/ on one connection"]
    begin = time.monotonic()
    with server.open("/emoji/") as stream:
        lines.append(f"{0:5.2f}  HTTP {stream.status}, {stream.headers['transfer-encoding']}")
        for _ in range(4):
            event = stream.next()
            lines.append(f"{time.monotonic() - begin:5.2f}  data: {event.data}")
        lines.append(f"{time.monotonic() - begin:5.2f}  still open: {not stream.ended}")
    return lines


def reconnecting(server: Server, path: str, seconds: float) -> list[str]:
    """What a browser does: read to the end, wait for the reconnection time, come back with the last id."""
    lines = [f"A browser on {path}, for {seconds:g} s"]
    begin = time.monotonic()
    last_id, retry = "", 3000
    while time.monotonic() - begin < seconds:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with Stream(server.url + path, headers=headers) as stream:
            shown = f" (Last-Event-ID: {last_id})" if last_id else ""
            lines.append(f"{time.monotonic() - begin:5.2f}  GET {path}{shown} -> {stream.status}")
            stream.read_to_end()
            lines += [f"       {line}" for line in stream.body.decode().splitlines() if line]
            if stream.status == 204:
                lines.append("       204: the browser does not come back")
                return lines
            retry = stream.parser.retry or retry
            last_id = stream.parser.last_event_id
        lines.append(f"{time.monotonic() - begin:5.2f}  the body ended; wait {retry} ms")
        time.sleep(retry / 1000)
    return lines


def requests_for(server: Server) -> list[str]:
    """Bytes and requests for the same ten events, each way."""

    def count(answers: list[Stream]) -> str:
        sent = sum(len(answer.body) + len(str(answer.headers)) for answer in answers)
        return f"{len(answers):3} requests, about {sent:5} bytes of answers"

    with server.open("/ten/") as stream:
        stream.take(10)
    polls = [server.get("/one/") for _ in range(10)]
    return [f"one stream:    {count([stream])}", f"ten responses: {count(polls)}"]


def threads(folder: Path, application: str, label: str) -> str:
    with serve("uvicorn-httptools", folder, application=application) as server:
        before = len(server.state()["threads"])
        streams = [server.open("/touching/") for _ in range(50)]
        for stream in streams:
            stream.next()
        # Threads end 0.3 s after their last use: look until their number stands still.
        counts = [len(server.state()["threads"]) - before]
        deadline = time.monotonic() + 5
        while counts[-1] > 2 and time.monotonic() < deadline:
            counts.append(len(server.state()["threads"]) - before)
        for stream in streams:
            stream.close()
    return f"{label:28} 50 open streams, threads for them: {max(0, counts[-1])}"


def main() -> None:
    environment = {"DJANGO_SETTINGS_MODULE": "tests.project.settings"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serve("uvicorn-httptools", folder, environment=environment) as server:
            write("one-connection", one_connection(server))
            write("reconnecting", reconnecting(server, "/one-and-close/", 4))
            write("ending", reconnecting(server, "/three/", 10))
            write("polling", requests_for(server))
            write("channels", modules(server))
        lines = [
            threads(folder, "tests.project.plain_asgi:application", "django.core.asgi"),
            threads(folder, "tests.project.asgi:application", "serversent.asgi"),
        ]
        write("threads", lines)


def modules(server: Server) -> list[str]:
    """What the server's process has loaded while it serves a stream."""
    with server.open("/emoji/") as stream:
        event = stream.next()
        loaded = server.get("/modules/").json()
    return [f"data: {event.data}", *(f"{name} loaded: {is_loaded}" for name, is_loaded in loaded.items())]


def write(name: str, lines: list[str]) -> None:
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")
    print(f"--- {name}", *lines, sep="\n")


if __name__ == "__main__":
    main()
