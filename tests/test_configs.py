"""The YAML files: they say everything, they say it right, and every experiment trains."""

import inspect
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from wirecell_ml.build import DIRECTIVES, locate, targets
from wirecell_ml.data.particles import WireGeometry
from wirecell_ml.paths import shipped
from wirecell_ml.schema import Detector, checked
from wirecell_ml.training import prepare

CONFIGS = shipped("configs").absolute()
PUBLISHED = ("dnnroi_nestedunet_pdsp", "dnnroi_unet_pdsp", "dnnroi_uresnet_pdsp")
RUNTIME = {"model", "optimizer", "scheduler", "total_steps"}  # arguments that no file can give
FEW_SLICES = "data.tick_range=[2000,2640]"  # 64 of the 600 of a plane, so that big networks take seconds, not minutes
QUICK = (
    "data.split.validation=1",
    "data.split.test=1",
    "trainer.max_steps=1",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "logger=none",
)


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", options("experiment"))
def test_experiment_trains_a_step_on_the_shipped_sample(name: str, cache: Path, tmp_path: Path) -> None:
    images = "tick_range" in composed(f"experiment={name}").data
    cfg = checked(composed(f"experiment={name}", f"data.cache={cache}", *QUICK, *[FEW_SLICES] * images))
    fit = prepare(cfg, tmp_path)
    before = [weight.clone() for weight in fit.task.parameters()]
    fit.start()
    after = list(fit.task.parameters())
    assert fit.trainer.global_step == 1
    assert all(weight.isfinite().all() for weight in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


CHOICES = [
    (group, option)
    for group in ("data", "model", "task", "optimizer", "scheduler", "logger")
    for option in options(group)
]


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_config_names_no_argument_that_its_target_does_not_take(group: str, option: str) -> None:
    for node in targets(composed(f"{group}={option}")[group]):
        assert set(node) <= set(inspect.signature(locate(node)).parameters) | DIRECTIVES


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_config_lists_every_argument_of_a_target_of_ours(group: str, option: str) -> None:
    for node in targets(composed(f"{group}={option}")[group]):
        if node._target_.startswith("wirecell_ml."):
            given = set(node) - DIRECTIVES
            assert given == set(inspect.signature(locate(node)).parameters) - RUNTIME


@pytest.mark.parametrize("name", options("trainer"))
def test_trainer_config_has_settings_of_the_schema_only(name: str) -> None:
    assert checked(composed(f"trainer={name}")).trainer.max_epochs > 0


@pytest.fixture(params=options("detector"))
def detector(request: pytest.FixtureRequest) -> DictConfig:
    path = CONFIGS / "detector" / f"{request.param}.yaml"
    held = OmegaConf.merge(OmegaConf.structured(Detector), OmegaConf.load(path))
    assert isinstance(held, DictConfig)
    assert held.name == path.stem
    return held


def test_planes_of_a_detector_fill_its_channels_without_overlap(detector: DictConfig) -> None:
    ranges = sorted((first, end) for first, end in detector.planes.values())
    assert [first for first, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == detector.channels_per_apa


def test_wires_of_a_detector_are_read_by_the_channels_of_their_plane(detector: DictConfig) -> None:
    planes = WireGeometry.from_numbers(**detector.wires).planes if detector.wires else {}
    for name, plane in planes.items():
        first, end = detector.planes[name]
        assert (plane.first_channel, plane.first_channel + plane.num_channels) == (first, end)
        assert first <= plane.wire0_channel < end


@pytest.mark.parametrize("name", PUBLISHED)
class TestPublishedExperiment:
    def test_optimizer_is_the_paper_s(self, name: str) -> None:
        optimizer = composed(f"experiment={name}").optimizer
        assert optimizer._target_ == "torch.optim.SGD"
        assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.1, 0.9, 5e-4)

    def test_learning_rate_is_constant_and_the_gradient_not_clipped(self, name: str) -> None:
        cfg = composed(f"experiment={name}")
        assert cfg.scheduler._target_ == "wirecell_ml.models.constant"
        assert cfg.trainer.gradient_clip is None

    def test_loss_is_plain_cross_entropy(self, name: str) -> None:
        loss = composed(f"experiment={name}").task.loss
        assert (loss.bce, loss.dice, loss.focal, loss.positive_weight) == (1, 0, 0, 1)

    def test_it_sees_one_whole_image_at_a_time_for_50_epochs(self, name: str) -> None:
        cfg = composed(f"experiment={name}")
        assert (cfg.data.batch_size, cfg.data.crop, cfg.data.crops_per_plane) == (1, None, 1)
        assert cfg.trainer.max_epochs == 50

    def test_nothing_is_augmented(self, name: str) -> None:
        augmentation = composed(f"experiment={name}").data.augmentation
        assert {value for key, value in augmentation.items() if key not in DIRECTIVES} == {0}

    def test_data_are_the_v_plane_in_three_tags_and_truth_above_100(self, name: str) -> None:
        data = composed(f"experiment={name}").data
        assert data.planes == ["V"]
        assert data.tags == ["loose_lf0", "mp2_roi0", "mp3_roi0"]
        assert data.scale == [4000, 4000, 4000]
        assert (data.truth_threshold, data.tick_per_slice) == (100, 10)

    def test_statistics_are_those_of_each_image(self, name: str) -> None:
        assert composed(f"experiment={name}").model.norm == "instance"
