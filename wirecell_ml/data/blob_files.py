"""Blob files: the true and the solved blobs of one imaging job, found by name and paired blob by blob."""

import fnmatch
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import readers
from wirecell_ml.data.blob_features import make_sample
from wirecell_ml.data.blob_sample import BlobEvent, BlobTruth
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.bundle import inner_files
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

REMOVED = -1.0  # charge of a blob that deghosting removed


@dataclass(frozen=True)
class Names:
    """How the files of a job are called; ``*`` is the name of the job, the same in all of them."""

    truth: str  # cluster file whose blobs hold true charge
    solved: str  # cluster file whose blobs hold solved charge, after Wire-Cell's own deghosting
    chain: str | None = None  # npz of truth_<ident> (blob, 4), the last the charge after the full chain of deghosting
    particles: str | None = None  # JSON of the generator truth, which says the category of each event

    def job(self, truth: str) -> str | None:
        """Return the name of the job whose truth file is called ``truth``; None where it is called otherwise."""
        if not fnmatch.fnmatchcase(truth, self.truth):
            return None
        before, _, after = self.truth.partition("*")
        return truth[len(before) : len(truth) - len(after)]


class Job(NamedTuple):
    """One imaging job: a truth file with its partners beside it, or a bundle that holds both."""

    path: Path
    bundled: bool


def find_jobs(files: str | Sequence[str], names: Names) -> list[Job]:
    """Return the jobs of ``files`` (folders, globs, files), each once; raises DataError where there are none."""
    places = [files] if isinstance(files, str) else files
    paths = {path.resolve(): path for place in places for path in expand(Path(place).expanduser())}
    loose = [Job(path, bundled=False) for path in paths.values() if names.job(path.name) is not None]
    jobs = loose or [Job(path, bundled=True) for path in paths.values() if is_bundle(path)]
    if not jobs:
        raise DataError(
            f"{', '.join(map(str, places))}: no file called {names.truth}, and no archive that could hold one. "
            "Set data.truth and data.solved to what yours are called"
        )
    return sorted(jobs, key=lambda job: (len(job.path.name), job.path.name))


def expand(path: Path) -> list[Path]:
    """Return the files that one path stands for: itself, those of a folder, or those that fit a pattern."""
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.is_file())
    if any(sign in path.name for sign in "*?["):
        return sorted(path.parent.glob(path.name))
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    return [path]


def is_bundle(path: Path) -> bool:
    """Tell by its name whether a file may be a tar that holds others."""
    return ".tar" in path.suffixes


def read_job(job: Job, names: Names) -> Iterator[BlobEvent]:
    """Yield the events of a job; raises DataError where its files do not fit together."""
    truth, solved = (inner_pair if job.bundled else loose_pair)(job.path, names)
    name = names.job(truth.name)
    assert name is not None
    chain = read_chain(beside(job.path, names.chain, name))
    categories = read_categories(beside(job.path, names.particles, name))
    charges = {ident: (graph.ident, graph.charge) for ident, graph in graphs(solved)}
    for ident, graph in graphs(truth):
        if ident not in charges:
            raise DataError(f"{solved}: no event {ident}, which is in {truth.name}. Give files of the same job")
        found = by_ident(graph.ident, *charges[ident], where=f"{solved}: event {ident}")
        full = by_ident(graph.ident, *chain[ident], where=f"{job.path}: event {ident}") if ident in chain else None
        yield BlobEvent(ident, categories.get(ident, "all"), make_sample(graph, found), make_truth(graph, found, full))


def loose_pair(path: Path, names: Names) -> tuple[Source, Source]:
    """Return the truth file and the solved file beside it."""
    solved = beside(path, names.solved, str(names.job(path.name)))
    assert solved
    return Source.of(path), Source.of(solved)


