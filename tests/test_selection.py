"""The short run of the tests: tests/selection.py."""

from types import SimpleNamespace

from tests.processes import ROOT
from tests.selection import SLOW, once_each


class Item:
    def __init__(self, nodeid, **params):
        self.nodeid = nodeid
        if params:
            self.callspec = SimpleNamespace(params=params)


def test_each_behaviour_is_there_once():
    plain = Item("tests/a.py::test_plain")
    on = {
        (kind, size): Item(f"tests/a.py::test_sizes[{kind}-{size}]", kind=kind, size=size)
        for kind in ("mariadb", "postgresql", "sqlite", "memory")
        for size in (1, 2)
    }
    alone = Item("tests/a.py::test_alone[postgresql]", kind="postgresql")
    servers = [
        Item(f"tests/servers/b.py::test[{name}]", server=name) for name in ("daphne", "uvicorn-httptools", "granian")
    ]
    slow = Item(f"{min(SLOW)}::test")
    chosen = once_each([plain, *on.values(), alone, *servers, slow])
    assert chosen == {plain, on["sqlite", 1], on["sqlite", 2], alone, servers[1]}


def test_the_slow_tests_are_there():
    for name in SLOW:
        path, _, test = name.partition("::")
        assert f"def {test}" in (ROOT / path).read_text()
