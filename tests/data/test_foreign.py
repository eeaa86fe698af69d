"""What the door says of files that hold no data."""

from pathlib import Path

import pytest
import torch

import wirecell_ml.data
from wirecell_ml.errors import DataError


@pytest.mark.parametrize("network", [torch.nn.Linear(2, 2), torch.nn.ReLU()])
def test_a_torchscript_model_is_told_with_the_command_that_looks_at_it(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(network), str(tmp_path / "model.ts"))
    assert refusal(tmp_path / "model.ts").endswith(
        "model.ts: a TorchScript model, no data; python -m wirecell_ml.export check=FILE looks at it"
    )


def test_a_checkpoint_is_told_and_nothing_in_it_is_unpickled(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "last.ckpt")
    assert refusal(tmp_path / "last.ckpt").endswith("last.ckpt: weights or a checkpoint of PyTorch, no data")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("job.jsonnet", b"local wc = import 'wirecell.jsonnet';", "a Jsonnet configuration of wire-cell, no data"),
        ("verify.txt", b"u tensor in (1, 3, 800, 224)\n", "text, no data"),
        ("README.md", "# Daten für alle\n".encode(), "text, no data"),
        ("event.png", b"\x89PNG\r\n\x1a\n\0\0", "begins with b'\\x89PNG\\r\\n\\x1a\\n'"),
    ],
)
def test_what_is_no_container_is_named_in_one_line(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    line = refusal(tmp_path / name)
    assert line.startswith(f"{tmp_path / name}: {told}; known are zip and tar archives")
    assert "\n" not in line


def refusal(path: Path) -> str:
    """Return what is said where ``path`` is opened."""
    with pytest.raises(DataError) as caught:
        wirecell_ml.data.open(path)
    return str(caught.value)
