"""Checkpoints of other projects' DNN-ROI networks, read without running their code and mapped onto our networks.

Their networks end in a sigmoid and ours in a logit: the weights are the same, and the sigmoid is applied outside.
"""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, get_args

import torch
from torch import Tensor, nn

from wirecell_ml.errors import ConfigError, RunError, suggest
from wirecell_ml.models.blocks import Norm
from wirecell_ml.models.nested_unet import NestedUNet
from wirecell_ml.models.res_unet import UResNet
from wirecell_ml.models.unet import UNet

WRAPPERS = ["module.", "model.", "unet."]  # of DistributedDataParallel, of a training class, of wirecell.dnn's apps
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # InstanceNorm keeps none
FITTING = "A fitting one has convolutions with bias, BatchNorm, bilinear up-sampling and one output image"

Names = dict[str, str]  # {a name of theirs: ours}


@dataclass(frozen=True)
class Adopted:
    """A network with the weights of another project's checkpoint."""

    family: str  # e.g. "Pytorch-UNet U-Net"
    model: dict[str, Any]  # config node: _target_ and arguments
    weights: dict[str, Tensor]  # state dict of that network
    mapped: list[tuple[str, str]]  # (their name, our name)
    left_out: list[str]  # their names that our network has no place for: the running statistics, under norm instance


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the weights in a state dict file, or in a wirecell.dnn checkpoint, by their names in the bare network."""
    if not path.is_file():
        raise RunError(f"{path}: no such file. A checkpoint is a .pth file of weights")
    content = load_plain(path)
    state = content.get("model_state_dict", content) if isinstance(content, dict) else None
    if not is_state_dict(state):
        raise RunError(f"{path}: holds no weights. A checkpoint is a state dict, or a dict with 'model_state_dict'")
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return dict(state)


def adopt(state: Mapping[str, Tensor], norm: Norm) -> Adopted:
    """Return our network that computes, up to the sigmoid, what the network of ``state`` computes.

    The published Pytorch-UNet networks ran BatchNorm in training mode on one image at a time: that is ``instance``.
    ``batch`` takes the running statistics, for networks that ran in eval mode.
    """
    if norm not in get_args(Norm):
        raise ConfigError(f"norm: '{norm}' is not known.{suggest(norm, get_args(Norm))}")
    family, depth = recognise(state)
    blocks = family.blocks(depth)
    names = {theirs: renamed(theirs, blocks) for theirs in state}
    tensors = {ours: state[theirs] for theirs, ours in names.items()}
    arguments = arguments_of(tensors, family, depth) | {"norm": norm}
    with torch.device("meta"):  # names and shapes, no memory
        places = family.network(**arguments).state_dict()
    check_fit(tensors, names, places, family, depth)
    return Adopted(
        family=family.name,
        model={"_target_": f"wirecell_ml.models.{family.network.__name__}", **arguments},
        weights={ours: tensors[ours] for ours in places},
        mapped=[(theirs, ours) for theirs, ours in names.items() if ours in places],
        left_out=[theirs for theirs, ours in names.items() if ours not in places],
    )


def is_state_dict(content: Any) -> TypeGuard[dict[str, Tensor]]:
    """Return whether ``content`` is a dict of tensors by name, with at least one."""
    plain = isinstance(content, dict) and len(content) > 0
    return plain and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def load_plain(path: Path) -> Any:
    """Return what torch saved at ``path``, if that is tensors and plain values; anything else is refused unrun."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of what it is about to refuse
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a file of another kind torch.load raises whatever its parser trips on
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise RunError(
                f"{path}: refused unopened, nothing of it was run: it asks for the code of {code[1]}. "
                "A checkpoint holds weights only: torch.save(network.state_dict(), path)"
            ) from None
        raise RunError(
            f"{path}: not a checkpoint. A checkpoint is a .pth file of weights; a TorchScript .ts file is a program"
        ) from None


@dataclass(frozen=True)
class Family:
    """The names that another project gives to the parts of a network that we have too."""

    name: str
    network: type[nn.Module]
    level: str  # pattern of the name of a tensor that every level but the first has
    blocks: Callable[[int], Names]  # depth -> {their block: our block}
    arguments: Callable[[Mapping[str, Tensor], int], dict[str, Any]]  # our names with their tensors, depth


def recognise(state: Mapping[str, Tensor]) -> tuple[Family, int]:
    """Return the family that ``state`` is of, and its depth: the number of halvings."""
    for family in FAMILIES:
        depth = sum(bool(re.fullmatch(family.level, name)) for name in state)
        if depth:
            return family, depth
    known = ", ".join(family.name for family in FAMILIES)
    raise RunError(f"checkpoint of an unknown network, with tensors {some(list(state))}. Known here: {known}")


def renamed(name: str, blocks: Names) -> str:
    """Return ``name`` with the block that it begins with renamed, or nothing if it begins with none of them."""
    return next((new + name.removeprefix(old) for old, new in blocks.items() if name.startswith(f"{old}.")), "")


def arguments_of(tensors: Mapping[str, Tensor], family: Family, depth: int) -> dict[str, Any]:
    """Return the arguments of our network that the shapes of ``tensors`` tell."""
    try:
        return family.arguments(tensors, depth)
    except KeyError as missing:
        raise lacking(missing.args, family, depth) from None


