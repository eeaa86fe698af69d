"""The proposer: any sampler by name, each result told once, and a restart that nobody notices."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from wirecell_ml.errors import ConfigError, RunError
from wirecell_ml.hpo.proposer import Proposer, PrunerSettings, SamplerSettings, read_settings
from wirecell_ml.hpo.space import Space
from wirecell_ml.hpo.trial import Params, Trial
from wirecell_ml.paths import shipped

NUMBERS = {"lr": "tag(log, interval(1e-4, 1e-1))", "depth": "interval(1, 9)", "dropout": "range(0, 0.6, 0.1)"}
MIXED: dict[str, Any] = {
    **NUMBERS,
    "optimizer": "adamw, sgd",
    "momentum": {"values": "interval(0.5, 0.99)", "when": {"optimizer": "sgd"}},
    "widths": "choice([12,24], [24,48])",
}
PUBLISHED: Params = {"lr": 5e-3, "depth": 3, "dropout": 0.1, "optimizer": "adamw", "widths": "[24,48]"}
GRID = {"a": "1, 2, 3", "b": "x, y"}
QUICK = SamplerSettings(startup_trials=4, population=4)
NONE = PrunerSettings()


def proposer(
    sweep: dict[str, Any] = MIXED,
    sampler: str = "random",
    pruner: PrunerSettings = NONE,
    trials: int = 10**6,
    objectives: tuple[str, ...] = ("maximize",),
    first: tuple[dict[str, Any], ...] = (),
) -> Proposer:
    named = {f"val/{i}": direction for i, direction in enumerate(objectives)}
    return Proposer(Space.from_settings(sweep, first), named, replace(QUICK, name=sampler), pruner, trials)


def score(params: Params) -> float:
    """Return a number that is 0 at lr=1e-2, depth=5 and below elsewhere."""
    lr, depth = params["lr"], params["depth"]
    assert isinstance(lr, float)
    assert isinstance(depth, int)
    return -abs(math.log10(lr) + 2) - abs(depth - 5) / 4


def ask(source: Proposer) -> tuple[int, Params]:
    asked = source.ask()
    assert asked is not None
    return asked


def played(source: Proposer, count: int) -> list[Trial]:
    trials = []
    for _ in range(count):
        number, params = ask(source)
        trials.append(Trial(number, params, "DONE", {"val/0": score(params)}))
        source.tell(number, "DONE", trials[-1].values)
    return trials


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "nsga2"])
def test_a_sampler_proposes_points_of_the_space(sampler: str) -> None:
    source = proposer(sampler=sampler)
    for i, trial in enumerate(played(source, 12)):
        assert trial.number == i
        assert source.space.check(trial.params, "trial") == trial.params


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "gp"])
def test_a_sampler_finds_more_than_chance(sampler: str) -> None:
    count = 15 if sampler == "gp" else 60
    learned = played(proposer(NUMBERS, sampler), count)[-10:]
    chance = played(proposer(NUMBERS), count)[-10:]
    assert sum(score(trial.params) for trial in learned) > sum(score(trial.params) for trial in chance)


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "grid"])
def test_trials_to_begin_with_come_first(sampler: str) -> None:
    first = ({"a": 2, "b": "y"}, {"a": 1, "b": "x"})
    sweep = {"a": "interval(1, 9)", "b": "x, y"} if sampler == "cmaes" else GRID
    source = proposer(sweep, sampler, first=first)
    assert [ask(source)[1], ask(source)[1]] == list(first)
    assert source.ask() is not None


def test_a_grid_is_proposed_in_order_once_and_goes_on_after_a_restart() -> None:
    source = proposer(GRID, "grid", first=({"a": 2, "b": "x"},))
    points = [ask(source)[1] for _ in range(3)]
    assert points == [{"a": 2, "b": "x"}, {"a": 1, "b": "x"}, {"a": 1, "b": "y"}]
    again = proposer(GRID, "grid", first=({"a": 2, "b": "x"},))
    again.restore([Trial(i, point, "ACTIVE") for i, point in enumerate(points)])
    assert [ask(again)[1] for _ in range(3)] == [{"a": 2, "b": "y"}, {"a": 3, "b": "x"}, {"a": 3, "b": "y"}]
    assert again.ask() is None


def test_no_more_trials_are_proposed_than_the_budget_has() -> None:
    source = proposer(trials=2)
    assert [ask(source)[0], ask(source)[0]] == [0, 1]
    assert source.ask() is None


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_restart_after_each_trial_changes_nothing_that_is_proposed(sampler: str) -> None:
    undisturbed = played(proposer(sampler=sampler, first=(PUBLISHED,)), 30)
    trials: list[Trial] = []
    for i in range(30):
        source = proposer(sampler=sampler, first=(PUBLISHED,))
        source.restore(reversed(trials))
        number, params = ask(source)
        assert (number, params) == (i, undisturbed[i].params)
        trials.append(replace(undisturbed[i], params=params))


def test_a_restart_changes_nothing_while_trials_run() -> None:
    one, other = proposer(sampler="tpe"), proposer(sampler="tpe")
    trials = played(one, 20)
    trials += [Trial(*ask(one), state) for state in ("PROPOSED", "QUEUED", "ACTIVE")]
    other.restore(trials)
    assert other.ask() == one.ask()
    other.tell(21, "DONE", {"val/0": 1.0})
    assert other.study.best_trial.number == 21


def test_cmaes_goes_on_around_the_best_after_a_restart() -> None:
    before = proposer(NUMBERS)
    trials = played(before, 60)
    best = max(trials, key=lambda trial: score(trial.params)).params
    after = proposer(NUMBERS, "cmaes")
    after.restore(trials)
    distances = [abs(math.log10(float(str(ask(after)[1]["lr"])) / float(str(best["lr"])))) for _ in range(10)]
    assert sum(distances) / 10 < 0.5


def test_nsga2_breeds_the_next_generation_after_a_restart() -> None:
    before = proposer(sampler="nsga2")
    after = proposer(sampler="nsga2")
    after.restore(played(before, 16))  # four generations of four
    ask(before)
    ask(after)
    assert [generation(before), generation(after)] == [4, 4]


def generation(source: Proposer) -> int:
    return int(source.study.trials[-1].system_attrs["NSGAIISampler:generation"])


def test_another_seed_proposes_other_trials() -> None:
    one, other = proposer(), proposer()
    other.sampler = replace(other.sampler, seed=2)
    assert ask(one) != ask(other)


def test_what_is_told_twice_counts_once_and_as_it_was_first() -> None:
    source = proposer()
    number, _ = ask(source)
    source.tell(number, "DONE", {"val/0": 0.5})
    source.tell(number, "DONE", {"val/0": 0.9})
    source.tell(number, "FAILED", {})
    assert source.study.trials[number].state == TrialState.COMPLETE
    assert source.study.trials[number].value == 0.5


@pytest.mark.parametrize("values", [{}, {"val/0": math.nan}, {"val/0": math.inf}, {"val/1": 0.5}])
def test_a_result_without_the_objective_is_a_failure(values: dict[str, float]) -> None:
    source = proposer()
    source.tell(ask(source)[0], "DONE", values)
    again = proposer()
    again.restore([Trial(0, source.study.trials[0].params, "DONE", values)])
    for study in (source.study, again.study):
        assert study.trials[0].state == TrialState.FAIL


def test_trials_come_back_as_they_ended() -> None:
    states = ["DONE", "PRUNED", "FAILED", "CANCELLED", "ACTIVE"]
    source = proposer()
    source.restore(Trial(i, PUBLISHED, state, {"val/0": 0.5}, {1: 0.1, 2: 0.2}) for i, state in enumerate(states))
    trials = source.study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "RUNNING"]
    assert [trial.value for trial in trials] == [0.5, 0.2, None, None, None]
    assert trials[0].intermediate_values == {1: 0.1, 2: 0.2}


def test_a_ledger_with_a_gap_or_of_another_space_is_refused() -> None:
    with pytest.raises(RunError, match="no trial 1, but trial 2"):
        proposer().restore([Trial(0, PUBLISHED, "DONE"), Trial(2, PUBLISHED, "DONE")])
    with pytest.raises(ConfigError, match="trial 0: depth=99 is not within"):
        proposer().restore([Trial(0, {**PUBLISHED, "depth": 99}, "DONE")])


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "nsga2"])
def test_several_objectives_have_a_pareto_front(sampler: str) -> None:
    source = proposer(NUMBERS, sampler, objectives=("maximize", "minimize"))
    for _ in range(8):
        number, params = ask(source)
        source.tell(number, "DONE", {"val/1": float(str(params["depth"])), "val/0": score(params)})
    front = source.study.best_trials
    assert 0 < len(front) <= 8
    assert all(trial.values[1] == trial.params["depth"] for trial in front)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"sampler": "tpee"}, "sampler.name: 'tpee' is not known. Did you mean 'tpe'?"),
        ({"pruner": PrunerSettings("medain")}, "pruner.name: 'medain' is not known. Did you mean 'median'?"),
        ({"objectives": ()}, "search.objectives is empty"),
        ({"objectives": ("maximise",)}, "search.objectives.val/0: 'maximise' is not known. Did you mean 'maximize'?"),
        ({"sampler": "grid"}, "search.sweep.lr: a grid wants a finite number of values"),
        ({"sampler": "cmaes", "sweep": GRID}, "sampler=cmaes varies numbers"),
        ({"sampler": "cmaes"}, "sampler=cmaes knows no 'when', which search.sweep.momentum has"),
        ({"sampler": "cmaes", "sweep": NUMBERS, "objectives": ("maximize", "minimize")}, "knows one objective"),
        ({"pruner": PrunerSettings("median"), "objectives": ("maximize", "minimize")}, "compares by one objective"),
        ({"pruner": PrunerSettings("hyperband")}, "pruner.max_epochs: None, but hyperband wants more"),
        ({"pruner": PrunerSettings("halving", reduction_factor=1)}, "pruner.reduction_factor: 1 is below 2"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        proposer(**changed)
    assert expected in str(error.value)


@pytest.mark.parametrize("kind", [SamplerSettings, PrunerSettings])
def test_a_shipped_sampler_or_pruner_is_named_as_its_file(kind: type) -> None:
    group = "sampler" if kind is SamplerSettings else "pruner"
    for path in (shipped("configs") / group).glob("*.yaml"):
        settings: Any = OmegaConf.to_container(OmegaConf.load(path))
        read: Any = read_settings(kind, settings, group)
        assert read.name == path.stem
        proposer(GRID if path.stem == "grid" else NUMBERS, **{group: read.name if group == "sampler" else read})


def test_a_setting_of_a_sampler_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sampler: no setting 'sead'\. Did you mean 'seed'"):
        read_settings(SamplerSettings, {"sead": 1}, "sampler")
    with pytest.raises(ConfigError, match=r"sampler\.seed: Value 'one'"):
        read_settings(SamplerSettings, {"seed": "one"}, "sampler")


PRUNERS = [
    PrunerSettings("median", startup_trials=3, warmup_epochs=2),
    PrunerSettings("halving", startup_trials=3, min_epochs=3, reduction_factor=3),
    PrunerSettings("hyperband", startup_trials=3, min_epochs=3, max_epochs=9, reduction_factor=3),
]


def learning(number: int, level: float, epochs: int, state: str = "DONE") -> Trial:
    progress = {epoch: level * epoch / 9 for epoch in range(1, epochs + 1)}
    return Trial(number, PUBLISHED, state, {"val/0": level}, progress)


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner.name)
def test_a_hopeless_trial_is_pruned_and_a_good_one_is_not(pruner: PrunerSettings) -> None:
    source = proposer(pruner=pruner)
    source.restore(learning(i, 0.5 + i / 100, 9) for i in range(9))
    numbers = {level: ask(source)[0] for level in (0.1, 0.9)}
    for epoch in range(1, 10):
        for level, number in numbers.items():
            source.report(number, epoch, level * epoch / 9)
            if epoch < 3:
                assert not source.should_prune(number)
    assert source.should_prune(numbers[0.1])
    assert not source.should_prune(numbers[0.9])


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner.name)
def test_nothing_is_pruned_before_enough_trials_are_done(pruner: PrunerSettings) -> None:
    source = proposer(pruner=pruner)
    source.restore(learning(i, 0.5, 9) for i in range(2))
    number, _ = ask(source)
    for epoch in range(1, 10):
        source.report(number, epoch, 0.0)
    assert not source.should_prune(number)


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner.name)
def test_a_restart_prunes_what_would_have_been_pruned(pruner: PrunerSettings) -> None:
    undisturbed = proposer(pruner=pruner)
    levels = [0.5, 0.7, 0.4, 0.6, 0.3, 0.8, 0.2, 0.65, 0.35, 0.55]
    told: list[Trial] = []
    decisions = []
    for level in levels:
        number, params = ask(undisturbed)
        trial = replace(learning(number, level, 9), params=params)
        for epoch, value in trial.progress.items():
            undisturbed.report(number, epoch, value)
        undisturbed.tell(number, "DONE", trial.values)
        told.append(trial)
        decisions.append(undisturbed.should_prune(number))
    for i, trial in enumerate(told):
        restarted = proposer(pruner=pruner)
        restarted.restore([*told[:i], replace(trial, state="ACTIVE", progress={})])
        for epoch, value in trial.progress.items():
            restarted.report(i, epoch, value)
        assert restarted.should_prune(i) == decisions[i]
    assert set(decisions) == {True, False}


def test_a_trial_that_was_running_is_judged_by_what_it_reported() -> None:
    source = proposer(pruner=PRUNERS[0])
    source.restore([*(learning(i, 0.5, 9) for i in range(5)), learning(5, 0.1, 4, "ACTIVE")])
    assert source.should_prune(5)


def test_a_mirror_holds_the_study_and_replaces_an_older_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mirror.sqlite'}"
    source = proposer(first=(PUBLISHED,), objectives=("maximize",))
    source.restore([learning(0, 0.5, 3), learning(1, 0.4, 2, "PRUNED"), Trial(2, PUBLISHED, "FAILED")])
    source.mirror(url, "roinet")
    number, params = ask(source)
    source.tell(number, "DONE", {"val/0": 0.75})
    source.mirror(url, "roinet")
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name="roinet", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert (study.best_value, source.space.check(study.best_params, "best")) == (0.75, params)
    assert study.metric_names == ["val/0"]
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/m.sqlite", "postgresql+nodriver://u:secret@127.0.0.1/x"])
def test_a_mirror_that_cannot_be_opened_says_so_without_its_password(url: str) -> None:
    with pytest.raises(RunError, match="mirror: cannot open") as error:
        proposer().mirror(url, "roinet")
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_proposer_starts_without_torch_and_scipy() -> None:
    heavy = "{'torch', 'scipy', 'matplotlib', 'cmaes', 'pandas'}"
    code = f"import sys, wirecell_ml.hpo.proposer; print({heavy} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "set()"
