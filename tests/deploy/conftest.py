"""The event that wire-cell was run on, the TorchScript model that it ran, and the card of that model."""

import pytest
import torch

from wirecell_ml.data.archive import read_events
from wirecell_ml.data.frame import Frame
from wirecell_ml.deploy import torchscript
from wirecell_ml.deploy.card import Card
from wirecell_ml.deploy.finding import Settings
from wirecell_ml.paths import shipped
from wirecell_ml.schema import load_flat

RECORDED = shipped("data") / "dnnroi"


@pytest.fixture(scope="session")
def recorded_event() -> dict[str, Frame]:
    return next(read_events(RECORDED / "frames-dnnroi-input.tar.xz"))[1]


@pytest.fixture(scope="session")
def recorded_model() -> torch.jit.ScriptModule:
    return torchscript.load(RECORDED / "dummy-unet.ts")


@pytest.fixture
def card() -> Card:
    detector = load_flat(shipped("configs") / "detector" / "protodune_sp.yaml")
    model = RECORDED / "dummy-unet.ts"
    return Card(
        name="dummy-unet",
        network="DummyUNet",
        parameters=1234567,
        detector=detector.name,
        planes=["U", "V"],
        plane_numbers={plane: number for number, plane in enumerate(detector.planes)},
        plane_channels={plane: list(span) for plane, span in detector.planes.items()},
        channels_per_apa=detector.channels_per_apa,
        apa=detector.apa,
        tick_ns=detector.tick_ns,
        intags=["loose_lf", "mp2_roi", "mp3_roi"],
        tick_per_slice=Settings.tick_per_slice,
        tick_pad_multiple=Settings.tick_per_slice,
        input_scale=Settings.input_scale,
        scale_inside=[1.0, 1.0, 1.0],
        mask_thresh=Settings.mask_thresh,
        sort_chanids=True,
        model={"file": model.name, "sha256": torchscript.sha256(model)},
        limits=["made for tests"],
    )
