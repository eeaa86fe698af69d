"""What a training consists of: data, network, trainer, and the run directory that keeps them."""

import json
import logging
import math
import warnings
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

from wirecell_ml.build import build, check, locate
from wirecell_ml.data import EventData
from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.models import Task
from wirecell_ml.progress import ProgressFile, StopWhenDiverged, TrainingProgress, read_progress
from wirecell_ml.provenance import record
from wirecell_ml.resuming import last_checkpoint
from wirecell_ml.seeds import derive_seed
from wirecell_ml.signals import CheckpointOnSignal
from wirecell_ml.timing import fastest, threads_set

log = logging.getLogger(__name__)

PROGRESS, SUMMARY = "progress.jsonl", "summary.json"  # in the run directory, for whoever follows the training
NUM_SHOWN = 3  # of a task's metrics: the losses, and the one that matters most


@dataclass(frozen=True)
class Fit:
    """A training that is ready to start."""

    trainer: Trainer
    task: Task
    data: EventData[Any, Any]
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
    trainer = build_trainer(cfg, task, directory, [checkpoint])
    if trainer.is_global_zero:
        introduce(task, data, trainer)
        record(new_file(directory, "provenance"), cfg, data.digest(), threads=torch.get_num_threads())
    return Fit(trainer, task, data, checkpoint, last_checkpoint(cfg, task))


def check_config(cfg: DictConfig) -> None:
    """Raise ConfigError for whatever is wrong with a config that shows before its parts are built."""
    for section in ("data", "model", "task", "optimizer", "scheduler", "logger"):
        check(cfg[section])
    kind = locate(cfg.task)
    if isinstance(kind, type) and issubclass(kind, Task):
        kind.check_config(cfg)


def check_monitor(cfg: DictConfig, task: Task) -> None:
    """Raise ConfigError if the task does not log the metric that decides which epoch is the best."""
    if cfg.monitor not in task.metrics:
        raise ConfigError(f"monitor: '{cfg.monitor}' is not logged.{suggest(cfg.monitor, task.metrics)}")


def new_file(directory: Path, name: str) -> Path:
    """Return ``name.json``, or ``name-2.json`` and so on for a run that was resumed."""
    number = len(list(directory.glob(f"{name}*.json"))) + 1
    return directory / (f"{name}-{number}.json" if number > 1 else f"{name}.json")


def introduce(task: Task, data: EventData[Any, Any], trainer: Trainer) -> None:
    """Say what is about to be trained, on what."""
    log.info("%s", data.describe())
    log.info("%s, %s parameters", type(task.model).__name__, f"{count_parameters(task.model):,}")
    log.info("%d %s, %s", trainer.num_devices, trainer.accelerator.__class__.__name__, trainer.precision)


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights of a network."""
    return sum(weight.numel() for weight in network.parameters())


def latency_s(task: Task, data: EventData[Any, Any]) -> float:
    """Return the seconds that the example of the data takes on one CPU thread; the task stays on the CPU."""
    network, example = task.cpu().eval(), data.example()
    with torch.inference_mode(), threads_set(1):
        network(example)
        return fastest(network, example)


def prepare_data(cfg: DictConfig, directory: Path) -> EventData[Any, Any]:
    """Return the data of a run, read, checked and split; a run keeps the split it began with in ``split.json``."""
    data = build_data(cfg)
    kept = directory / "split.json"
    if kept.exists():
        data.use_split(kept)
    data.prepare_data()
    data.setup()
    if not kept.exists():
        data.split.save(kept, data.digests())
    return data


def build_data(cfg: DictConfig, files: Any = None) -> EventData[Any, Any]:
    """Return the data of a config, of other ``files`` if some are given; nothing of them is read yet."""
    node = cfg.data if files is None else OmegaConf.merge(cfg.data, {"files": files})
    data = build(node)
    if not isinstance(data, EventData):
        raise ConfigError(f"data: {cfg.data._target_} is no wirecell_ml.data.EventData, which every training reads")
    return data


def build_task(cfg: DictConfig) -> Task:
    """Return the task of a config with its network, its weights not yet trained."""
    parts = {"optimizer": build(cfg.optimizer), "scheduler": build(cfg.scheduler)}
    task = build(cfg.task, model=build(cfg.model), **parts)
    if not isinstance(task, Task):
        raise ConfigError(f"task: {cfg.task._target_} is no wirecell_ml.models.Task, which every training is of")
    return task


def build_trainer(cfg: DictConfig, task: Task, directory: Path, callbacks: list[Callback]) -> Trainer:
    """Return the Lightning trainer that the settings describe."""
    settings, loggers = cfg.trainer, [node for node in cfg.logger.values() if node]
    callbacks = [
        *callbacks,
        ProgressFile(directory / PROGRESS),
        StopWhenDiverged(),
        CheckpointOnSignal(directory / "last.ckpt"),
    ]
    if settings.progress:
        callbacks.append(TrainingProgress((*task.metrics[:NUM_SHOWN], cfg.monitor)))
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