def inner_pair(path: Path, names: Names) -> tuple[Source, Source]:
    """Return the truth file and the solved file that a bundle holds."""
    held: dict[str, Source] = {}
    for inner in inner_files(path):
        if any(fnmatch.fnmatchcase(inner.name, pattern) for pattern in (names.truth, names.solved)):
            held[inner.name] = inner
    truth = next((name for name in held if names.job(name) is not None), None)
    solved = names.solved.replace("*", str(names.job(truth or "")))
    if truth is None or solved not in held:
        raise DataError(f"{path}: holds no {names.truth} with its {names.solved}. Set data.truth and data.solved")
    return held[truth], held[solved]


def beside(path: Path, pattern: str | None, job: str) -> Path | None:
    """Return the file of a job beside another; None where the settings name none."""
    return path.with_name(pattern.replace("*", job)) if pattern else None


def graphs(source: Source) -> Iterator[tuple[int, BlobGraph]]:
    """Yield ident and graph of each event of a cluster file that has blobs; raises DataError where it is no such."""
    for event in readers.open(source):
        if len(event.blobs) != 1:
            raise DataError(f"{source}: event {event.ident} holds {len(event.blobs)} graphs of blobs; expected one")
        ((_, graph),) = event.blobs.items()
        if len(graph):
            yield event.ident, graph


def by_ident(
    wanted: NDArray[np.int64], idents: NDArray[np.int64], charge: NDArray[Any], where: str
) -> NDArray[np.float64]:
    """Return the charge of each wanted blob, ``REMOVED`` for one that is not among ``idents``."""
    if not len(idents):
        return np.full(len(wanted), REMOVED)
    order = np.argsort(idents, kind="stable")
    if (idents[order][1:] == idents[order][:-1]).any():
        raise DataError(f"{where}: two blobs have one ident; blobs of truth and solution pair by ident")
    if not np.isin(idents, wanted).all():
        raise DataError(f"{where}: {np.setdiff1d(idents, wanted)[0]} is no blob of the truth. Give files of one job")
    places = np.minimum(np.searchsorted(idents, wanted, sorter=order), len(idents) - 1)
    rows = order[places]
    return np.where(idents[rows] == wanted, charge[rows], REMOVED)


def make_truth(graph: BlobGraph, solved: NDArray[np.float64], chain: NDArray[np.float64] | None) -> BlobTruth:
    """Return what is true of the blobs of a graph, and what Wire-Cell says."""
    corners = graph.nodes["b"][:, -24:].reshape(len(graph), 12, 2)
    centre = corners.sum(axis=1) / np.maximum(graph.column("b", "ncorners"), 1)[:, None]
    start_us = graph.column("b", "start")[:, None] / 1000
    return BlobTruth(
        ident=graph.ident,
        position=np.concatenate([start_us, centre], axis=1).astype(np.float32),
        charge=graph.charge.astype(np.float32),
        solved=np.nan_to_num(solved).astype(np.float32),
        chain=np.full(len(graph), np.nan, np.float32) if chain is None else chain.astype(np.float32),
    )


def read_chain(path: Path | None) -> dict[int, tuple[NDArray[np.int64], NDArray[Any]]]:
    """Return idents and charges of the blobs after the full chain, by event; nothing where there is no file."""
    if path is None or not path.is_file():
        return {}
    held = {}
    for event in readers.open(path):
        table = event.arrays.get("truth")
        if table is None or table.ndim != 2 or table.shape[1] != 4:
            raise DataError(f"{path}: event {event.ident}: expected an array truth_{event.ident} of (blob, 4)")
        held[event.ident] = (table[:, 0].astype(np.int64), table[:, 3])
    return held


def read_categories(path: Path | None) -> dict[int, str]:
    """Return the category of each event by its ident; nothing where there is no file."""
    if path is None or not path.is_file():
        return {}
    try:
        return {int(ident): str(event["category"]) for ident, event in json.loads(path.read_text()).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected JSON of {{ident: {{category: …}}}} ({error})") from error


def companions(job: Job, names: Names) -> Iterable[Path]:
    """Return every file beside a job that its events may be read from."""
    patterns = [pattern for pattern in (names.truth, names.solved, names.chain, names.particles) if pattern]
    return [job.path, *sorted(path for pattern in patterns for path in job.path.parent.glob(pattern))]
