"""Networks of other projects, written here from the listings of their parts, become ours and answer the same."""

import os
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from wirecell_ml.build import build
from wirecell_ml.errors import ConfigError, RunError
from wirecell_ml.models.legacy import adopt, read_checkpoint


class Theirs(nn.Module):
    """A network whose parts have another project's names; it answers with what goes into their sigmoid."""

    def put(self, name: str, part: nn.Module) -> None:
        parent: nn.Module = self
        *path, last = name.split(".")
        for step in path:
            if step not in dict(parent.named_children()):
                parent.add_module(step, nn.Module())
            parent = parent.get_submodule(step)
        parent.add_module(last, part)

    def run(self, name: str, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(name)(x)
        return y


class PytorchUNet(Theirs):
    def __init__(self, tags: int, widths: list[int], up_widths: list[int]) -> None:
        super().__init__()
        self.depth = len(up_widths)
        self.put("inc.conv.conv", double(tags, widths[0]))
        for n, (a, b) in enumerate(pairwise(widths), 1):
            self.put(f"down{n}.mpconv.1.conv", double(a, b))
        for n, (a, b) in enumerate(zip(inputs_up(widths, up_widths), up_widths, strict=True), 1):
            self.put(f"up{n}.conv.conv", double(a, b))
        self.put("outc.conv", nn.Conv2d(up_widths[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.run("inc.conv.conv", x)]
        for n in range(1, self.depth + 1):
            skips.append(self.run(f"down{n}.mpconv.1.conv", F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for n in range(1, self.depth + 1):
            x = self.run(f"up{n}.conv.conv", joined(x, [skips.pop()]))
        return self.run("outc.conv", x)


class WirecellUNet(Theirs):
    """The U-Net of wirecell.dnn before its legs became lists."""

    down, up = "down_dconv_{n}", "up_dconv_{n}"

    def __init__(self, tags: int, widths: list[int], up_widths: list[int]) -> None:
        super().__init__()
        self.depth = len(up_widths)
        for n, (a, b) in enumerate(pairwise([tags, *widths[:-1]])):
            self.put(self.down.format(n=n), double(a, b))
        self.put("bottom", double(*widths[-2:]))
        for n, (a, b) in enumerate(zip(inputs_up(widths, up_widths), up_widths, strict=True)):
            self.put(self.level_up(n), double(a, b))
        self.put("segmap", nn.Conv2d(up_widths[-1], 1, 1))

    def level_up(self, n: int) -> str:
        return self.up.format(n=self.depth - 1 - n)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for n in range(self.depth):
            skips.append(self.run(self.down.format(n=n), x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.run("bottom", x)
        for n in range(self.depth):
            x = self.run(self.level_up(n), joined(x, [skips.pop()]))
        return self.run("segmap", x)


class WirecellUNetNow(WirecellUNet):
    down, up = "down_blocks.{n}.dconv", "up_blocks.{n}.dconv"

    def level_up(self, n: int) -> str:
        return self.up.format(n=n)


class PytorchUResNet(Theirs):
    def __init__(self, tags: int, widths: list[int], up_widths: list[int]) -> None:
        super().__init__()
        self.depth = len(up_widths)
        self.put("inc.conv", nn.Sequential(*list(double(tags, widths[0]))[:4]))
        self.put("inc.shortcut", nn.Sequential(nn.Conv2d(tags, widths[0], 1), nn.BatchNorm2d(widths[0])))
        for n, (a, b) in enumerate(pairwise(widths), 1):
            self.put_residual(f"down{n}.mpconv", a, b, 2)
        for n, (a, b) in enumerate(zip(inputs_up(widths, up_widths), up_widths, strict=True), 2):
            self.put_residual(f"up{n}.conv", a, b, 1)
        self.put("outc.conv", nn.Conv2d(up_widths[-1], 1, 1))

    def put_residual(self, name: str, a: int, b: int, stride: int) -> None:
        first = [nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 3, stride, padding=1)]
        second = [nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1)]
        self.put(f"{name}.conv", nn.Sequential(*first, *second))
        self.put(f"{name}.shortcut", nn.Sequential(nn.Conv2d(a, b, 1, stride), nn.BatchNorm2d(b)))

    def residual(self, name: str, x: Tensor) -> Tensor:
        return self.run(f"{name}.conv", x) + self.run(f"{name}.shortcut", x)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.residual("inc", x)]
        for n in range(1, self.depth + 1):
            skips.append(self.residual(f"down{n}.mpconv", skips[-1]))
        x = skips.pop()
        for n in range(2, self.depth + 2):
            x = self.residual(f"up{n}.conv", joined(x, [skips.pop()]))
        return self.run("outc.conv", x)


class PytorchNestedUNet(Theirs):
    def __init__(self, tags: int, widths: list[int]) -> None:
        super().__init__()
        self.levels = len(widths)
        for j in range(self.levels):
            for i in range(self.levels - j):
                above = [tags, *widths][i]
                self.put_node(f"conv{i}_{j}", j * widths[i] + widths[i + 1] if j else above, widths[i])
        self.put("final", nn.Conv2d(widths[0], 1, 1))

    def put_node(self, name: str, a: int, b: int) -> None:
        for layer, part in zip(["conv1", "bn1", "", "conv2", "bn2", ""], double(a, b), strict=True):
            if layer:
                self.put(f"{name}.{layer}", part)

    def node(self, name: str, x: Tensor) -> Tensor:
        for n in (1, 2):
            x = self.run(f"{name}.bn{n}", self.run(f"{name}.conv{n}", x)).relu()
        return x

    def forward(self, x: Tensor) -> Tensor:
        nodes = [[self.node("conv0_0", x)]]
        for i in range(1, self.levels):
            nodes.append([self.node(f"conv{i}_0", F.max_pool2d(nodes[-1][0], 2))])
        for j in range(1, self.levels):
            for i in range(self.levels - j):
                nodes[i].append(self.node(f"conv{i}_{j}", joined(nodes[i + 1][j - 1], nodes[i])))
        return self.run("final", nodes[0][-1])


def double(a: int, b: int) -> nn.Sequential:
    first = [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())


def inputs_up(widths: list[int], up_widths: list[int]) -> list[int]:
    return [skip + below for skip, below in zip(widths[-2::-1], [widths[-1], *up_widths[:-1]], strict=True)]


def joined(x: Tensor, skips: list[Tensor]) -> Tensor:
    x = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)(x)
    rows, columns = skips[0].shape[2] - x.shape[2], skips[0].shape[3] - x.shape[3]
    return torch.cat([*skips, F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))], dim=1)


SMALL: dict[str, tuple[type[Theirs], tuple[Any, ...], tuple[int, int]]] = {  # class, its arguments, image size
    "Pytorch-UNet U-Net": (PytorchUNet, (3, [4, 6, 8, 10, 12], [9, 7, 5, 3]), (53, 75)),
    "Pytorch-UNet U-ResNet": (PytorchUResNet, (2, [4, 8, 16, 12], [8, 4, 4]), (40, 56)),
    "Pytorch-UNet UNet++": (PytorchNestedUNet, (3, [4, 6, 8, 10]), (37, 51)),
    "wirecell.dnn U-Net": (WirecellUNetNow, (1, [4, 6, 8, 10], [7, 5, 3]), (45, 51)),
    "wirecell.dnn U-Net, flat names": (WirecellUNet, (6, [4, 6, 8, 8], [6, 4, 2]), (45, 51)),
}
PUBLISHED: list[tuple[type[Theirs], tuple[Any, ...], int]] = [
    (PytorchUNet, (3, [64, 128, 256, 512, 512], [256, 128, 64, 64]), 13_395_329),
    (PytorchUResNet, (3, [64, 128, 256, 256], [128, 64, 64]), 3_562_625),
    (PytorchNestedUNet, (3, [32, 64, 128, 256, 512]), 9_163_329),
    (WirecellUNet, (3, [64, 128, 256, 512, 512], [256, 128, 64, 32]), 13_330_593),
    (WirecellUNetNow, (3, [64, 128, 256, 512, 512], [256, 128, 64, 32]), 13_330_593),
]


def network(family: str) -> Theirs:
    kind, arguments, _ = SMALL[family]
    return kind(*arguments)


def trained(family: str) -> Theirs:
    """Return a small network of ``family`` whose every tensor differs from the initial one."""
    torch.manual_seed(1)
    theirs = network(family)
    for name, weight in theirs.named_parameters():
        if weight.dim() == 1:
            nn.init.uniform_(weight, 0.5, 1.5) if name.endswith("weight") else nn.init.normal_(weight, std=0.3)
    with torch.inference_mode():
        theirs(image(family))  # moves the running statistics
    return theirs


def image(family: str) -> Tensor:
    _, arguments, size = SMALL[family]
    return torch.randn(1, arguments[0], *size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("family", SMALL)
class TestFamily:
    @pytest.mark.parametrize("norm", ["batch", "instance"])
    def test_our_network_answers_as_theirs_before_the_sigmoid(self, family: str, norm: Any, tmp_path: Path) -> None:
        theirs = trained(family)
        torch.save(theirs.state_dict(), tmp_path / "CP50.pth")
        adopted = adopt(read_checkpoint(tmp_path / "CP50.pth"), norm)
        ours = build(OmegaConf.create(adopted.model))
        ours.load_state_dict(adopted.weights)
        with torch.inference_mode():
            answer = theirs.train(norm == "instance")(image(family))
            torch.testing.assert_close(ours.eval()(image(family)), answer, rtol=1e-5, atol=1e-5)

    def test_is_recognised(self, family: str) -> None:
        assert adopt(network(family).state_dict(), "batch").family == family

    @pytest.mark.parametrize("norm", ["batch", "instance"])
    def test_every_tensor_is_mapped_or_left_out(self, family: str, norm: Any) -> None:
        state = network(family).state_dict()
        adopted = adopt(state, norm)
        assert sorted([theirs for theirs, _ in adopted.mapped] + adopted.left_out) == sorted(state)
        assert sorted(ours for _, ours in adopted.mapped) == sorted(adopted.weights)

    def test_batch_leaves_nothing_out(self, family: str) -> None:
        assert adopt(network(family).state_dict(), "batch").left_out == []

    def test_instance_leaves_out_the_running_statistics_only(self, family: str) -> None:
        theirs = network(family)
        left_out = adopt(theirs.state_dict(), "instance").left_out
        assert left_out == [name for name, _ in theirs.named_buffers()]


@pytest.mark.parametrize(("kind", "arguments", "parameters"), PUBLISHED)
def test_published_widths_give_the_published_network(
    kind: type[Theirs], arguments: tuple[Any, ...], parameters: int
) -> None:
    with torch.device("meta"):
        theirs = kind(*arguments)
        ours = build(OmegaConf.create(adopt(theirs.state_dict(), "instance").model))
    assert sum(weight.numel() for weight in theirs.parameters()) == parameters
    assert sum(weight.numel() for weight in ours.parameters()) == parameters


def test_widths_and_input_images_are_read_from_the_shapes() -> None:
    assert adopt(network("Pytorch-UNet U-Net").state_dict(), "instance").model == {
        "_target_": "wirecell_ml.models.UNet",
        "in_channels": 3,
        "widths": [4, 6, 8, 10, 12],
        "up_widths": [9, 7, 5, 3],
        "norm": "instance",
    }


@pytest.mark.parametrize("prefix", ["module.", "model.", "unet.", "module.unet."])
def test_a_wrapper_around_the_network_does_not_show_in_the_names(prefix: str, tmp_path: Path) -> None:
    state = network("wirecell.dnn U-Net").state_dict()
    torch.save({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "ddp.pth")
    assert list(read_checkpoint(tmp_path / "ddp.pth")) == list(state)


def test_a_checkpoint_of_wirecell_dnn_gives_its_model(tmp_path: Path) -> None:
    theirs = network("wirecell.dnn U-Net")
    state = {f"unet.{name}": tensor for name, tensor in theirs.state_dict().items()}
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    runs, epochs = {0: {"train_file_paths": ["a.h5"]}}, {0: {"train_losses": [0.5]}}
    content = {
        "model_state_dict": state,
        "optimizer_state_dict": optimizer.state_dict(),
        "runs": runs,
        "epochs": epochs,
    }
    torch.save(content, tmp_path / "dnnroi.pth")
    read = read_checkpoint(tmp_path / "dnnroi.pth")
    assert list(read) == list(theirs.state_dict())
    assert torch.equal(read["segmap.weight"], theirs.state_dict()["segmap.weight"])


class Burglar:
    """Unpickled as a pickle asks, it makes a file."""

    def __init__(self, loot: Path) -> None:
        self.loot = loot

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.loot),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_holds_code_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    content = {"inc.conv.conv.0.weight": Burglar(tmp_path / "loot")}
    torch.save(content, tmp_path / "CP50.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        RunError, match=r"CP50.pth: refused unopened, nothing of it was run: .*mkdir.*holds weights only"
    ):
        read_checkpoint(tmp_path / "CP50.pth")
    assert not (tmp_path / "loot").exists()
    pickle.loads(pickle.dumps(content))  # noqa: S301  (what it would have done)
    assert (tmp_path / "loot").exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(RunError, match=r"code of torch.nn.modules.linear.Linear\. A checkpoint holds weights only"):
        read_checkpoint(tmp_path / "net.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"CP50.pth: no such file\. A checkpoint is"):
        read_checkpoint(tmp_path / "CP50.pth")


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", pickle.dumps({"a": 1})])
def test_a_file_of_another_kind_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "CP50.pth").write_bytes(content)
    with pytest.raises(RunError, match=r"CP50.pth: not a checkpoint\. A checkpoint is a .pth file"):
        read_checkpoint(tmp_path / "CP50.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
def test_a_torchscript_file_is_no_checkpoint(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "unet.ts"))  # type: ignore[no-untyped-call]
    with pytest.raises(RunError, match=r"unet.ts: not a checkpoint\. .*a TorchScript .ts file is a program"):
        read_checkpoint(tmp_path / "unet.ts")


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {0: torch.zeros(2)}, {"epochs": 3}, {"model_state_dict": {"a": 1}}, torch.zeros(2)]
)
def test_a_file_without_weights_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "CP50.pth")
    with pytest.raises(RunError, match=r"CP50.pth: holds no weights\. A checkpoint is a state dict"):
        read_checkpoint(tmp_path / "CP50.pth")


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    state = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).state_dict()
    with pytest.raises(
        RunError, match=r"tensors 0.weight, 0.bias, 1.weight and 1 more\. Known here: Pytorch-UNet U-Net"
    ):
        adopt(state, "batch")


