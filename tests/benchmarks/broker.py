"""How long the simulator takes, and how the broker does on days drawn at random: python -m tests.benchmarks.broker

The days have seeds that nothing was tuned on.
"""

import time

from rich.console import Console

from wirecell_ml.submit.broker.policies import make_policy
from wirecell_ml.submit.broker.scenarios import Scenario, SiteDay, random_scenario
from wirecell_ml.submit.broker.simulation import Simulation
from wirecell_ml.submit.broker.table import compared, table, verdict

SEEDS = range(2000, 2008)
POLICIES = ("broker", "pull", "round robin", "random")


def large() -> Scenario:
    """Return the study of 10 000 units at 20 sites."""
    sites = {f"site{n}": SiteDay(speed=0.5 + 0.05 * n, slots={0: 40}, wait_s={0: 60.0 * (1 + n)}) for n in range(20)}
    return Scenario("large", "10 000 units at 20 sites", seed=1, units=10_000, sites=sites)


def main() -> None:
    """Print the time of a large day, and the table of the random ones."""
    console, day = Console(), large()
    begin = time.perf_counter()
    ended = Simulation(day, make_policy("broker", day)).run()
    seconds = time.perf_counter() - begin
    console.print(f"{day.about}: {ended.seconds / 3600:.1f} h simulated in {seconds:.0f} s")
    comparisons = list(compared([random_scenario(seed) for seed in SEEDS], POLICIES))
    console.print(table(comparisons))
    console.print(verdict(comparisons))


if __name__ == "__main__":
    main()
