"""How a peer is measured: a fake one through the real protocol, in the real tables and charts."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import chart, machine, report
from benchmarks.__main__ import parser, peers_of
from benchmarks.driver import Unsupported
from benchmarks.peers.adapters import PEERS, Peer, systems
from benchmarks.peers.environments import Environment
from benchmarks.systems import ROOT, System, running
from benchmarks.workloads import WORKLOADS, Options, Result


def fake(*arguments: str, database: str = "") -> System:
    """A peer that is no system."""
    command = [sys.executable, "-m", "tests.benchmarks.fake_peer", *arguments]
    return System("fake", database, "", command, {}, notes=("it does nothing",))


def measured(workload: str, size: int, *these: System, rounds: int = 2) -> Result:
    """What a workload makes of these systems."""
    return WORKLOADS[workload].run(workload, these, Options(size, rounds, lambda _: None))


def test_a_peer_is_measured_by_the_same_calls() -> None:
    result = measured("w1b", 5, fake())

    (row,) = result.rows
    assert row.figures["workflows_per_s"] == pytest.approx(100)
    assert row.samples == {"seconds": [pytest.approx(0.05)] * 2}
    assert "it does nothing" in report.notes([result])


def test_a_peer_that_tells_no_kinds_apart_does_its_work_once() -> None:
    assert [row.variant for row in measured("w1", 5, fake()).rows] == [""]


def test_how_a_peer_grows_is_the_exponent_of_its_times() -> None:
    (row,) = measured("w2", 300, fake()).rows

    assert row.figures["exponent"] == pytest.approx(1)
    assert row.figures["ms_per_step"] == pytest.approx(1)


def test_what_a_peer_cannot_do_is_said_in_the_table() -> None:
    table = report.table(measured("w4", 10, fake()))

    assert "fake: not measured: its steps run one after the other" in table


def test_a_peer_that_fails_is_noted_and_the_run_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    (row,) = measured("w3", 4, fake()).rows

    assert row.note == "latency({'times': 2}) failed: RuntimeError: the peer is out of order"
    assert "Traceback" in capfd.readouterr().err


def test_a_peer_whose_program_ends_is_noted_too(capfd: pytest.CaptureFixture[str]) -> None:
    gone = System("gone", "", "", [sys.executable, "-c", ""], {})

    (row,) = measured("w1b", 1, gone).rows
    assert row.note.startswith("its driver ended during batch(")


def test_lateness_becomes_percentiles_and_a_rate() -> None:
    (row,) = measured("w5a", 101, fake("sleeps"), rounds=1).rows
    assert row.figures["p50_ms"] == pytest.approx(500)
    assert row.figures["p99_ms"] == pytest.approx(990)
    assert row.figures["wakeups_per_s"] == pytest.approx(101)

    (row,) = measured("w5b", 101, fake(), rounds=1).rows
    assert row.note == "there are no durable sleeps"


def test_an_idle_system_has_its_share_of_a_core_and_its_transactions() -> None:
    (row,) = measured("w8", 2, fake(), rounds=1).rows

    assert row.figures["cpu_percent"] == pytest.approx(10)
    assert row.figures["transactions_per_s"] == pytest.approx(3)
    assert row.figures["statements_per_s"] is None


def test_an_unknown_call_is_answered_by_what_there_is() -> None:
    with running(fake()) as driver, pytest.raises(Unsupported, match="a driver knows no call 'dance'"):
        driver._call("dance")


def test_the_chart_is_a_picture_with_a_panel_for_each_workload() -> None:
    results = [measured("w1", 5, fake()), measured("w2", 300, fake()), measured("w4", 5, fake())]
    drawn = ElementTree.fromstring(chart.svg(machine.describe(), results))  # noqa: S314  our own text

    texts = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text.startswith("W")] == [
        "W1  5 workflows of 10 mutations and of as many actions",
        "W2  one workflow of 10, 100, 300 mutations and of as many actions",
    ]
    assert "n^1.00  fake" in texts
    width = float(drawn.attrib["width"])
    bars = [each for each in drawn.iter("{http://www.w3.org/2000/svg}rect") if "rx" in each.attrib]
    assert len(bars) == 2
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width for bar in bars)


@pytest.mark.parametrize("name", PEERS)
def test_the_driver_of_a_peer_imports_nothing_of_ours_but_what_needs_the_standard_library(name: str) -> None:
    source = (ROOT / PEERS[name].module.replace(".", "/")).with_suffix(".py").read_text()

    assert "import django" not in source
    assert "from tests" not in source
    assert PEERS[name].notes


def test_a_peer_that_cannot_be_installed_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.peers.environments.FOLDER", tmp_path)
    nowhere = Environment("nowhere", [f"nowhere @ file://{tmp_path}/nowhere.whl"])
    monkeypatch.setitem(PEERS, "dbos", Peer("nowhere", nowhere, "nowhere", ("sqlite",), ()))

    assert peers_of(parser().parse_args(["--peer=dbos"]), ["sqlite"]) == []
    assert re.search(r"Left out: nowhere: `.* pip install .*` failed: ", capsys.readouterr().err)


def test_a_peer_is_not_run_on_a_database_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "make", lambda _: None)
    assert systems("absurd", ["sqlite"], 1) == []
    assert [each.database for each in systems("dbos", ["sqlite", "mariadb"], 1)] == ["sqlite"]
    assert [each.database for each in systems("restate", ["mariadb"], 1)] == [""]