def test_learned_up_sampling_has_no_place() -> None:
    state = network("wirecell.dnn U-Net, flat names").state_dict()
    state["up_umerge_0.upsamp.weight"] = torch.zeros(8, 4, 2, 2)
    with pytest.raises(RunError, match=r"wirecell.dnn U-Net, flat names checkpoint: no place for up_umerge_0.upsamp"):
        adopt(state, "batch")


def test_convolutions_without_bias_are_refused() -> None:
    state = {name: t for name, t in network("Pytorch-UNet U-Net").state_dict().items() if not name.endswith("0.bias")}
    with pytest.raises(RunError, match=r"lacks inc.conv.conv.0.bias, .* and 6 more\. A fitting one has .* with bias"):
        adopt(state, "instance")


def test_a_missing_level_is_named() -> None:
    state = network("Pytorch-UNet UNet++").state_dict()
    del state["conv0_0.conv1.weight"]
    with pytest.raises(RunError, match=r"Pytorch-UNet UNet\+\+ checkpoint: lacks conv0_0.conv1.weight\. A fitting one"):
        adopt(state, "batch")


def test_a_second_output_image_does_not_fit() -> None:
    state = network("wirecell.dnn U-Net").state_dict()
    state["segmap.weight"] = state["segmap.weight"].repeat(2, 1, 1, 1)
    with pytest.raises(
        RunError, match=r"segmap.weight is \[2, 3, 1, 1\], where \[1, 3, 1, 1\] would fit\. .*one output"
    ):
        adopt(state, "batch")


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"norm: 'layer' is not known\. Known here: batch, instance"):
        adopt(network("Pytorch-UNet U-Net").state_dict(), "layer")  # type: ignore[arg-type]
