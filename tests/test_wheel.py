"""The wheel: it works away from the checkout, with nothing but its dependencies."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that holds the wheel and sees the dependencies, but not the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    call(Path(sys.executable), "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT))
    call(Path(sys.executable), "-m", "venv", str(folder / "env"))
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel))
    dependencies = sysconfig.get_path("purelib")  # a plain path in a .pth: editable installs in it are not followed
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(dependencies + "\n")
    return python


def call(python: Path, *arguments: str) -> str:
    """Return what a command prints, run from the root of the file system."""
    ended = subprocess.run([python, *arguments], cwd="/", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_code_is_the_wheels(python: Path) -> None:
    assert str(python.parents[1]) in call(python, "-c", "import wirecell_ml; print(wirecell_ml.__file__)")


def test_configs_are_inside(python: Path) -> None:
    assert "wirecell_ml.models.RoiNet" in call(python, "-m", "wirecell_ml.train", "--cfg", "job")


def test_days_to_replay_are_inside(python: Path) -> None:
    find = "from wirecell_ml.submit.broker.scenarios import find_scenarios as find"
    assert "burst_queue" in call(python, "-c", f"{find}; print(*(day.name for day in find([])))")


def test_it_trains_on_the_sample_inside(python: Path, tmp_path: Path) -> None:
    short = ["trainer.max_epochs=1", "trainer.max_steps=2", "data.crop=[64,64]", "evaluation.figures=false"]
    assert "4 test events" in call(python, "-m", "wirecell_ml.train", *short, f"hydra.run.dir={tmp_path / 'run'}")
