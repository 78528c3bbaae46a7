"""The benchmarks run, and the figures of the documentation are those of the run that it names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report import SECTIONS, pages

from .processes import ROOT

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"


def test_the_tables_are_made_from_the_results():
    results = json.loads((FOLDER / "results.json").read_text())
    assert results.keys() - {"machine"} <= SECTIONS.keys()
    assert {"fanout", "memory", "idle", "unicast", "storm", "slow", "opening"} <= results.keys()
    for name, text in pages(results).items():
        assert (FOLDER / name).read_text() == text, f"{name}: python -m benchmarks.report"


def test_every_plot_is_shown():
    page = (FOLDER.parent / "benchmarks.md").read_text()
    plots = {path.name for path in FOLDER.glob("*.svg")}
    assert len(plots) == 4
    assert all(f"](benchmarks/{name})" in page for name in plots)


@pytest.mark.service("postgresql")
def test_scenarios_run(tmp_path):
    """Those that ask a server how its streams stand, with small numbers."""
    scenarios = ["fanout", "storm", "slow", "opening"]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.run", "--quick", "--folder", str(tmp_path), "--only"]
    subprocess.run([*command, *scenarios], cwd=ROOT, check=True, timeout=540, env={**os.environ, "PYTHONWARNINGS": ""})
    results = json.loads((tmp_path / "quick.json").read_text())
    assert results.keys() >= set(scenarios)
