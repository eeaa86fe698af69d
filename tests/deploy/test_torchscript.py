"""TorchScript files answer as the network did, tell nothing of this machine, and do no harm when they are read."""

import copy
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import wirecell_ml
from wirecell_ml.deploy import torchscript
from wirecell_ml.errors import DataError
from wirecell_ml.models import RoiFinder
from wirecell_ml.models.roi_net import RoiNet

SIZES = [(16, 48), (17, 61), (40, 1), (1, 50)]


@pytest.fixture(scope="module")
def finder() -> RoiFinder:
    """A network whose normalisation has seen data, as after a training."""
    torch.manual_seed(0)
    network = RoiNet(3, [4, 8], "batch")
    for images in 4000 * torch.randn(3, 2, 3, 32, 32):
        network(images / 4000)
    return RoiFinder(network, [4000.0] * 3)


@pytest.fixture
def model(finder: RoiFinder, tmp_path: Path) -> Path:
    path = tmp_path / "model.ts"
    torchscript.save(torchscript.compiled(finder), path)
    return path


def images(channels: int, slices: int) -> Tensor:
    return 4000 * torch.randn(1, 3, channels, slices, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", SIZES)
def test_compiled_answers_bit_for_bit_as_before(finder: RoiFinder, model: Path, size: tuple[int, int]) -> None:
    with torch.no_grad():
        expected = finder(images(*size))
        assert torch.equal(torchscript.compiled(finder)(images(*size)), expected)
        assert torch.equal(torchscript.load(model)(images(*size)), expected)


def test_compiled_is_in_evaluation_mode(finder: RoiFinder) -> None:
    learning = copy.deepcopy(finder).train()
    assert torch.equal(torchscript.compiled(learning)(images(16, 48)), finder(images(16, 48)))


def test_what_torchscript_cannot_express_is_named() -> None:
    class Catching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            try:
                return x.sigmoid()
            except ValueError:
                return x

    with pytest.raises(DataError, match="Catching cannot be written as TorchScript: "):
        torchscript.compiled(Catching())


def test_file_names_nothing_of_this_machine(model: Path) -> None:
    with zipfile.ZipFile(model) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name in contents if name.endswith(".debug_pkl")]
    for path in (Path(wirecell_ml.__file__).parents[1], Path(torch.__file__).parent, model.parent, Path.home()):
        assert not [name for name, content in contents.items() if bytes(path / "x")[:-1] in content]
        assert not [name for name in contents if str(path) in name]


def test_debug_records_are_what_would_name_this_machine(finder: RoiFinder, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torchscript.compiled(finder), str(tmp_path / "fat.ts"))
    with zipfile.ZipFile(tmp_path / "fat.ts") as archive:
        debug = [archive.read(name) for name in archive.namelist() if name.endswith(".debug_pkl")]
    assert any(bytes(Path(wirecell_ml.__file__).parent) in record for record in debug)


def test_save_returns_the_digest_and_leaves_one_file(finder: RoiFinder, tmp_path: Path) -> None:
    digest = torchscript.save(torchscript.compiled(finder), tmp_path / "model.ts")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ts"]
    assert digest == torchscript.sha256(tmp_path / "model.ts")
    assert digest == hashlib.sha256((tmp_path / "model.ts").read_bytes()).hexdigest()


class Touching:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_is_refused_unopened(tmp_path: Path, zipped: bool) -> None:
    touched, path = tmp_path / "touched", tmp_path / "model.ts"
    torch.save(Touching(touched), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"model\.ts: .*left unopened since .* can run code.*torch\.jit\.save"):
        torchscript.load(path)
    assert not touched.exists()
    torch.load(path, weights_only=False)
    assert touched.exists()  # so that the pickle is one that does harm


