"""What comes from outside, in the log and on the terminal: control characters are shown, and not obeyed."""

import pytest
from django.http import StreamingHttpResponse
from django.test import override_settings
from django.urls import re_path

from serversent.asgi import get_asgi_application
from serversent.event import ReceivedEvent
from serversent.logs import printable
from serversent.management.commands.serversent import Command
from serversent.testing import open_stream


async def failing(request, rest):
    async def values():
        yield b"data: x\n\n"
        raise ValueError("a bug")

    return StreamingHttpResponse(values(), content_type="text/event-stream")


urlpatterns = [re_path(r"(?s)^(.*)$", failing)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nERROR forged", "a\\nERROR forged"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\r\x00\x7f\x9b", "\\r\\x00\\x7f\\x9b"),
        ("a\u2028b\u202egnp", "a\\u2028b\\u202egnp"),
        ("naïve 日本 🎉", "naïve 日本 🎉"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_kept_control_characters():
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
async def test_a_path_makes_no_line_of_its_own_in_the_log(logged):
    async with open_stream(get_asgi_application(), "/a%0AERROR%20forged%1B[31m/") as stream:
        await stream.next()
        with pytest.raises(EOFError):
            await stream.next()
    messages = [message for _, message in logged]
    assert any("forged" in message for message in messages)
    assert not any("\n" in message or "\x1b" in message for message in messages)


def test_listen_shows_control_characters(capsys):
    command = Command()
    command._print([ReceivedEvent("two\nlines \x1b[2J\x07", "kind\x1b]0;x\x07", "id\x1b")])
    printed = capsys.readouterr().out
    assert "two\nlines \\x1b[2J\\x07" in printed
    assert "kind\\x1b]0;x\\x07" in printed
    assert "\x07" not in printed
