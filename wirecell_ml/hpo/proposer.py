"""The proposer: Optuna in memory, which says what to try next and what is not worth going on with.

Nothing of it is kept: it is rebuilt from the trials of the ledger. What it proposes as number n depends on the seed,
on n and on the results so far, never on how often it was rebuilt.
"""

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner
from optuna.samplers import NSGAIISampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from wirecell_ml.errors import RunError
from wirecell_ml.hpo.samplers import (
    PRUNERS,
    PrunerSettings,
    SamplerSettings,
    check,
    fresh_sampler,
    read_settings,
    translate,
)
from wirecell_ml.hpo.space import Choices, Parameter, Space, Whole
from wirecell_ml.hpo.trial import ENDED, Params, Scalar, Trial
from wirecell_ml.seeds import derive_seed

__all__ = ["Proposer", "PrunerSettings", "SamplerSettings", "read_settings"]

NAME = "study"  # Hyperband deals trials into brackets by it, so it must not change from one driver to the next
GENERATION = "NSGAIISampler:generation"  # where Optuna notes the generation of a trial
RUNG = "completed_rung_{}"  # where Optuna notes by which value a trial was compared with the others

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Proposer:
    """Asks Optuna for trials and tells it how they ended, each exactly once."""

    def __init__(
        self,
        space: Space,
        objectives: Mapping[str, str],
        sampler: SamplerSettings,
        pruner: PrunerSettings,
        trials: int,
    ) -> None:
        check(space, objectives, sampler, pruner)
        self.space, self.objectives = space, dict(objectives)
        self.sampler, self.pruner = sampler, pruner
        self.trials = trials
        self.asked = 0
        self.done = 0  # trials with a result, which are what pruning compares with
        self.directions = [StudyDirection[way.upper()] for way in self.objectives.values()]
        self.distributions = {p.name: translate(p.distribution) for p in space.parameters}
        self.storage = optuna.storages.InMemoryStorage()
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=NAME,
            directions=self.directions,
            pruner=PRUNERS[pruner.name](pruner),
        )
        self.study_id = self.storage.get_study_id_from_name(NAME)
        self.study.sampler = fresh_sampler(self.sampler, self.seed, self.study)
        self.study.pruner.prune(self.study, create_trial(state=TrialState.RUNNING))  # Hyperband makes its brackets now
        self.planned: Iterator[Params] = itertools.chain(space.first, space.grid() if sampler.name == "grid" else ())
        self.known: set[frozenset[tuple[str, Scalar]]] = set()  # points asked so far
        self.doomed: set[int] = set()

    def restore(self, trials: Iterable[Trial]) -> None:
        """Take over the trials of the ledger: ended ones as they ended, all others as still running."""
        assert not self.asked, "restore comes before the first ask"
        for i, trial in enumerate(sorted(trials, key=lambda trial: trial.number)):
            if trial.number != i:
                raise RunError(f"the ledger has no trial {i}, but trial {trial.number}. Trials are numbered from 0")
            params = self.space.check(trial.params, f"trial {i}")
            state, values = self.outcome(trial.state, trial.values)
            self.add(params, state, values, trial.progress)
        for running in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.judge(running.number)

    def ask(self) -> tuple[int, Params] | None:
        """Return number and parameters of the next trial, None once the budget or the grid is used up."""
        if self.asked >= self.trials:
            return None
        for params in self.planned:
            if frozenset(params.items()) not in self.known:
                return self.add(params, TrialState.RUNNING), params
        if self.sampler.name == "grid":
            return None
        return self.sample()

    @property
    def seed(self) -> int:
        """What the next trial is drawn with."""
        return derive_seed(self.sampler.seed, "sampler", self.asked)

    def sample(self) -> tuple[int, Params]:
        """Return number and parameters of a trial that the sampler chooses."""
        self.study.sampler = fresh_sampler(self.sampler, self.seed, self.study)
        trial = self.study.ask()
        params: Params = {}
        for parameter in self.space.parameters:
            if parameter.active(params):
                params[parameter.name] = suggested(trial, parameter)
        self.count(params)
        return trial.number, params

    def tell(self, number: int, state: str, values: Mapping[str, float]) -> None:
        """Say how a trial ended; what was said first stays."""
        assert state in ENDED
        if self.frozen(number).state.is_finished():
            return
        ended, results = self.outcome(state, values)
        self.study.tell(number, results, ended, skip_if_finished=True)
        self.done += ended == TrialState.COMPLETE

    def report(self, number: int, epoch: int, value: float) -> None:
        """Say what the first objective of a running trial was after ``epoch`` epochs."""
        trial = self.frozen(number)
        if trial.state.is_finished() or epoch in trial.intermediate_values:
            return
        self.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        self.judge(number)

    def should_prune(self, number: int) -> bool:
        """Return whether a trial is not worth going on with."""
        return number in self.doomed

    def judge(self, number: int) -> None:
        """Compare a trial with the others after its newest epoch."""
        hopeless = self.study.pruner.prune(self.study, self.frozen(number))
        if hopeless and self.done >= self.pruner.startup_trials:
            self.doomed.add(number)

    def mirror(self, url: str, name: str) -> None:
        """Write a copy of the study where optuna-dashboard reads it, over an older copy of that ``name``."""
        try:
            storage = optuna.storages.RDBStorage(url)
        except (SQLAlchemyError, ImportError) as error:
            raise RunError(
                f"mirror: cannot open {make_url(url)!r}: {str(error.__cause__ or error).splitlines()[0]}"
            ) from error
        try:
            if name in optuna.get_all_study_names(storage):
                optuna.delete_study(study_name=name, storage=storage)
            copy = optuna.create_study(storage=storage, study_name=name, directions=self.directions)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                copy.set_metric_names(list(self.objectives))
            copy.add_trials(self.study.get_trials(deepcopy=False))
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def add(
        self,
        params: Params,
        state: TrialState,
        values: list[float] | None = None,
        progress: Mapping[int, float] | None = None,
    ) -> int:
        """Put a trial that no sampler chose into the study and return its number."""
        progress = dict(sorted((progress or {}).items()))
        last = list(progress.values())[-1:]
        if state == TrialState.PRUNED and len(self.objectives) == 1 and not any(map(math.isnan, last)):
            values = last or None  # as Optuna itself does
        trial = create_trial(
            params=dict(params),
            distributions={name: self.distributions[name] for name in params},
            state=state,
            values=values,
            intermediate_values=progress,
            system_attrs=self.memory(progress),
        )
        self.study.add_trial(trial)
        self.done += state == TrialState.COMPLETE
        return self.count(params)

    def count(self, params: Params) -> int:
        """Remember a point and return the number of its trial."""
        self.known.add(frozenset(params.items()))
        self.asked += 1
        return self.asked - 1

    def memory(self, progress: Mapping[int, float]) -> dict[str, Any]:
        """Return what Optuna's own code notes in a trial that went this far, which the ledger does not keep."""
        notes: dict[str, Any] = {}
        sampler, pruner = self.study.sampler, self.study.pruner
        if isinstance(sampler, NSGAIISampler):
            notes[GENERATION] = self.done // (sampler.population_size or 1)
        if isinstance(pruner, (SuccessiveHalvingPruner, HyperbandPruner)):
            notes |= self.rungs(progress)
        return notes

    def rungs(self, progress: Mapping[int, float]) -> dict[str, float]:
        """Return the value by which the next trial was compared with the others, after so many epochs each time."""
        bracket = self.bracket(self.asked)
        notes: dict[str, float] = {}
        for epoch, value in progress.items():
            needed = self.pruner.min_epochs * self.pruner.reduction_factor ** (bracket + len(notes))
            if epoch >= needed:
                notes[RUNG.format(len(notes))] = value
        return notes

    def bracket(self, number: int) -> int:
        """Return how often Hyperband skips the first comparison for this trial."""
        if not isinstance(self.study.pruner, HyperbandPruner):
            return 0
        trial = create_trial(state=TrialState.RUNNING)
        trial.number = number
        return self.study.pruner._get_bracket_id(self.study, trial)

    def outcome(self, state: str, values: Mapping[str, float]) -> tuple[TrialState, list[float] | None]:
        """Return Optuna's state of a trial, and its values in the order of the objectives."""
        if state not in ENDED:
            return TrialState.RUNNING, None
        results = [values.get(name, math.nan) for name in self.objectives]
        if state == "DONE" and all(map(math.isfinite, results)):
            return TrialState.COMPLETE, results
        return TrialState.PRUNED if state == "PRUNED" else TrialState.FAIL, None

    def frozen(self, number: int) -> FrozenTrial:
        """Return what Optuna knows of a trial."""
        return self.storage.get_trial(self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number))


def suggested(trial: optuna.Trial, parameter: Parameter) -> Scalar:
    """Return the value that the sampler chooses for a parameter."""
    name, among = parameter.name, parameter.distribution
    if isinstance(among, Choices):
        return trial.suggest_categorical(name, among.options)
    if isinstance(among, Whole):
        return trial.suggest_int(name, among.low, among.high, step=among.step, log=among.log)
    return among.cast(trial.suggest_float(name, among.low, among.high, step=among.step, log=among.log))