def test_a_bare_pickle_is_refused_unopened(tmp_path: Path) -> None:
    (tmp_path / "model.ts").write_bytes(pickle.dumps(Touching(tmp_path / "touched")))
    with pytest.raises(DataError, match="not TorchScript, and left unopened"):
        torchscript.load(tmp_path / "model.ts")
    assert not (tmp_path / "touched").exists()


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.ts: no such file"):
        torchscript.load(tmp_path / "model.ts")


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.ts").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"model\.ts: not TorchScript"):
        torchscript.load(tmp_path / "model.ts")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(model: Path, share: float) -> None:
    content = model.read_bytes()
    model.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=re.escape(str(model))):
        torchscript.load(model)


def test_a_damaged_file_is_refused(model: Path) -> None:
    content = bytearray(model.read_bytes())
    start = content.index(b".py") + 60
    content[start : start + 64] = bytes(64)
    model.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(model))):
        torchscript.load(model)


class Saving(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "stolen.pt")
        return x


class Reading(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file("secret.bin", False, 1)


def save_as_is(module: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), str(path))


@pytest.mark.parametrize(("module", "name"), [(Saving(), "save"), (Reading(), "from_file")])
def test_code_that_touches_files_is_refused(tmp_path: Path, module: nn.Module, name: str) -> None:
    save_as_is(module, tmp_path / "model.ts")
    with pytest.raises(DataError, match=rf"model\.ts: its code names '{name}' in .*\.py, .*refused"):
        torchscript.load(tmp_path / "model.ts")


def rewritten(path: Path, change: Callable[[bytes], bytes], keep: bool = False) -> None:
    """Change the code in a TorchScript file; keep what was there as a second member of the same name."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of two members of one name
        for info, content in members:
            code = info.filename.endswith(".py")
            if code and keep:
                archive.writestr(info.filename, content)
            archive.writestr(info.filename, change(content) if code else content)


SPELLINGS = [  # of torch.save in the code of a file, with each of which torch writes to the disk
    b"torch. save(",
    b"torch .save(",
    b"torch.\\\n save(",
    b"(torch).save(",
    b"(torch. # of course\n save)(",
    b'getattr(torch, "save")(',
    b'getattr(torch, "\\163ave")(',
    b'getattr(torch, "sa" "ve")(',
    b"ops.aten.save(",
    b"ops. aten.save(",
    b"(ops).aten.save(",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_code_that_touches_files_is_refused_however_it_is_spelled(tmp_path: Path, spelling: bytes) -> None:
    save_as_is(Saving(), tmp_path / "model.ts")
    rewritten(tmp_path / "model.ts", lambda code: code.replace(b"torch.save(", spelling))
    with pytest.raises(DataError, match="refused"):
        torchscript.load(tmp_path / "model.ts")


def test_code_that_touches_files_is_refused_behind_harmless_code_of_the_same_name(tmp_path: Path) -> None:
    save_as_is(Saving(), tmp_path / "model.ts")
    rewritten(tmp_path / "model.ts", lambda code: code.replace(b"torch.save(", b"torch.relu("), keep=True)
    with pytest.raises(DataError, match=r"model\.ts"):
        torchscript.load(tmp_path / "model.ts")


@pytest.mark.parametrize("change", [("/code/", "/CODE/"), (".py", ".PY")], ids=["folder", "suffix"])
def test_code_that_touches_files_is_refused_under_a_name_in_capitals(tmp_path: Path, change: tuple[str, str]) -> None:
    """Torch finds the members of an archive whatever their case, so that lower-case code may be a decoy."""
    save_as_is(Saving(), tmp_path / "fat.ts")
    with zipfile.ZipFile(tmp_path / "fat.ts") as fat, zipfile.ZipFile(tmp_path / "model.ts", "w") as archive:
        archive.writestr("fat/code/decoy.py", "x = 1\n")
        for name in fat.namelist():
            archive.writestr(name.replace(*change), fat.read(name))
    with pytest.raises(DataError, match=r"model\.ts: .*refused"):
        torchscript.load(tmp_path / "model.ts")
