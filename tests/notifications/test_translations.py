"""German is complete, and what is compiled is what is written."""

import gettext
import re
from pathlib import Path

from serversent import notifications

FOLDER = Path(notifications.__file__).parent
CATALOG = FOLDER / "locale/de/LC_MESSAGES"

TAG = re.compile(r"""\{% translate ["'](.+?)["'] %\}""")
CALL = re.compile(r"""\b_\(\s*"(.+?)"\s*\)""")


def test_every_text_is_in_it():
    texts = [text for path in FOLDER.rglob("*.html") for text in TAG.findall(path.read_text())]
    texts += [text for path in FOLDER.rglob("*.py") for text in CALL.findall(path.read_text())]
    assert len(set(texts)) > 30
    with (CATALOG / "django.mo").open("rb") as file:
        german = gettext.GNUTranslations(file)
    same = {"Text"}
    assert [text for text in texts if german.gettext(text) == text and text.capitalize() not in same] == []


def test_the_compiled_translations_match_their_sources():
    """`django-admin compilemessages` makes it."""
    with (CATALOG / "django.mo").open("rb") as file:
        german = gettext.GNUTranslations(file)
    pattern = r'^msgid "(.+)"\n(?:msgid_plural ".+"\n)?msgstr(?:\[0\])? "(.+)"$'
    written = re.findall(pattern, (CATALOG / "django.po").read_text(), re.MULTILINE)
    assert len(written) > 30
    for text, translated in written:
        assert (german.gettext(text) if text in german._catalog else german.ngettext(text, "", 1)) == translated
