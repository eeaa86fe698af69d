"""Prediction: frame files in, frames as Wire-Cell's C++ writes them out."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Ended, Entry
from tests.test_bad_input import refused
from wirecell_ml import predict
from wirecell_ml.data import archive, readers
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.hdf5 import write_frame
from wirecell_ml.deploy import prediction
from wirecell_ml.deploy.card import Card
from wirecell_ml.deploy.torchscript import sha256
from wirecell_ml.paths import shipped

RECORDED = shipped("data") / "dnnroi"
TAGS = ("loose_lf0", "mp2_roi0", "mp3_roi0", "decon_charge0")
Frames = dict[str, Frame]


@pytest.fixture
def run_predict(entry: Callable[..., Ended]) -> Entry:
    return lambda *settings: entry(predict.main, *settings)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder with the model that C++ ran for the recorded data, and a card that says how it was run."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(RECORDED / "dummy-unet.ts", folder / "model.ts")
    card = Card(
        name="dummy",
        network="UNet",
        parameters=0,
        detector="protodune_sp",
        planes=["U", "V"],
        plane_numbers={"U": 0, "V": 1, "W": 2},
        plane_channels={"U": [0, 800], "V": [800, 1600], "W": [1600, 2560]},
        channels_per_apa=2560,
        apa=0,
        tick_ns=500.0,
        intags=["loose_lf", "mp2_roi", "mp3_roi"],
        tick_per_slice=10,
        tick_pad_multiple=10,
        input_scale=1 / 4000,
        scale_inside=[1.0, 1.0, 1.0],
        mask_thresh=0.5,
        sort_chanids=True,
        model={"sha256": sha256(folder / "model.ts")},
    )
    card.write(folder)
    return folder


@pytest.fixture(scope="module")
def event() -> Frames:
    """Return the last 100 ticks of the recorded event."""
    _, frames = next(archive.read_events(RECORDED / "frames-dnnroi-input.tar.xz"))
    return {tag: Frame(f.samples[:, -100:], f.channels, f.time_ns, f.period_ns, 0) for tag, f in frames.items()}


def write(path: Path, event: Frames, idents: range = range(1), **change: Frame) -> Path:
    archive.write_archive(path, ((ident, event | change) for ident in idents))
    return path


def test_the_recorded_event_gives_the_frames_that_cpp_wrote(model: Path, run_predict: Entry, tmp_path: Path) -> None:
    ended = run_predict(f"model={model}", f"files={RECORDED / 'frames-dnnroi-input.tar.xz'}", "output=out")
    assert ended.status == 0, ended
    ours, theirs = np.load(tmp_path / "out/frames-dnnroi-input-dnnsp.npz"), np.load(RECORDED / "frames-dnnsp.npz")
    assert set(ours.files) == set(theirs.files)
    for name in theirs.files:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-3)  # electrons


@pytest.mark.parametrize("kind", prediction.FORMATS)
def test_results_of_every_format_are_read_back_alike(
    kind: str, model: Path, run_predict: Entry, event: Frames, tmp_path: Path
) -> None:
    files = write(tmp_path / "frames.npz", event, range(3, 5))
    assert run_predict(f"model={model}", f"files={files}", "output=out", f"format={kind}").status == 0
    assert run_predict(f"model={model}", f"files={files}", "output=plain").status == 0
    back = list(readers.read_events(tmp_path / f"out/frames-dnnsp.{kind}", ["dnnsp0"]))
    plain = np.load(tmp_path / "plain/frames-dnnsp.npz")
    assert [ident for ident, _ in back] == [3, 4]
    for ident, frames in back:
        np.testing.assert_array_equal(frames["dnnsp0"].samples, plain[f"frame_dnnsp0_{ident}"])
        np.testing.assert_array_equal(frames["dnnsp0"].channels, np.arange(1600))


def test_archive_tar_and_hdf5_inputs_give_the_same(
    model: Path, run_predict: Entry, event: Frames, tmp_path: Path
) -> None:
    write(tmp_path / "a.npz", event)
    write(tmp_path / "b.tar.gz", event)
    for tag, frame in event.items():
        write_frame(tmp_path / "c.h5", 0, tag, frame)
    assert run_predict(f"model={model}", f"files=[{tmp_path}/a.npz,{tmp_path}/b.tar.gz,{tmp_path}/c.h5]").status == 0
    results = [np.load(tmp_path / f"predictions/{name}-dnnsp.npz")["frame_dnnsp0_0"] for name in "abc"]
    assert results[0].any()
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_published_model_is_run_by_its_name(run_predict: Entry, event: Frames, tmp_path: Path) -> None:
    files = write(tmp_path / "frames.npz", event)
    ended = run_predict("model=roinet_small_pdsp", f"files={files}", "pictures=true")
    assert ended.status == 0, ended
    assert np.load(tmp_path / "predictions/frames-dnnsp.npz")["frame_dnnsp0_0"].any()
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 2


def test_an_interrupted_prediction_goes_on_where_it_stopped(
    model: Path, run_predict: Entry, event: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, asked = write(tmp_path / "frames.npz", event, range(4)), []
    whole = prediction.predict_event

    def killed_at_two(ident: int, *rest: object) -> Frame:
        asked.append(ident)
        if ident == 2 and asked.count(2) == 1:
            raise KeyboardInterrupt
        return whole(ident, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(prediction, "predict_event", killed_at_two)
    with pytest.raises(KeyboardInterrupt):
        run_predict(f"model={model}", f"files={files}", "output=out")
    assert not (tmp_path / "out/frames-dnnsp.npz").exists()
    assert run_predict(f"model={model}", f"files={files}", "output=out").status == 0
    assert asked == [0, 1, 2, 2, 3]
    assert [ident for ident, _ in archive.read_events(tmp_path / "out/frames-dnnsp.npz")] == [0, 1, 2, 3]
    assert not list((tmp_path / "out").glob(".*parts"))


def test_a_finished_prediction_does_nothing_again(
    model: Path, run_predict: Entry, event: Frames, tmp_path: Path
) -> None:
    files = write(tmp_path / "frames.npz", event)
    assert run_predict(f"model={model}", f"files={files}", "output=out").status == 0
    before = (tmp_path / "out/frames-dnnsp.npz").stat().st_mtime_ns
    assert run_predict(f"model={model}", f"files={files}", "output=out").status == 0
    assert (tmp_path / "out/frames-dnnsp.npz").stat().st_mtime_ns == before


class TestBadInput:
    """Whatever is wrong is one line and exit status 2."""

    def test_a_missing_tag(self, model: Path, run_predict: Entry, event: Frames, tmp_path: Path) -> None:
        few = {tag: frame for tag, frame in event.items() if tag != "mp2_roi0"}
        files = write(tmp_path / "frames.npz", few)
        ended = run_predict(f"model={model}", f"files={files}")
        refused(ended, f"{files}: event 0: no waveforms tagged 'mp2_roi0'", "Did you mean 'mp3_roi0'?")

    def test_a_tag_of_zeros(self, model: Path, run_predict: Entry, event: Frames, tmp_path: Path) -> None:
        flags = event["mp3_roi0"]
        zeros = Frame(np.zeros_like(flags.samples), flags.channels, flags.time_ns, flags.period_ns)
        files = write(tmp_path / "frames.npz", event, mp3_roi0=zeros)
        refused(run_predict(f"model={model}", f"files={files}"), "'mp3_roi0' is zero in all of plane U", "zeros=accept")
        assert run_predict(f"model={model}", f"files={files}", "zeros=accept", "output=accepted").status == 0

    def test_a_row_order_that_contradicts_the_training(self, model: Path, run_predict: Entry, tmp_path: Path) -> None:
        ended = run_predict(f"model={model}", f"files={tmp_path}", "sort_chanids=false")
        refused(ended, "sort_chanids=false: 'dummy' was trained on rows in ascending channel idents")

    def test_a_truncated_archive(self, model: Path, run_predict: Entry, event: Frames, tmp_path: Path) -> None:
        files = write(tmp_path / "frames.tar", event, range(2))
        files.write_bytes(files.read_bytes()[:-400_000])
        refused(run_predict(f"model={model}", f"files={files}"), str(files), "truncated")

    def test_a_truncated_member(self, model: Path, run_predict: Entry, event: Frames, tmp_path: Path) -> None:
        files, cut = write(tmp_path / "frames.tar", event), tmp_path / "cut.tar"
        with tarfile.open(files) as source, tarfile.open(cut, "w") as target:
            for member in source:
                content = source.extractfile(member)
                assert content
                if member.name.startswith("frame_mp2"):
                    member.size //= 2
                target.addfile(member, content)
        refused(run_predict(f"model={model}", f"files={cut}"), "frame_mp2_roi0_0.npy")

    def test_a_card_of_another_model(self, model: Path, run_predict: Entry, tmp_path: Path) -> None:
        card = json.loads((model / "card.json").read_text())
        (model / "card.json").write_text(json.dumps(card | {"model": {"sha256": "0" * 64}}))
        refused(run_predict(f"model={model}", f"files={tmp_path}"), "not the file that its card 'dummy' describes")

    def test_another_anode_than_the_frames(
        self, model: Path, run_predict: Entry, event: Frames, tmp_path: Path
    ) -> None:
        frames = {tag.replace("0", "1"): frame for tag, frame in event.items()}
        files = write(tmp_path / "frames.npz", frames)
        ended = run_predict(f"model={model}", f"files={files}", "apa=1")
        refused(ended, "'loose_lf1' holds channels 0..1599, none of plane U of anode 1, 2560..3359")

    def test_the_output_of_another_model(self, model: Path, run_predict: Entry, event: Frames, tmp_path: Path) -> None:
        files = write(tmp_path / "frames.npz", event)
        assert run_predict(f"model={model}", f"files={files}").status == 0
        ended = run_predict(f"model={model}", f"files={files}", "mask_thresh=0.7")
        refused(ended, "predictions: holds the result of another prediction (mask_thresh: 0.5, now 0.7)")

    def test_a_missing_file_an_empty_folder_and_an_unknown_format(
        self, model: Path, run_predict: Entry, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        refused(run_predict(f"model={model}", "files=nowhere.npz"), "nowhere.npz: no such file or folder")
        refused(run_predict(f"model={model}", f"files={tmp_path / 'empty'}"), "no frame files here", ".tar.bz2")
        refused(run_predict(f"model={model}", "files=x", "format=npx"), "format: 'npx' is not known")
        refused(run_predict("model=roinet", "files=x"), "no published model 'roinet'. Did you mean 'roinet_pdsp'?")
