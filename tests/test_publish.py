"""Publishing: a run enters the zoo, whose cards, metrics and tables one command writes, and writes alike again."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import Ended, Entry, WriteEvents
from tests.test_bad_input import refused
from wirecell_ml import blob_publishing, publish, publishing
from wirecell_ml.deploy.card import read_card
from wirecell_ml.models import zoo
from wirecell_ml.paths import shipped
from wirecell_ml.publishing import HEADING, overview
from wirecell_ml.roi_publishing import page

ZOO = shipped("models")
NAMES = sorted(zoo.read_index(ZOO))
ROI_FINDERS = [name for name in NAMES if not name.startswith("blob")]
BLOB_NETWORKS = [name for name in NAMES if name.startswith("blob")]
TIMES = re.compile(r'[\d.e-]+ s on \d+ threads?|"?exported_by"?.*')  # what no two calls share


@pytest.fixture
def run_publish(entry: Callable[..., Ended], tmp_path: Path) -> Entry:
    places = (f"files={tmp_path / 'files'}", f"zoo={tmp_path / 'zoo'}")
    return lambda *settings: entry(publish.main, *places, *settings)


def contents(folder: Path) -> dict[str, str | bytes]:
    """Return the files of a zoo, without times."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() if path.suffix in (".png", ".safetensors") else TIMES.sub("", path.read_text())
        for name, path in files.items()
    }


def test_a_published_run_is_written_alike_again(
    write_events: WriteEvents, run_train: Entry, run_publish: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wirecell_ml.roi_publishing.Options", lambda: publishing_options())
    write_events("0", range(6))
    assert run_train(f"hydra.run.dir={tmp_path / 'run'}", "logger=default", "evaluation.figures=true").status == 0
    ended = run_publish(f"run={tmp_path / 'run'}", "name=tiny")
    assert ended.status == 0, ended
    first = contents(tmp_path / "zoo")
    assert {"README.md", "index.toml", "tiny/README.md", "tiny/card.json", "tiny/metrics.json"} <= set(first)
    assert run_publish().status == 0
    again = contents(tmp_path / "zoo")
    assert [name for name in first if first[name] != again.get(name)] == []


def publishing_options() -> object:
    """Return the options under which a network of one step of training is exported."""
    from wirecell_ml.deploy.exporting import Options

    return Options(accept=("ends",))


def test_a_run_that_has_not_ended_is_refused(run_publish: Entry, tmp_path: Path) -> None:
    refused(run_publish(f"run={tmp_path}"), "is missing. Give the directory of a training that has ended")


def test_an_empty_zoo_is_refused(run_publish: Entry, tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    refused(run_publish(), "no published model here yet")


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Copy the zoo, and return where the names of those that are described again go; measuring them takes minutes."""
    shutil.copytree(ZOO, tmp_path / "zoo")
    names: list[str] = []
    for module in ("roi_publishing", "blob_publishing"):
        monkeypatch.setattr(f"wirecell_ml.{module}.describe", lambda entry, _: names.append(entry.name))
    return names


def test_only_what_is_asked_for_is_described_again(run_publish: Entry, described: list[str], tmp_path: Path) -> None:
    assert run_publish(f"only=[{NAMES[1]}]").status == 0
    assert described == [NAMES[1]]
    assert (tmp_path / "zoo" / "README.md").read_text() == (ZOO / "README.md").read_text()
    assert run_publish().status == 0
    assert described[1:] == NAMES


def test_to_ask_for_what_is_not_published_is_refused(run_publish: Entry, described: list[str]) -> None:
    refused(run_publish("only=[roinet_psdp]"), "only: no published model 'roinet_psdp'. Did you mean 'roinet_pdsp'?")
    assert described == []


def test_networks_of_two_tasks_have_a_section_each(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("wirecell_ml.blob_publishing")
    vars(other).update(TITLE="Others", overview=lambda _, names: f"What there is: {', '.join(names)}\n")
    find = publishing.publishing_of
    monkeypatch.setattr(publishing, "publishing_of", lambda path: other if path.parent.name == "a" else find(path))
    text = overview(ZOO, ["a", *ROI_FINDERS])
    assert text.startswith(f"{HEADING}\n## Finding ROIs\n\n```python\n")
    assert text.endswith("\n## Others\n\nWhat there is: a\n")
    assert overview(ZOO, ROI_FINDERS).removeprefix(HEADING) in text.replace("## Finding ROIs\n\n", "")


def test_there_are_three_published_networks() -> None:
    assert len(NAMES) >= 3


def test_the_table_of_the_zoo_is_that_of_its_cards_and_metrics() -> None:
    assert (ZOO / "README.md").read_text() == overview(ZOO, NAMES)


@pytest.mark.parametrize("name", ROI_FINDERS)
def test_a_page_is_that_of_its_card(name: str) -> None:
    assert (ZOO / name / "README.md").read_text() == page(ZOO / name)


@pytest.mark.parametrize("name", BLOB_NETWORKS)
def test_a_page_of_a_blob_network_is_that_of_its_card_and_metrics(name: str) -> None:
    assert (ZOO / name / "README.md").read_text() == blob_publishing.page(ZOO / name)
    assert all(check["passed"] for check in json.loads((ZOO / name / "card.json").read_text())["checks"])


@pytest.mark.parametrize("name", ROI_FINDERS)
def test_a_published_card_holds_every_rule_and_the_metrics(name: str) -> None:
    card = read_card(ZOO / name / "card.json")
    assert [one["rule"] for one in card.contract if not one["passed"]] == []
    assert card.metrics["planes"] == json.loads((ZOO / name / "metrics.json").read_text())["planes"]
