"""What a training consists of: data, network, trainer, and the run directory that keeps them."""

import json
import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from wirecell_ml.build import build, check
from wirecell_ml.data import RoiData
from wirecell_ml.data.split import PARTS
from wirecell_ml.errors import ConfigError, RunError, suggest
from wirecell_ml.models import RoiTask
from wirecell_ml.progress import ProgressFile, StopWhenDiverged, TrainingProgress, read_progress
from wirecell_ml.provenance import record
from wirecell_ml.schema import load_flat
from wirecell_ml.seeds import derive_seed
from wirecell_ml.signals import CheckpointOnSignal
from wirecell_ml.timing import fastest, threads_set

log = logging.getLogger(__name__)

MAY_CHANGE = (  # in a resumed run
    "trainer.",
    "evaluation.",
    "data.files",
    "data.cache",
    "data.num_workers",
    "resume",
    "evaluate",
    "latency",
)
PROGRESS, SUMMARY = "progress.jsonl", "summary.json"  # in the run directory, for whoever follows the training


@dataclass(frozen=True)
class Fit:
    """A training that is ready to start."""

    trainer: Trainer
    task: RoiTask
    data: RoiData
    checkpoint: ModelCheckpoint
    resume_from: Path | None

    def start(self) -> float:
        """Train to the end, or until a signal; return the monitored metric where it was best."""
        self.trainer.fit(self.task, self.data, ckpt_path=self.resume_from, weights_only=True)
        if self.checkpoint.best_model_score is not None:
            return float(self.checkpoint.best_model_score)
        assert self.checkpoint.dirpath
        assert self.checkpoint.monitor
        self.trainer.validate(self.task, self.data, verbose=False)  # stopped before its first epoch ended
        self.trainer.save_checkpoint(Path(self.checkpoint.dirpath) / "best.ckpt")
        return float(self.trainer.callback_metrics[self.checkpoint.monitor])

    def summarize(self, latency: bool) -> None:
        """Write ``summary.json``: what came of the training, in its best epoch; it appears whole or not at all."""
        assert self.checkpoint.dirpath
        directory = Path(self.checkpoint.dirpath)
        best = self.best_epoch(read_progress(directory / PROGRESS))
        metrics = best["metrics"] | {"parameters": count_parameters(self.task.model)}
        if latency:
            metrics["latency_s"] = latency_s(self.task, self.data)
        summary = {"metrics": metrics, "epochs": self.trainer.current_epoch, "best_epoch": best["epoch"]}
        unfinished = directory / f".{SUMMARY}"
        unfinished.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
        unfinished.replace(directory / SUMMARY)

    def best_epoch(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the row of progress where the monitored metric is best, the first of equals; NaN is worst."""
        sign = 1 if self.checkpoint.mode == "max" else -1

        def goodness(row: dict[str, Any]) -> float:
            value = row["metrics"].get(self.checkpoint.monitor)
            return -math.inf if value is None else sign * value

        return max(rows, key=goodness, default={"epoch": None, "metrics": {}})  # none: a run of an older version


def prepare(cfg: DictConfig, directory: Path) -> Fit:
    """Check everything that can be checked, write the run directory, and return the training.

    Raises ConfigError, DataError or RunError before anything is trained.
    """
    quiet_lightning()
    check_config(cfg)
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)
    data = prepare_data(cfg, directory)
    torch.manual_seed(derive_seed(cfg.seed, "weights"))
    task = build_task(cfg)
    check_monitor(cfg, task)
    checkpoint = ModelCheckpoint(
        directory,
        filename="best",
        monitor=cfg.monitor,
        mode=cfg.monitor_mode,
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    trainer = build_trainer(cfg, directory, [checkpoint])
    if trainer.is_global_zero:
        introduce(task, data, trainer)
        record(new_file(directory, "provenance"), cfg, data.digest(), threads=torch.get_num_threads())
    return Fit(trainer, task, data, checkpoint, last_checkpoint(cfg, task))


def check_config(cfg: DictConfig) -> None:
    """Raise ConfigError for whatever is wrong with a config that shows before its parts are built."""
    for section in ("data", "model", "task", "optimizer", "scheduler", "logger"):
        check(cfg[section])
    charge_tag = cfg.evaluation.charge_tag
    if charge_tag not in (None, *cfg.data.tags):
        raise ConfigError(
            f"evaluation.charge_tag: '{charge_tag}' is not among data.tags.{suggest(charge_tag, cfg.data.tags)}"
        )


def check_monitor(cfg: DictConfig, task: RoiTask) -> None:
    """Raise ConfigError if the task does not log the metric that decides which epoch is the best."""
    if cfg.monitor not in task.metrics:
        raise ConfigError(f"monitor: '{cfg.monitor}' is not logged.{suggest(cfg.monitor, task.metrics)}")


def new_file(directory: Path, name: str) -> Path:
    """Return ``name.json``, or ``name-2.json`` and so on for a run that was resumed."""
    number = len(list(directory.glob(f"{name}*.json"))) + 1
    return directory / (f"{name}-{number}.json" if number > 1 else f"{name}.json")


def introduce(task: RoiTask, data: RoiData, trainer: Trainer) -> None:
    """Say what is about to be trained, on what."""
    parts = ", ".join(f"{len(getattr(data.split, part))} {part}" for part in PARTS)
    log.info("%d events: %s; planes %s", len(data.summaries), parts, ", ".join(data.layout.planes))
    log.info("%s, %s parameters", type(task.model).__name__, f"{count_parameters(task.model):,}")
    log.info("%d %s, %s", trainer.num_devices, trainer.accelerator.__class__.__name__, trainer.precision)


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights of a network."""
    return sum(weight.numel() for weight in network.parameters())


def latency_s(task: RoiTask, data: RoiData) -> float:
    """Return the seconds that a whole plane image takes on one CPU thread; the task stays on the CPU."""
    network, image = task.cpu().eval(), data.dataset("validation")[0].images[None]
    with torch.inference_mode(), threads_set(1):
        network(image)
        return fastest(network, image)


def prepare_data(cfg: DictConfig, directory: Path) -> RoiData:
    """Return the data of a run, read, checked and split; a run keeps the split it began with in ``split.json``."""
    data: RoiData = build(cfg.data)
    kept = directory / "split.json"
    if kept.exists():
        data.use_split(kept)
    data.prepare_data()
    data.setup()
    if not kept.exists():
        data.split.save(kept, data.digests())
    return data


def build_task(cfg: DictConfig) -> RoiTask:
    """Return the task of a config with its network, its weights not yet trained."""
    parts = {"optimizer": build(cfg.optimizer), "scheduler": build(cfg.scheduler)}
    task: RoiTask = build(cfg.task, model=build(cfg.model), **parts)
    return task


def build_trainer(cfg: DictConfig, directory: Path, callbacks: list[Callback]) -> Trainer:
    """Return the Lightning trainer that the settings describe."""
    settings, loggers = cfg.trainer, [node for node in cfg.logger.values() if node]
    callbacks = [
        *callbacks,
        ProgressFile(directory / PROGRESS),
        StopWhenDiverged(),
        CheckpointOnSignal(directory / "last.ckpt"),
    ]
    if settings.progress:
        callbacks.append(TrainingProgress())
    try:
        return make_trainer(settings, directory, callbacks, [build(node, save_dir=directory) for node in loggers])
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


def make_trainer(settings: DictConfig, directory: Path, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    """Return Lightning's trainer; raises whatever Lightning does for settings that do not go together."""
    return Trainer(
        default_root_dir=directory,
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=precision(settings.precision, settings.accelerator),
        max_epochs=settings.max_epochs,
        max_steps=settings.max_steps,
        max_time=timedelta(minutes=settings.max_minutes) if settings.max_minutes else None,
        gradient_clip_val=settings.gradient_clip,
        deterministic=settings.deterministic,
        check_val_every_n_epoch=settings.validate_every_epochs,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,  # EpochSampler shares the epoch out
        enable_progress_bar=False,  # TrainingProgress shows the whole training
        enable_model_summary=False,
        logger=loggers,
        callbacks=callbacks,
    )


def precision(wanted: str, accelerator: str) -> Any:
    """Return the precision to train in: bfloat16 where the hardware computes in it, if we may choose."""
    if wanted != "auto":
        return wanted
    if accelerator != "cpu" and torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported()
    else:
        able = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if able else "32-true"


def continued(directory: Path, overrides: Sequence[str]) -> DictConfig:
    """Return the config of the run in ``directory``, changed by those ``overrides`` that may change in a resumed run.

    Raises RunError where there is no run, and ConfigError for an override that would make it another run.
    """
    path = directory / ".hydra" / "config.yaml"
    if not path.is_file():
        raise RunError(
            f"resume={directory}: no run here, {path} is missing. Give the directory that the training wrote"
        )
    cfg = load_flat(path)
    for override in overrides:
        name, _, value = override.lstrip("+").partition("=")
        if not name.startswith(MAY_CHANGE):
            raise ConfigError(
                f"resume goes on with the run's own settings, and '{override}' would make it another run. "
                f"Leave it out, or start a new run. These may change: {', '.join(MAY_CHANGE)}"
            )
        if name == "trainer.max_epochs" and cfg.scheduler._target_.endswith("one_cycle"):
            raise ConfigError(
                f"{override}: the one_cycle schedule of this run has its end; begin with scheduler=constant"
            )
        OmegaConf.update(cfg, name, OmegaConf.create(f"value: {value}").value)
    OmegaConf.save(OmegaConf.merge(cfg, {"resume": None}), path)
    return cfg


def last_checkpoint(cfg: DictConfig, task: RoiTask) -> Path | None:
    """Return the checkpoint to go on from, if the run is resumed; raises RunError where it does not fit the network."""
    if not cfg.resume:
        return None
    path = Path(cfg.resume) / "last.ckpt"
    if not path.is_file():
        raise RunError(f"resume={cfg.resume}: no last.ckpt, the run ended before its first epoch did. Start a new run")
    held = load_checkpoint(path)["state_dict"]
    mine = task.state_dict()
    different = sorted(name for name in held.keys() | mine.keys() if shape(held, name) != shape(mine, name))
    if different:
        raise RunError(
            f"{path} is of another model than {type(task.model).__name__} as configured here: {len(different)} of its "
            f"weights differ, '{different[0]}' for one. Resume with the model that the run began with"
        )
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, code excluded."""
    try:
        held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path}: not a checkpoint of ours, or damaged ({str(error).splitlines()[0]})") from error
    return held


def shape(weights: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    """Return the shape of a weight, or None if there is no such weight."""
    return weights[name].shape if name in weights else None


def quiet_lightning() -> None:
    """Keep Lightning's tips and device tables out of the terminal; its warnings that ask for nothing, too."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",  # the cache is faster than they would be
        ".*sync_dist=True.*",  # every process validates on all events
        ".*Checkpoint directory .* exists.*",
        ".*could not find the monitored key.*",  # stopped before its first epoch ended: see Fit.start
        ".*`srun` command is available.*",  # a training on the machine that submits the others
        ".*treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", text)
