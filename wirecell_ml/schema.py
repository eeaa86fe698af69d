"""The settings that we own, with their types and units; the open sets (model, data, …) are checked by ``build``."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.paths import shipped


@dataclass
class Detector:
    """What is fixed by the hardware of one detector."""

    name: str = MISSING
    apa: int = 0  # number of the anode, which the tags end with: loose_lf0 is the tag of APA 0
    channels_per_apa: int = MISSING
    tick_ns: float = 500.0  # sampling period of the electronics
    readout_ticks: int | None = None  # ticks of one readout
    planes: dict[str, list[int]] = MISSING  # first and past-the-last channel of each plane, counted within the APA
    wire_order: dict[str, Any] | None = None  # channels of a plane in wire-attachment order, as runs [first, last]
    wires: dict[str, Any] | None = None  # wire geometry in mm and degrees, for the plots against track angle


@dataclass
class TrainerSettings:
    """How long and on what a training runs."""

    max_epochs: int = MISSING
    max_steps: int = -1  # optimizer steps; -1: no limit
    max_minutes: float | None = None  # wall-clock limit of the training; null: none
    accelerator: str = "auto"  # auto, cpu, gpu, mps
    devices: Any = "auto"  # number of devices (or of processes, on CPU) per node
    num_nodes: int = 1
    strategy: str = "auto"  # auto, ddp
    precision: str = (
        "auto"  # auto: bf16-mixed where the hardware has it, else 32-true; or any name that Lightning knows
    )
    gradient_clip: float | None = None  # largest norm of the gradient; null: no clipping
    deterministic: Any = (
        "warn"  # true: only algorithms that give the same result again; warn: say where there is none; false
    )
    validate_every_epochs: int = 1
    threads: int | None = None  # CPU threads of one process; null: as torch decides
    progress: bool = True


@dataclass
class Evaluation:
    """What is measured on events that the training never saw."""

    split: str = "test"  # train, validation or test
    threshold: float | None = None  # of the probability; null: the task's own
    matching: str = "exact"  # exact, or published: the off-by-one window and per-image averages of arXiv:2007.12743
    scan: list[float] = field(default_factory=list)  # thresholds of the efficiency-purity curves
    angle_edges_deg: list[float] = field(default_factory=list)  # bins of theta_xz
    charge_tag: str | None = (
        None  # deconvolved waveform whose charge inside the network's ROIs is summed; null: first tag
    )
    figures: bool = True


@dataclass
class TrainSettings:
    """Everything that ``configs/train.yaml`` holds."""

    name: str = MISSING
    seed: int = MISSING
    monitor: str = MISSING  # metric that decides which checkpoint is the best, as the task logs it
    monitor_mode: str = "max"  # max or min
    resume: str | None = None  # run directory to continue
    evaluate: bool = True  # on the test events, at the end
    latency: bool = False  # time one whole image or event on one CPU thread at the end, for summary.json
    detector: Detector = field(default_factory=Detector)
    data: Any = None
    model: Any = None
    task: Any = None
    optimizer: Any = None
    scheduler: Any = None
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    logger: Any = None
    evaluation: Evaluation = field(default_factory=Evaluation)


@dataclass
class EvaluateSettings(Evaluation):
    """Everything that ``configs/evaluate.yaml`` holds."""

    run: str = MISSING  # run directory of the training
    files: Any = None  # other data than the run's own; null: the run's
    output: str | None = None  # folder of metrics.json and the figures; null: the run's "evaluation"


@dataclass
class ExportSettings:
    """Everything that ``configs/deploy/export.yaml`` holds."""

    run: str | None = None  # run directory, published folder, or name of a published model
    output: str | None = None  # folder to write; null: "export" in the run directory, or exports/<name>
    onnx: bool = False  # write model.onnx, too
    accept: list[str] = field(default_factory=list)  # rules of the contract that may be broken
    check: str | None = None  # TorchScript file to check in place of exporting
    card: str | None = None  # card of that file; null: card.json beside it


@dataclass
class AdoptSettings:
    """Everything that ``configs/deploy/adopt.yaml`` holds."""

    checkpoint: str = MISSING  # of Pytorch-UNet or wirecell.dnn
    name: str | None = None  # of the model; null: as the file is called
    output: str | None = None  # folder to write; null: exports/<name>
    norm: str = MISSING  # instance or batch
    detector: str = MISSING  # a file of configs/detector
    apa: int = MISSING  # number of the anode that it was trained on
    planes: list[str] = MISSING
    tags: list[str] = MISSING  # in the order of its input channels, without the number of the anode
    scale: list[float] = MISSING  # that each tag was divided by
    tick_per_slice: int = MISSING
    mask_thresh: float = MISSING
    sort_chanids: bool = MISSING  # whether rows were channels in ascending order
    onnx: bool = False
    accept: list[str] = field(default_factory=list)


@dataclass
class PublishSettings:
    """Everything that ``configs/deploy/publish.yaml`` holds."""

    files: Any = MISSING  # the events that the published models were trained and measured on
    run: str | None = None  # run to publish first; null: none
    name: str | None = None  # that it is published under; null: the name of the run
    zoo: str | None = None  # folder of the published models; null: models/ of this checkout
    only: list[str] | None = None  # names of those to measure again, where files are their events alone; null: all


@dataclass
class PredictSettings:
    """Everything that ``configs/deploy/predict.yaml`` holds."""

    model: str = MISSING  # exported folder, the .ts in it, or name of a published model
    files: Any = MISSING  # frame files: a file, a folder, a glob, or a list of them
    output: str = "predictions"  # folder of the results
    format: str = "npz"  # of the results: npz, zip, tar, tar.gz, tgz, tar.bz2, tar.xz, h5
    apa: int | None = None  # number of the anode, which the tags end with; null: as the card says
    charge_tag: str | None = None  # waveform whose charge is kept inside the ROIs; null: as the card says
    mask_thresh: float | None = None  # a pixel is ROI where the probability is above; null: as the card says
    nchunks: int = 1  # pieces that channels are given to the network in, to save memory
    sort_chanids: bool | None = None  # rows by channel ident; null: as the model was trained
    zeros: str = "refuse"  # a tag that is zero throughout a plane: refuse, or accept as Wire-Cell does
    pictures: bool = False  # a PNG of each plane of each event


def run_directory(name: str, resume: str | None) -> str:
    """Return where a run writes: the directory that it resumes, else ``runs/<name>/<date_time>``."""
    return resume or f"runs/{name}/{datetime.now():%Y-%m-%d_%H-%M-%S}"


def register() -> None:
    """Make the schemas and the resolvers of our YAML files known to Hydra."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainSettings)
    store.store(name="evaluate_schema", node=EvaluateSettings)
    store.store(name="export_schema", node=ExportSettings)
    store.store(name="adopt_schema", node=AdoptSettings)
    store.store(name="publish_schema", node=PublishSettings)
    store.store(name="predict_schema", node=PredictSettings)
    OmegaConf.register_new_resolver("len", len, replace=True)
    OmegaConf.register_new_resolver("shipped", lambda name: str(shipped(name)), replace=True)
    OmegaConf.register_new_resolver("run_directory", run_directory, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("unless", lambda condition, value: None if condition else value, replace=True)


CHOICES = {  # settings that are one of a few words
    "monitor_mode": ("max", "min"),
    "accelerator": ("auto", "cpu", "cuda", "gpu", "mps"),
    "split": ("test", "train", "validation"),
    "matching": ("exact", "published"),
    "zeros": ("refuse", "accept"),
}


def checked(cfg: DictConfig, settings: type = TrainSettings) -> DictConfig:
    """Return ``cfg`` with its closed sections typed; a flat config from a run directory comes without types.

    Raises ConfigError for an unknown setting or one of the wrong type.
    """
    try:
        typed = OmegaConf.merge(OmegaConf.structured(settings), cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'config'}: {str(error).splitlines()[0]}") from error
    assert isinstance(typed, DictConfig)
    missing = OmegaConf.missing_keys(typed)
    if missing:
        raise ConfigError(f"no value for {', '.join(sorted(missing))}. Give it as {sorted(missing)[0]}=…")
    check_choices(typed)
    return typed


def check_choices(cfg: DictConfig, section: str = "") -> None:
    """Raise ConfigError for a word that a setting of ours does not know."""
    for name, known in CHOICES.items():
        if name in cfg and cfg[name] not in known:
            raise ConfigError(f"{section}{name}: '{cfg[name]}' is not known.{suggest(cfg[name], known)}")
    for name in ("trainer", "evaluation"):
        if name in cfg:
            check_choices(cfg[name], f"{name}.")


def load_flat(path: Path) -> DictConfig:
    """Return the flat config that a run directory or a published model keeps."""
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    return cfg


register()
