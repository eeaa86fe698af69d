"""What every network promises: an answer for every pixel of any image, from all of its weights, image by image."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from wirecell_ml import schema
from wirecell_ml.build import build
from wirecell_ml.models.blocks import norm_layer
from wirecell_ml.paths import shipped

schema.register()

PARAMETERS = {  # of the configs as they are, with three tags
    "roinet": 550_044,
    "unet": 13_395_329,
    "unet_wirecell_dnn": 13_330_593,
    "uresnet": 3_562_625,
    "nestedunet": 9_163_329,
}
SIZES = [(1, 1), (1, 50), (16, 17), (37, 61), (286, 64)]


def network(name: str, norm: str = "batch") -> nn.Module:
    """Return the network of ``configs/model/<name>.yaml``, the same weights every time."""
    with initialize_config_dir(str(shipped("configs").absolute()), version_base="1.3"):
        cfg = compose("train", [f"model={name}", f"model.norm={norm}"])
    torch.manual_seed(1)
    model: nn.Module = build(cfg.model)
    return model


def images(batch: int, channels: int = 40, ticks: int = 48) -> Tensor:
    return torch.randn(batch, 3, channels, ticks, generator=torch.Generator().manual_seed(2))


def test_every_model_config_of_plane_images_is_tested_here() -> None:
    configs = (shipped("configs") / "model").glob("*.yaml")
    assert {path.stem for path in configs if "in_channels" in path.read_text()} == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
class TestNetwork:
    def test_number_of_parameters_is_the_published_one(self, name: str) -> None:
        assert sum(weight.numel() for weight in network(name).parameters()) == PARAMETERS[name]

    def test_output_has_the_shape_of_the_input_and_one_channel(self, name: str) -> None:
        model = network(name).eval()
        with torch.inference_mode():
            shapes = [tuple(model(images(1, *size)).shape) for size in SIZES]
        assert shapes == [(1, 1, *size) for size in SIZES]

    def test_input_is_left_as_it_was(self, name: str) -> None:
        x = images(2, 32, 32)  # no size that is padded, which would make a copy
        before = x.clone()
        network(name)(x)
        assert torch.equal(x, before)

    @pytest.mark.parametrize("norm", ["batch", "instance"])
    def test_finite_gradients_reach_every_parameter(self, name: str, norm: str) -> None:
        model = network(name, norm)
        model(images(2)).square().mean().backward()
        for weight in model.parameters():
            assert weight.grad is not None
            assert weight.grad.isfinite().all()
            assert weight.grad.any()

    @pytest.mark.parametrize("norm", ["batch", "instance"])
    def test_an_image_gets_the_same_answer_alone_as_in_a_batch(self, name: str, norm: str) -> None:
        model, x = network(name, norm).eval().double(), images(3).double()
        with torch.inference_mode():
            torch.testing.assert_close(model(x[1:2]), model(x)[1:2])

    def test_instance_norm_answers_in_training_as_afterwards(self, name: str) -> None:
        model, x = network(name, "instance"), images(2)
        with torch.inference_mode():
            torch.testing.assert_close(model.train()(x), model.eval()(x))


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="Known here: batch, instance"):
        norm_layer("layer", 4)  # type: ignore[arg-type]
