"""The recipes of the image: they are sound, they say the same, and what they say makes an image that trains."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image import RECIPES, Image, image

CONTAINERFILE, DEFINITION = RECIPES / "Containerfile", RECIPES / "wirecell_ml.def"
SECTIONS = ("arguments", "files", "post", "environment", "runscript", "test", "labels")  # that Apptainer knows
PINNED = re.compile(r"docker\.io/library/debian:\d+\.\d+-slim")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Containerfile with their words; a line that is none raises ValueError."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = []
    for line in joined.splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            if not re.fullmatch("ARG|FROM|RUN|COPY|ENV|LABEL|USER|WORKDIR|ENTRYPOINT|CMD", word):
                raise ValueError(f"'{line}' is no instruction that this recipe needs")
            found.append((word, rest))
    return found


def sections(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the header of a definition file, and the lines of each section."""
    body = [line for line in text.splitlines() if not line.startswith("#")]
    first = next(number for number, line in enumerate(body) if line.startswith("%"))
    header = dict(line.split(": ", 1) for line in body[:first] if line)
    found: dict[str, list[str]] = {}
    for line in body[first:]:
        if line.startswith("%"):
            assert line[1:] not in found, "a section stands once"
            found[line[1:]] = current = []
        elif line.strip():
            current.append(line.strip())
    return header, found


def commands(lines: list[str]) -> list[str]:
    """Return shell commands, one a line, whatever way they were joined."""
    text = re.sub(r"\\\n\s*", "", "\n".join(lines)).replace("&&", "\n")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_the_recipe_passes_hadolint() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "it is among the packages for development"
    ended = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_the_base_is_pinned_and_who_runs_it_is_not_root() -> None:
    found = instructions(CONTAINERFILE.read_text())
    assert found[0][0] == "ARG"
    assert PINNED.fullmatch(found[0][1].removeprefix("BASE="))
    assert ("FROM", "${BASE}") in found
    users = [words for word, words in found if word == "USER"]
    assert users == ["10001"], "a number, since Kubernetes cannot tell whether a name is root"


def test_every_package_of_python_is_held_by_the_constraints_and_leaves_no_cache() -> None:
    installs = [
        line
        for line in commands([words for _, words in instructions(CONTAINERFILE.read_text())])
        if " install " in line
    ]
    pip = [line for line in installs if "pip install" in line]
    assert len(pip) == 2
    assert all("--no-cache-dir" in line for line in pip)
    assert all("constraints.txt" in line for line in pip)


def test_both_recipes_say_the_same() -> None:
    runs = commands([words for word, words in instructions(CONTAINERFILE.read_text()) if word == "RUN"])
    post = commands(sections(DEFINITION.read_text())[1]["post"])
    assert post[0] == "set -eu"
    same = [re.sub(r"\{\{ (\w+) \}\}", lambda name: f"${{{name[1].upper()}}}", line) for line in post[1:-1]]
    assert same == [line for line in runs if not line.startswith("useradd")]
    assert post[-1] == "chmod 755 /usr/local/bin/entry"


def test_the_definition_has_the_sections_that_apptainer_knows() -> None:
    header, found = sections(DEFINITION.read_text())
    assert header == {"Bootstrap": "docker", "From": "{{ base }}"}
    assert set(found) == set(SECTIONS)
    arguments = dict(line.split("=", 1) for line in found["arguments"])
    assert set(re.findall(r"\{\{ (\w+) \}\}", DEFINITION.read_text())) == set(arguments)
    assert PINNED.fullmatch(arguments["base"])
    defaults = dict(words.split("=", 1) for word, words in instructions(CONTAINERFILE.read_text()) if word == "ARG")
    assert {name.upper(): value for name, value in arguments.items()} == defaults


@pytest.mark.parametrize("words", [["echo", "two  words"], ["sh", "-c", "exit 0"]])
def test_the_entry_runs_a_command_as_it_is(words: list[str]) -> None:
    ended = subprocess.run([RECIPES / "entry.sh", *words], capture_output=True, text=True, check=True)
    assert ended.stdout == ("two  words\n" if words[0] == "echo" else "")


def test_the_entry_runs_a_module_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    ended = subprocess.run(
        [RECIPES / "entry.sh", "wirecell_ml.train", "--help"], capture_output=True, text=True, check=True
    )
    assert ended.stdout.startswith("Train a network")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return image(tmp_path_factory.mktemp("image"))


def test_the_image_trains_whoever_runs_it(built: Image) -> None:
    short = ("trainer.max_epochs=1", "trainer.max_steps=2", "data.crop=[64,64]", "evaluation.figures=false")
    said = built.run("/usr/local/bin/entry", "wirecell_ml.train", *short, "hydra.run.dir=/tmp/run", user="12345:12345")
    assert "metrics and figures: /tmp/run/evaluation" in said


def test_the_image_holds_the_wheel_for_cpus_and_nothing_that_built_it(built: Image) -> None:
    program = "import torch, wirecell_ml; print(torch.__version__, torch.version.cuda, wirecell_ml.__file__)"
    version, cuda, file = built.run("python", "-c", program).split()
    assert (version.partition("+")[0], cuda) == ("2.13.0", "None")
    assert file == "/opt/venv/lib/python3.11/site-packages/wirecell_ml/__init__.py"
    assert built.run("id", "-u").strip() == "10001"
    left = built.run("sh", "-c", "ls /var/lib/apt/lists /opt/wirecell_ml; ls -d /root/.cache 2>&1 || true")
    assert "whl" not in left
    assert "Packages" not in left
