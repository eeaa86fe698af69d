"""What travels with a job: a copy of the code, which no later edit changes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeping import check_exactly_once, drive, order
from wirecell_ml.errors import ConfigError
from wirecell_ml.paths import PACKAGE
from wirecell_ml.provenance import git_commit
from wirecell_ml.submit.payload import LARGEST_BYTES, code_files, digest, modules_of, snapshot

UNIT = """
import json
from pathlib import Path
Path("summary.json").write_text(json.dumps({{"metrics": {{"val/dice": {value}}}}}))
"""
TAKE = """
import sys
from pathlib import Path
from wirecell_ml.submit.payload import snapshot
print(snapshot(Path(sys.argv[1])))
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own modules."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def python(code: Path, program: str, *words: str) -> str:
    """Return what a program prints that runs elsewhere, with the code in a folder."""
    command = [sys.executable, "-c", program, *words]
    environment = os.environ | {"PYTHONPATH": str(code)}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_snapshot_is_the_code_that_a_unit_imports(tmp_path: Path) -> None:
    code = snapshot(tmp_path)
    assert python(code, "import wirecell_ml; print(wirecell_ml.__file__)") == str(code / "wirecell_ml" / "__init__.py")
    found = python(code, "from wirecell_ml.paths import shipped; print(shipped('configs'))")
    assert Path(found).is_relative_to(code)


def test_a_later_edit_of_our_code_changes_no_snapshot(tmp_path: Path) -> None:
    checkout, study = tmp_path / "checkout", tmp_path / "study"
    shutil.copytree(PACKAGE, checkout / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", "_shipped"))
    shutil.copytree(PACKAGE.parent / "configs", checkout / "configs")
    first = Path(python(checkout, TAKE, str(study)))
    edited = checkout / PACKAGE.name / "submit" / "unit.py"
    before = edited.read_text()
    edited.write_text(before + "\n# edited\n")
    second = Path(python(checkout, TAKE, str(study)))
    assert first != second
    assert (first / PACKAGE.name / "submit" / "unit.py").read_text() == before
    assert (second / PACKAGE.name / "submit" / "unit.py").read_text() == before + "\n# edited\n"


def test_a_later_edit_of_the_user_s_code_changes_nothing_that_is_queued(tmp_path: Path, own_code: Path) -> None:
    program = own_code / "my_unit_before.py"
    program.write_text(UNIT.format(value=0.25))
    study = order(tmp_path, "program=my_unit_before", "trials=2")
    program.write_text(UNIT.format(value=0.75))
    assert drive(study)
    assert check_exactly_once(study, 2)["done"] == 2
    assert {(unit.result or {})["metrics"]["val/dice"] for unit in study.ledger().units(study.name)} == {0.25}


def test_a_user_s_package_travels_with_all_its_files(tmp_path: Path, own_code: Path) -> None:
    package = own_code / "my_networks"
    (package / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "net.py", "table.csv", "__pycache__/net.cpython-311.pyc"):
        (package / name).write_text("width = 3\n")
    code = snapshot(tmp_path / "study", ["my_networks"])
    assert python(code, "import my_networks.net as net; print(net.width)") == "3"
    assert sorted(path.name for path in (code / "my_networks").iterdir()) == ["__init__.py", "net.py", "table.csv"]


def test_what_is_installed_does_not_travel(tmp_path: Path) -> None:
    code = snapshot(tmp_path, ["yaml", "json"])
    assert not {"yaml", "json", "json.py"} & {path.name for path in code.iterdir()}


def test_a_module_that_cannot_be_imported_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot import 'my_ghost'\. Install it, or put its folder on PYTHONPATH"):
        snapshot(tmp_path, ["my_ghost"])
    assert list(tmp_path.iterdir()) == []


def test_a_package_with_the_data_in_it_is_too_large(tmp_path: Path, own_code: Path) -> None:
    package = own_code / "my_dataset"
    package.mkdir()
    (package / "__init__.py").touch()
    with (package / "events.h5").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(ConfigError, match=r"my_dataset: more than 50 MB to copy to the jobs. Install 'my_dataset'"):
        snapshot(tmp_path / "study", ["my_dataset"])


def test_the_commit_is_recorded_and_a_unit_knows_it(tmp_path: Path) -> None:
    code = snapshot(tmp_path)
    recorded = (code / "COMMIT").read_text()
    assert recorded == (git_commit() or "unknown")
    assert python(code, "from wirecell_ml.provenance import git_commit; print(git_commit())") == recorded


def test_the_same_code_is_copied_once(tmp_path: Path) -> None:
    first = snapshot(tmp_path)
    assert snapshot(tmp_path) == first
    assert list((tmp_path / "code").iterdir()) == [first]
    assert first.name == digest(dict(code_files([])))


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    for name, text in (("a.py", "x = 1"), ("b.py", "x = 2"), ("c.py", "x = 1")):
        (tmp_path / name).write_text(text)
    first = digest({"a.py": tmp_path / "a.py", "b.py": tmp_path / "b.py"})
    assert digest({"b.py": tmp_path / "b.py", "a.py": tmp_path / "a.py"}) == first, "in any order"
    assert digest({"a.py": tmp_path / "c.py", "b.py": tmp_path / "b.py"}) == first, "wherever the files lie"
    assert digest({"a.py": tmp_path / "b.py", "b.py": tmp_path / "a.py"}) != first
    assert digest({"c.py": tmp_path / "a.py", "b.py": tmp_path / "b.py"}) != first


def test_the_modules_of_a_config_are_those_of_its_targets() -> None:
    config = {
        "model": {"_target_": "my_networks.net.Net", "blocks": [{"_target_": "torch.nn.ReLU"}]},
        "task": {"_target_": "wirecell_ml.models.tasks.RoiTask", "name": "my_task._target_"},
    }
    assert modules_of(config) == {"my_networks", "torch"}
