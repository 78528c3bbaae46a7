"""The one rule for data: text as it is, everything else JSON. Used wherever an event is made."""

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import Promise

from ..errors import InvalidEvent

__all__ = ["to_text"]


def to_text(value: Any) -> str:
    """Return ``value`` as the text of an event's data.

    A ``str`` is returned as it is, a lazy string as its text, an enum's member that is a ``str`` as its value. Bytes
    are refused, because their encoding is a guess. Anything else becomes JSON by Django's encoder (dates, decimals,
    UUIDs); NaN and infinities are refused, because a browser's ``JSON.parse`` refuses them.

    Raises ``InvalidEvent`` that names the type.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidEvent("data", f"{type(value).__name__} has no known encoding; decode it to str first")
    try:
        return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent("data", f"{type(value).__name__} cannot be written as JSON ({error})") from error
