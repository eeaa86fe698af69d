"""What a user does before a study: log in where a site asks for it, and replay days of sites."""

from pathlib import Path

from rich.console import Console

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.submit.arguments import Arguments, first_name
from wirecell_ml.submit.ordering import compose_sites, read_sites
from wirecell_ml.submit.study import open_study


def log_in(arguments: Arguments) -> None:
    """Log in at the sites that ask for it."""
    allow(arguments, "site")
    for site in read_sites(compose_sites("submit", arguments)):
        if site.kind != "panda":
            raise ConfigError(f"submit login: site {site.name} of kind {site.kind} asks for no login of ours")
        from wirecell_ml.submit.panda.login import login

        login(site, Console())


def simulate_days(arguments: Arguments) -> None:
    """Replay days of sites, and print how each policy would have done."""
    from wirecell_ml.submit.broker.table import simulate

    given = allow(arguments, "days", "policies", "seeds", "output")
    output = Path(given["output"]).expanduser() if "output" in given else None
    simulate(listed(given.get("days", "")), listed(given.get("policies", "")), int(given.get("seeds", "1")), output)


def record_day(arguments: Arguments) -> None:
    """Write a study that was as a day that can be replayed."""
    from wirecell_ml.submit.broker.recording import record

    given = allow(arguments, "study", "folder", "output")
    if "study" not in given or "output" not in given:
        raise ConfigError("submit record: which study, and where to? Write study=NAME output=DAY.yaml")
    study = open_study(given["study"], Path(given.get("folder", "sweeps")).expanduser())
    record(study.ledger(), study.name, study.sites, Path(given["output"]).expanduser())


def allow(arguments: Arguments, *names: str) -> dict[str, str]:
    """Return the settings of a verb as typed; raises ConfigError for one that it has not."""
    for word in [*arguments.own, *arguments.training]:
        name = first_name(word)
        if name not in names:
            raise ConfigError(f"submit {arguments.verb}: no setting '{name}'.{suggest(name, names)}")
    return {word.partition("=")[0]: word.partition("=")[2] for word in arguments.own}


def listed(text: str) -> list[str]:
    """Return the words of a list as it is typed: [a,b]."""
    return [word.strip() for word in text.strip("[]").split(",") if word.strip()]
