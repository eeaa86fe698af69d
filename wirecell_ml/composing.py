"""Configs composed by Hydra without its command line: once for a study, and then changed for each of its trials."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.paths import shipped

MOST_BASES = 200  # combinations of config groups that a sweep may have

Container = dict[str, Any]


@contextmanager
def configs(folder: Path | None = None) -> Iterator[None]:
    """Let Hydra see our configs, for ``compose``."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str((folder or shipped("configs")).absolute()), version_base="1.3"):
        yield


def compose(name: str | None, overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> DictConfig:
    """Return a composed config, without a name of ``overrides`` alone; ``config_dirs`` are searched, too.

    Raises what Hydra raises for a wrong override.
    """
    folders = [Path(folder).expanduser().absolute() for folder in config_dirs]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: no such folder")
    found = [f"file://{folder}" for folder in folders]
    search = [f"hydra.searchpath=[{','.join(found)}]"] if found else []
    return hydra.compose(name, [*search, *overrides])


def group_options(config_dirs: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the options of every config group."""
    folders = [shipped("configs"), *(Path(folder).expanduser() for folder in config_dirs)]
    options: dict[str, list[str]] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*/*.yaml")):
        options.setdefault(path.parent.name, []).append(path.stem)
    return options


@dataclass(frozen=True)
class Bases:
    """The flat training configs that trials begin with, one for each combination of the swept config groups."""

    groups: tuple[str, ...]
    configs: dict[tuple[str, ...], Container]  # options of the groups → config, interpolations kept

    @classmethod
    def composed(
        cls, swept: Mapping[str, Sequence[str]], overrides: Sequence[str], config_dirs: Sequence[str] = ()
    ) -> "Bases":
        """Compose the bases for the options of the ``swept`` groups, changed by a user's ``overrides``."""
        combinations = list(product(*swept.values()))
        if len(combinations) > MOST_BASES:
            raise ConfigError(
                f"search: {len(combinations)} combinations of {', '.join(swept)}; at most {MOST_BASES} can be swept"
            )
        with configs():
            return cls(
                tuple(swept),
                {
                    options: base(
                        [f"{group}={option}" for group, option in zip(swept, options, strict=True)],
                        overrides,
                        config_dirs,
                    )
                    for options in combinations
                },
            )

    def flat(self, values: Mapping[str, Any]) -> Container:
        """Return the flat config of a trial; raises ConfigError for a setting that does not exist."""
        config = copy.deepcopy(self.configs[tuple(str(values[group]) for group in self.groups)])
        for name, value in values.items():
            if name not in self.groups:
                put(config, name, value)
        return config

    def digest(self) -> str:
        """Return the SHA-256 of all bases."""
        held = [[list(options), config] for options, config in self.configs.items()]
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the bases to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for options, config in self.configs.items():
            (folder / f"{','.join(options) or 'config'}.yaml").write_text(as_yaml(config))

    @classmethod
    def load(cls, folder: Path, groups: Sequence[str]) -> "Bases":
        """Return the bases that ``save`` wrote."""
        found = {path.stem: yaml.load(path.read_text(), yaml.CSafeLoader) for path in sorted(folder.glob("*.yaml"))}
        return cls(tuple(groups), {tuple(name.split(",")) if groups else (): config for name, config in found.items()})


def base(groups: Sequence[str], overrides: Sequence[str], config_dirs: Sequence[str]) -> Container:
    """Return one composed training config, less what only this machine's working directory makes right."""
    cfg = compose("train", [*groups, *overrides], config_dirs)
    files = cfg.data.files if "files" in cfg.data else None
    if files is not None:
        some = [files] if isinstance(files, str) else list(files)
        places = [str(Path(one).expanduser().absolute()) for one in some]
        OmegaConf.update(cfg, "data.files", places[0] if isinstance(files, str) else places)
    container = OmegaConf.to_container(cfg)
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()}


def put(config: Container, name: str, value: Any) -> None:
    """Set one setting of a flat config; raises ConfigError where there is none of that name."""
    *sections, last = name.split(".")
    place: Any = config
    for depth, section in enumerate([*sections, last]):
        if not isinstance(place, dict) or section not in place:
            known = [str(key) for key in place if not str(key).startswith("_")] if isinstance(place, dict) else []
            raise ConfigError(f"search: no setting '{name}'.{suggest(section, known)}")
        if depth < len(sections):
            place = place[section]
    place[last] = value


def as_yaml(config: Container) -> str:
    """Return a config as YAML text, in the order that it has."""
    return str(yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False, width=120))
