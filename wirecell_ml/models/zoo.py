"""The zoo: published networks, built from nothing but this package's own classes and checked before they are read."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import Tensor, nn

from wirecell_ml import models
from wirecell_ml.build import build, targets
from wirecell_ml.errors import ConfigError, DataError, suggest
from wirecell_ml.models.roi_finder import RoiFinder
from wirecell_ml.paths import shipped
from wirecell_ml.schema import load_flat

FILES = ("config.yaml", "weights.safetensors")  # what a network is made from; the index holds the digest of each


def load_published(name: str) -> nn.Module:
    """Return the published network ``name``, in evaluation mode.

    One that finds ROIs is a ``RoiFinder``: it takes waveforms in electrons per tick, averaged over the slices it was
    trained with, as float32 (batch, tag, channel, slice), and gives the probability of "signal here",
    (batch, 1, channel, slice). Of any other task it is the network as it was trained.

    Raises ConfigError for a name that is not in the zoo, and DataError for a file that is not the one published.
    """
    folder = published(name)
    check_digests(folder, read_index(folder.parent)[name])
    cfg, network = load_network(folder)
    return roi_finder(folder, cfg, network) if finds_rois(cfg) else network.eval()


def published(name: str) -> Path:
    """Return the folder of the published network ``name``."""
    zoo = shipped("models")
    known = read_index(zoo)
    if name not in known:
        raise ConfigError(f"no published model '{name}'.{suggest(name, known)}")
    return zoo / name


def read_index(zoo: Path) -> dict[str, dict[str, str]]:
    """Return the digests of each published network's files, by name."""
    path = zoo / "index.toml"
    return tomllib.loads(path.read_text()) if path.is_file() else {}


def check_digests(folder: Path, digests: dict[str, str]) -> None:
    """Raise DataError unless the files of a published network are those that its index names."""
    for file in FILES:
        path = folder / file
        if not path.is_file():
            raise DataError(f"{path}: no such file; get the published model again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digests[file]:
            raise DataError(
                f"{path}: not the file that was published, its SHA-256 differs from index.toml; get it again"
            )


def roi_finder(place: Path, cfg: DictConfig, network: nn.Module) -> RoiFinder:
    """Return a network of ``place`` as Wire-Cell runs it; raises DataError where it was not trained to find ROIs."""
    if not finds_rois(cfg):
        raise DataError(f"{place}: a network of {cfg.task._target_}, which finds no ROIs; give one that does")
    return RoiFinder(network, cfg.data.scale)


def finds_rois(cfg: DictConfig) -> bool:
    """Return whether the training of a flat config was of plane images, each tag of which has a scale."""
    return {"tags", "scale"} <= set(cfg.data)


def load_network(folder: Path) -> tuple[DictConfig, nn.Module]:
    """Return config and network of a folder with ``config.yaml`` and ``weights.safetensors``, maybe a stranger's."""
    cfg = load_flat(folder / "config.yaml")
    check_targets(cfg.model, folder / "config.yaml")
    network: nn.Module = build(cfg.model)
    network.load_state_dict(load_weights(folder / "weights.safetensors", network))
    return cfg, network


def check_targets(model: DictConfig, path: Path) -> None:
    """Raise ConfigError if the config of a network names anything to build but the networks of this package."""
    allowed = {f"wirecell_ml.models.{name}" for name in models.__all__}
    for node in targets(model):
        if node._target_ not in allowed:
            raise ConfigError(
                f"{path}: model is '{node._target_}', which is no network of wirecell_ml; nothing else is built from a "
                "published config"
            )


def load_weights(path: Path, network: nn.Module) -> dict[str, Any]:
    """Return the weights in ``path``; raises DataError where they are damaged or of another network."""
    try:
        weights = load_file(path)
    except Exception as error:  # safetensors raises its own type for what is wrong inside
        raise DataError(f"{path}: no safetensors file, or damaged ({error})") from error
    mine = network.state_dict()
    different = sorted(set(map(shape, weights.items())) ^ set(map(shape, mine.items())))
    if different:
        raise DataError(
            f"{path}: not the weights of its config.yaml: '{different[0][0]}' differs, and {len(different)} in all"
        )
    return weights


def shape(weight: tuple[str, Tensor]) -> tuple[str, tuple[int, ...]]:
    """Return the name and the shape of a weight."""
    return weight[0], tuple(weight[1].shape)
