"""The command line of hpo and submit: a verb, settings of ours, and settings of the training."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from wirecell_ml.errors import ConfigError, suggest

FLAGS = {"--cfg": "show", "--config-dir": "config_dirs", "-cd": "config_dirs"}


@dataclass(frozen=True)
class Arguments:
    """What a user typed."""

    verb: str
    own: tuple[str, ...]  # overrides of our settings
    training: tuple[str, ...]  # overrides of the training's
    config_dirs: tuple[str, ...] = ()
    show: bool = False  # --cfg job: print the settings and stop


def parse(words: Sequence[str], verbs: Collection[str], default: str, own: Collection[str]) -> Arguments:
    """Return the parts of a command line, where ``own`` are the names of our settings; raises ConfigError."""
    verb, rest = (words[0], words[1:]) if words and re.fullmatch(r"[a-z_]+", words[0]) else (default, words)
    if verb not in verbs:
        raise ConfigError(f"no command '{verb}'.{suggest(verb, verbs)}")
    flags, overrides = split_flags(list(rest))
    mine = tuple(word for word in overrides if first_name(word) in own)
    others = tuple(word for word in overrides if first_name(word) not in own)
    return Arguments(verb, mine, others, tuple(flags["config_dirs"]), bool(flags["show"]))


def split_flags(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values of the flags, and all words that are overrides."""
    flags: dict[str, list[str]] = {name: [] for name in FLAGS.values()}
    overrides = []
    while words:
        word = words.pop(0)
        name, sign, value = word.partition("=")
        if name in FLAGS:
            if not sign and not words:
                raise ConfigError(f"{name} needs a value")
            flags[FLAGS[name]].append(value if sign else words.pop(0))
        elif word.startswith("-") or not (sign or word.startswith("~")):  # ~name deletes a setting
            raise ConfigError(f"'{word}' is no setting. Write name=value; --help says more")
        else:
            overrides.append(word)
    return flags, overrides


def first_name(override: str) -> str:
    """Return the first name of the setting that an override changes: site of +site.resources.cores=4."""
    return re.split(r"[=.@/]", override.lstrip("+~"), maxsplit=1)[0]
