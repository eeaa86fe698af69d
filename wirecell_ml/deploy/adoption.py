"""Adoption: another project's checkpoint becomes an exported folder."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table

from wirecell_ml.build import build
from wirecell_ml.deploy.exporting import Options, write_export
from wirecell_ml.deploy.source import Source
from wirecell_ml.deploy.torchscript import sha256
from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.models import RoiFinder
from wirecell_ml.models.legacy import Adopted, adopt, read_checkpoint
from wirecell_ml.paths import shipped
from wirecell_ml.schema import load_flat


def adopt_checkpoint(settings: DictConfig) -> Path:
    """Write the folder of another project's checkpoint, print what was mapped onto what, and return the folder.

    Raises RunError for a checkpoint that is none or of an unknown network, ConfigError for settings that do not fit it.
    """
    options = Options(settings.onnx, tuple(settings.accept))
    path = Path(settings.checkpoint).expanduser()
    adopted = adopt(read_checkpoint(path), settings.norm)
    check_tags(adopted, settings)
    detector = read_detector(settings.detector)
    detector.apa = settings.apa
    check_planes(settings.planes, detector)
    show(adopted)
    network = build(OmegaConf.create(adopted.model))
    network.load_state_dict(adopted.weights)
    source = Source(
        name=settings.name or path.stem,
        cfg=OmegaConf.create(
            {"detector": detector, "data": data(settings), "task": {"threshold": settings.mask_thresh}}
        ),
        finder=RoiFinder(network, settings.scale),
        metrics=None,
        provenance={"adopted": {"family": adopted.family, "checkpoint": path.name, "checkpoint_sha256": sha256(path)}},
        sort_chanids=settings.sort_chanids,
    )
    output = Path(settings.output).expanduser() if settings.output else Path("exports") / source.name
    return write_export(source, output, options)


def data(settings: DictConfig) -> dict[str, object]:
    """Return what a training would call its data settings, the tags with the number of the anode."""
    return {
        "planes": settings.planes,
        "tags": [f"{tag}{settings.apa}" for tag in settings.tags],
        "scale": settings.scale,
        "tick_per_slice": settings.tick_per_slice,
    }


def read_detector(name: str) -> DictConfig:
    """Return the detector ``name`` of ``configs/detector``."""
    folder = shipped("configs") / "detector"
    known = [path.stem for path in folder.glob("*.yaml")]
    if name not in known:
        raise ConfigError(f"detector: '{name}' is not known.{suggest(name, known)}")
    return load_flat(folder / f"{name}.yaml")


def check_planes(planes: list[str], detector: DictConfig) -> None:
    """Raise ConfigError for a plane that the detector does not have."""
    for plane in planes:
        if plane not in detector.planes:
            raise ConfigError(
                f"planes: {detector.name} has no plane '{plane}'.{suggest(plane, map(str, detector.planes))}"
            )


def check_tags(adopted: Adopted, settings: DictConfig) -> None:
    """Raise ConfigError unless there is a tag and a scale for each input channel of the network."""
    channels = adopted.model["in_channels"]
    for name in ("tags", "scale"):
        if len(settings[name]) != channels:
            raise ConfigError(
                f"{name}: the checkpoint has {channels} input channels, but there are {len(settings[name])} {name}"
            )


def show(adopted: Adopted) -> None:
    """Print what was mapped onto what."""
    table = Table("theirs", "ours", title=f"{adopted.family} -> {adopted.model['_target_']}", box=box.SIMPLE_HEAD)
    for theirs, ours in adopted.mapped:
        table.add_row(theirs, ours)
    console = Console()
    console.print(table)
    left_out = f", {len(adopted.left_out)} left out: {', '.join(adopted.left_out[:2])}, …" if adopted.left_out else ""
    console.print(f"{len(adopted.mapped)} tensors mapped{left_out}", soft_wrap=True)
