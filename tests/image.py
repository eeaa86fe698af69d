"""The image of the tests: buildah builds it from the recipe, on a Debian that debootstrap makes."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.object_store import missing
from wirecell_ml.paths import PACKAGE

CHECKOUT = PACKAGE.parent
RECIPES = CHECKOUT / "submit" / "containers"
BASE, NAME = "docker.io/library/debian:12.11-slim", "localhost/wirecell_ml:test"
TOOLS = ("buildah", "debootstrap")


class Image:
    """An image that was built here, and the containers that are started from it."""

    def __init__(self, folder: Path) -> None:
        places = {"root": folder / "storage", "runroot": folder / "run"}
        self.buildah = ["buildah", *(f"--{name}={place}" for name, place in places.items())]
        self.folder = folder

    def call(self, *words: str) -> str:
        """Return what buildah prints; the test fails with its words where it fails."""
        ended = subprocess.run([*self.buildah, *words], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"buildah {shlex.join(words[:3])}: {(ended.stdout + ended.stderr)[-3000:]}"
        return ended.stdout

    def build(self, scratch: Path) -> None:
        """Build the image as README.md says, with the settings of this machine's pip."""
        self.make_base()
        context = scratch / "context"
        (context / "dist").mkdir(parents=True)
        wheel = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(context / "dist")]
        subprocess.run([*wheel, str(CHECKOUT)], check=True, capture_output=True)
        shutil.copytree(RECIPES, context / "submit" / "containers")
        shutil.copy(CHECKOUT / "constraints.txt", context)
        recipe = ["--file", str(context / "submit" / "containers" / "Containerfile"), "--tag", NAME]
        how = ["--isolation=chroot", "--layers", "--pull=never", *recipe, *pip_of_this_machine(scratch)]
        self.call("rm", "--all")  # what builds that failed have left, and below what this one replaces
        self.call("build", *how, str(context))
        self.call("rmi", "--prune")

    def make_base(self) -> None:
        """Make the base image, unless it is there: nothing is fetched but from Debian."""
        if subprocess.run(
            [*self.buildah, "inspect", "--type=image", BASE], capture_output=True, check=False
        ).returncode:
            root = self.folder / "base"
            shutil.rmtree(root, ignore_errors=True)
            debootstrap = ["debootstrap", "--variant=minbase", "bookworm", str(root)]
            subprocess.run(debootstrap, check=True, capture_output=True)
            container = self.call("from", "scratch").strip()
            self.call("add", "--quiet", container, str(root), "/")
            self.call("commit", "--quiet", "--rm", container, BASE)
            shutil.rmtree(root)

    def run(self, *words: str, user: str | None = None) -> str:
        """Return what a command prints in a new container."""
        container = self.call("from", "--pull=never", NAME).strip()
        try:
            return self.call("run", "--isolation=chroot", *(["--user", user] if user else []), container, "--", *words)
        finally:
            self.call("rm", container)


def image(scratch: Path) -> Image:
    """Return the image, built anew from what is cached; the test is skipped, in CI it fails, where it cannot be."""
    if any(shutil.which(tool) is None for tool in TOOLS):
        install()
    folder = Path(os.environ.get("WIRECELL_ML_ENGINES") or Path.home() / ".cache" / "wirecell_ml" / "engines") / "image"
    folder.mkdir(parents=True, exist_ok=True)
    built = Image(folder)
    built.build(scratch)
    return built


def install() -> None:
    """Install what builds images."""
    apt = shutil.which("apt-get")
    if os.geteuid() != 0 or apt is None:
        missing(f"{' and '.join(TOOLS)} cannot be installed here: needs root and apt-get")
    assert apt
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *TOOLS]):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([apt, *words], check=True, capture_output=True, env=environment)


def pip_of_this_machine(scratch: Path) -> list[str]:
    """Return the volumes with which pip in a container finds what it finds here: certificates, wheels, its index."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(line.split("=", 1) for line in said.stdout.splitlines())
    found = {name.rpartition(".")[2]: shlex.split(value)[0] for name, value in settings.items()}
    lines, volumes = ["[global]"], []
    for name in ("cert", "find-links", "index-url", "proxy", "timeout"):
        words = found.get(name, "").split()
        volumes += [f"{word}:/host{word}:ro" for word in words if is_here(word)]
        moved = [f"/host{word}" if is_here(word) else word for word in words]
        lines += [f"{name} = {' '.join(moved)}"] if moved else []
    (scratch / "pip.conf").write_text("\n".join([*lines, ""]))
    return [f"--volume={volume}" for volume in dict.fromkeys([f"{scratch / 'pip.conf'}:/etc/pip.conf:ro", *volumes])]


def is_here(word: str) -> bool:
    """Return whether a word of pip's settings is a place on this machine."""
    return word.startswith("/") and Path(word).exists()
