"""Training images of SPNG, in files built by the plain library as its jobs name and shape them."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wirecell_ml.data.source import Source
from wirecell_ml.data.spng import training_images
from wirecell_ml.errors import DataError

SHAPE = (4, 6)


def written(path: Path, names: list[str], datatype: str = "traces") -> Source:
    """Write two events of images, image n full of n."""
    with zipfile.ZipFile(path, "w") as file:
        for ident in range(2):
            file.writestr(f"tensorset_{ident}_metadata.json", "null")
            for n, name in enumerate(names):
                metadata = {"datapath": f"/frames/{ident}/tags/{name}/traces", "datatype": datatype, "tbin": 0}
                file.writestr(f"tensor_{ident}_{n}_metadata.json", json.dumps(metadata))
                with file.open(f"tensor_{ident}_{n}_array.npy", "w") as member:
                    np.save(member, np.full(SHAPE if n < 7 else (9, 9), n, np.float32))
    return Source.of(path)


def test_fodder_is_images_by_view_and_layer(tmp_path: Path) -> None:
    names = [f"fodder/view/{view}/feature/{layer}" for view in (0, 1) for layer in ("dense", "mp2", "mp3")]
    events = list(training_images(written(tmp_path / "x.npz", names)))
    assert [ident for ident, _ in events] == [0, 1]
    for _, images in events:
        assert list(images) == [0, 1]
        assert all(list(layers) == ["dense", "mp2", "mp3"] for layers in images.values())
        assert images[1]["mp2"].shape == SHAPE
        assert images[1]["mp2"][0, 0] == 4


def test_truth_is_an_image_of_each_group_of_channels(tmp_path: Path) -> None:
    names = [f"null/rules/0/groups/{group}" for group in range(4)]
    _, images = next(training_images(written(tmp_path / "x.npz", names)))
    assert list(images) == [0, 1, 2, 3]
    assert images[3]["null"][0, 0] == 3


def test_other_tensors_are_no_images(tmp_path: Path) -> None:
    source = written(tmp_path / "x.npz", ["gauss/groups/x"])
    with pytest.raises(DataError, match=r"x\.npz: event 0 has no training images; expected '/frames/<ident>/tags/"):
        next(training_images(source))
    source = written(tmp_path / "y.npz", ["fodder/view/0/feature/dense"], datatype="chids")
    with pytest.raises(DataError, match="no training images"):
        next(training_images(source))


def test_layers_of_one_view_are_alike(tmp_path: Path) -> None:
    names = [f"fodder/view/0/feature/{n}" for n in range(8)]
    with pytest.raises(DataError, match=r"x\.npz: event 0: the layers of view 0 have shapes"):
        next(training_images(written(tmp_path / "x.npz", names)))
