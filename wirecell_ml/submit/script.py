"""Scripts of batches: the shell lines that start the job of a number, in its container, with its variables."""

import shlex
from collections.abc import Iterable, Sequence

from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.site import Container, Site


def starting(batch: Batch, site: Site, container: Container | None, index: str) -> list[str]:
    """Return the lines that become the job of a number; ``index`` is what the shell knows it as: $1, a variable."""
    environment = {"OMP_NUM_THREADS": str(batch.resources.cores)} | site.environment
    common, rest = common_words([job.command for job in batch.jobs])
    start = shlex.join([*contained(container, batch, environment), *common])
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        f"start={shlex.quote(start)}",
        "units=(",
        *(f"  {shlex.quote(shlex.join(words_of))}" for words_of in rest),
        ")",
        f'eval "exec $start ${{units[{index}]}}"',
        "",
    ]


def contained(container: Container | None, batch: Batch, names: Iterable[str]) -> list[str]:
    """Return the words that start a command in the container of a site; none without one.

    It sees the folder of the study, and the variables of these ``names``.
    """
    if container is None:
        return []
    study = str(batch.folder.parent)
    if container.engine == "apptainer":
        return ["apptainer", "exec", f"--bind={study}", *container.options, container.image]
    seen = [f"--volume={study}:{study}", *(f"--env={name}" for name in names)]
    return [container.engine, "run", "--rm", *seen, *container.options, container.image]


def common_words(commands: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the words that all commands begin with, and the rest of each, at least one word long."""
    same = 0
    while all(len(command) > same + 1 and command[same] == commands[0][same] for command in commands):
        same += 1
    return list(commands[0][:same]), [list(command[same:]) for command in commands]
