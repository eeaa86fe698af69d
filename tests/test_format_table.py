"""docs/formats.md: it names every format, its table is that of the registry, and its examples run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests import format_table
from tests.format_table import NUMBERS, PAGE, renewed
from wirecell_ml.data import readers

EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def test_the_page_is_that_of_the_registry_and_the_numbers() -> None:
    assert PAGE.read_text() == renewed(PAGE.read_text(), json.loads(NUMBERS.read_text()))


def test_the_page_names_every_format_and_no_place() -> None:
    page = PAGE.read_text()
    for form in readers.formats():
        assert f"| {form.name} | {form.title} |" in page
    assert not re.search(r"/(work|root|home|tmp)\b", page + NUMBERS.read_text())


def test_the_examples_print_what_the_page_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PAGE.parents[1])
    held: dict[str, object] = {}
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) == 2
    for code, output in examples:
        exec(code, held)  # noqa: S102  (our own)
        assert capsys.readouterr().out == output


def test_every_format_that_is_written_was_read_back_equal() -> None:
    numbers = json.loads(NUMBERS.read_text())
    assert {form.name: numbers[form.name]["round_trip"] for form in readers.formats() if form.write} == {
        form.name: "equal" for form in readers.formats() if form.write
    }


def test_nothing_failed_in_the_fuzzing_that_was_written_down() -> None:
    assert [name for name, row in json.loads(NUMBERS.read_text()).items() if row["fuzz"]["failed"]] == []


def test_files_below_a_folder_are_counted_by_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inner").mkdir()
    np.savez(tmp_path / "inner" / "truth.npz", truth_1=np.zeros(3), truth_2=np.ones(3))
    (tmp_path / "notes.txt").write_text("no data\n")
    numbers: format_table.Numbers = {form.name: {} for form in readers.formats()}
    format_table.count_events(numbers, tmp_path)
    assert numbers["plain arrays"] == {"files": 1, "events": 2, "not_read_to_the_end": 0}
    shown = capsys.readouterr().out
    assert "inner/truth.npz" in shown
    assert "notes.txt" in shown
    assert str(tmp_path) not in shown
