"""The contract's tests that other brokers run: on our own brokers, and on the broker of docs/howto-broker.md."""

import re
import types

import pytest

from serversent.testing.broker_contract import BrokerContract
from tests.processes import ROOT


class TestOwnBrokers(BrokerContract):
    @pytest.fixture(autouse=True)
    def _make(self, make_broker):
        self._make_broker = make_broker

    def make_broker(self, **options):
        return self._make_broker(**options)


def documented_broker():
    page = (ROOT / "docs" / "howto-broker.md").read_text()
    (code,) = re.findall(r"^```python\n# myproject/brokers.py\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    module = types.ModuleType("myproject_brokers")
    exec(compile(code, "docs/howto-broker.md", "exec"), module.__dict__)
    return code, module.ListBroker


def test_the_documented_broker_is_short():
    code, _ = documented_broker()
    assert len([line for line in code.splitlines() if line]) <= 60


class TestDocumentedBroker(BrokerContract):
    @pytest.fixture(autouse=True)
    def _make(self):
        _, self._class = documented_broker()

    def make_broker(self, **options):
        return self._class("default", options)