def check_fit(
    tensors: Mapping[str, Tensor], names: Names, places: Mapping[str, Tensor], family: Family, depth: int
) -> None:
    """Raise RunError unless ``tensors`` fill every place, and only running statistics are left."""
    strange = [theirs for theirs, ours in names.items() if ours not in places and not theirs.endswith(STATISTICS)]
    if strange:
        raise RunError(f"{family.name} checkpoint: no place for {some(strange)}. {FITTING}")
    missing = [ours for ours in places if ours not in tensors]
    if missing:
        raise lacking(missing, family, depth)
    for theirs, ours in names.items():
        if ours in places and tensors[ours].shape != places[ours].shape:
            found, fitting = list(tensors[ours].shape), list(places[ours].shape)
            raise RunError(f"{family.name} checkpoint: {theirs} is {found}, where {fitting} would fit. {FITTING}")


def lacking(missing: Sequence[str], family: Family, depth: int) -> RunError:
    """Return the error for tensors, by our names, that a checkpoint does not have."""
    their_blocks = {ours: theirs for theirs, ours in family.blocks(depth).items()}
    theirs = [renamed(ours, their_blocks) for ours in missing]
    return RunError(f"{family.name} checkpoint: lacks {some(theirs)}. {FITTING}")


def some(names: Sequence[str]) -> str:
    """Return the first three of ``names``, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "none") + more


def pytorch_unet(depth: int) -> Names:
    """Return the blocks of Pytorch-UNet's U-Net."""
    levels = range(1, depth + 1)
    downs = {f"down{n}.mpconv.1.conv": f"downs.{n}" for n in levels}
    ups = {f"up{n}.conv.conv": f"ups.{n - 1}" for n in levels}
    return {"inc.conv.conv": "downs.0"} | downs | ups | {"outc.conv": "head"}


def wirecell_dnn(depth: int) -> Names:
    """Return the blocks of wirecell.dnn's U-Net as it is now, its legs lists of blocks."""
    downs = {f"down_blocks.{n}.dconv": f"downs.{n}" for n in range(depth)}
    ups = {f"up_blocks.{n}.dconv": f"ups.{n}" for n in range(depth)}
    return downs | {"bottom": f"downs.{depth}"} | ups | {"segmap": "head"}


def wirecell_dnn_flat(depth: int) -> Names:
    """Return the blocks of wirecell.dnn's U-Net as it was, both legs numbered from the top."""
    downs = {f"down_dconv_{n}": f"downs.{n}" for n in range(depth)}
    ups = {f"up_dconv_{depth - 1 - n}": f"ups.{n}" for n in range(depth)}
    return downs | {"bottom": f"downs.{depth}"} | ups | {"segmap": "head"}


def unet_arguments(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Any]:
    """Return the arguments of UNet."""
    return {
        "in_channels": tensors["downs.0.0.weight"].shape[1],
        "widths": [len(tensors[f"downs.{n}.0.weight"]) for n in range(depth + 1)],
        "up_widths": [len(tensors[f"ups.{n}.0.weight"]) for n in range(depth)],
    }


def pytorch_uresnet(depth: int) -> Names:
    """Return the blocks of Pytorch-UNet's U-ResNet, whose first level up is called up2."""
    blocks = {"inc.conv": "stem.main", "inc.shortcut": "stem.shortcut", "outc.conv": "head"}
    for n in range(depth):
        blocks[f"down{n + 1}.mpconv.conv"] = f"downs.{n}.main"
        blocks[f"down{n + 1}.mpconv.shortcut"] = f"downs.{n}.shortcut"
        blocks[f"up{n + 2}.conv.conv"] = f"ups.{n}.main"
        blocks[f"up{n + 2}.conv.shortcut"] = f"ups.{n}.shortcut"
    return blocks


def uresnet_arguments(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Any]:
    """Return the arguments of UResNet."""
    convolutions = ["stem.main.0.weight", *(f"downs.{n}.main.2.weight" for n in range(depth))]
    return {
        "in_channels": tensors["stem.main.0.weight"].shape[1],
        "widths": [len(tensors[name]) for name in convolutions],
    }


def pytorch_nested_unet(depth: int) -> Names:
    """Return the blocks of Pytorch-UNet's UNet++: conv<i>_<j> is node (i, j), level i, the j-th from the left."""
    layers = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4}
    blocks = {"final": "head"}
    for i in range(depth + 1):
        for j in range(depth + 1 - i):
            node = f"columns.{j - 1}.{i}" if j else f"backbone.{i}"
            blocks |= {f"conv{i}_{j}.{name}": f"{node}.{place}" for name, place in layers.items()}
    return blocks


def nested_unet_arguments(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Any]:
    """Return the arguments of NestedUNet."""
    return {
        "in_channels": tensors["backbone.0.0.weight"].shape[1],
        "widths": [len(tensors[f"backbone.{n}.0.weight"]) for n in range(depth + 1)],
    }


FAMILIES = [
    Family("Pytorch-UNet U-Net", UNet, r"down\d+\.mpconv\.1\.conv\.0\.weight", pytorch_unet, unet_arguments),
    Family("Pytorch-UNet U-ResNet", UResNet, r"down\d+\.mpconv\.conv\.0\.weight", pytorch_uresnet, uresnet_arguments),
    Family(
        "Pytorch-UNet UNet++",
        NestedUNet,
        r"conv[1-9]\d*_0\.conv1\.weight",
        pytorch_nested_unet,
        nested_unet_arguments,
    ),
    Family("wirecell.dnn U-Net", UNet, r"down_blocks\.\d+\.dconv\.0\.weight", wirecell_dnn, unet_arguments),
    Family("wirecell.dnn U-Net, flat names", UNet, r"down_dconv_\d+\.0\.weight", wirecell_dnn_flat, unet_arguments),
]
