"""Optuna as the source of units: what the driver asks, and tells."""

from collections.abc import Sequence
from typing import Any

from wirecell_ml.hpo.proposer import Proposer
from wirecell_ml.hpo.trials import trial_of
from wirecell_ml.submit.ledger import Unit

LEARNERS = ("tpe", "gp", "cmaes", "nsga2")  # samplers whose proposals depend on earlier results


class OptunaSource:
    """Proposals of a sampler; it is rebuilt from the ledger, and lives in memory only."""

    def __init__(self, proposer: Proposer, sampler: str) -> None:
        self.proposer = proposer
        self.learns = sampler in LEARNERS

    def restore(self, units: Sequence[Unit]) -> None:
        """Let the sampler know what was proposed before, and how it ended."""
        self.proposer.restore([trial_of(unit) for unit in units])

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Return the next proposal."""
        proposal = self.proposer.ask()
        return None if proposal is None else (proposal[0], dict(proposal[1]))

    def tell(self, unit: Unit) -> None:
        """Tell the sampler, once, how a unit ended."""
        trial = trial_of(unit)
        self.proposer.tell(trial.number, trial.state, trial.values)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Tell the pruner how a unit is doing."""
        self.proposer.report(number, epoch, value)

    def should_prune(self, number: int) -> bool:
        """Return whether the pruner would end a unit."""
        return self.proposer.should_prune(number)
