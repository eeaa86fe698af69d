"""What can be done with a study: each verb of ``python -m wirecell_ml.hpo``."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wirecell_ml import cli
from wirecell_ml.composing import as_yaml
from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo import ordering, reporting
from wirecell_ml.hpo.settings import FollowUp
from wirecell_ml.hpo.trial import Trial
from wirecell_ml.hpo.trials import read_trials
from wirecell_ml.submit import running
from wirecell_ml.submit.arguments import Arguments
from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.ledger import Event
from wirecell_ml.submit.ordering import check_words, code_folder, lengthen, rendered
from wirecell_ml.submit.status import picture
from wirecell_ml.submit.study import Study, open_study

SHOWN = 3  # trials of a dry run
NOTHING_DONE = 1  # exit status of a study that ended without a result
WATCH_S = 2.0  # between two pictures of status watch=true


def start(arguments: Arguments) -> None:
    """Order a study and drive it; one of the same name and space goes on."""
    settings = ordering.read_settings(arguments)
    if arguments.show:
        print_out(OmegaConf.to_yaml(settings))
        return
    drafted = ordering.draft(settings, arguments)
    if settings.dry_run:
        show_dry_run(drafted)
        return
    running.check_free(drafted.study, settings.takeover)
    study = ordering.write(drafted)
    study.go_on()
    drive(study, settings.driver, takeover=settings.takeover)


def drive(study: Study, how: str, takeover: bool) -> None:
    """Drive a study as the user wishes."""
    running.drive(study, "wirecell_ml.hpo", how, takeover, lambda: drive_here(study, takeover))


def drive_here(study: Study, takeover: bool) -> None:
    """Drive a study in this process, and report where it comes to its end; exit with 1 where no trial was done."""
    if not running.run_here(study, ordering.work_of(study), lambda: ordering.make_source(study), takeover):
        return
    reporting.write_report(study)
    if not any(trial.state == "DONE" for trial in read_trials(study)):
        cli.stop(f"no trial is done. Look at: hpo why study={study.name} trial=0", NOTHING_DONE)


def show_dry_run(drafted: ordering.Draft) -> None:
    """Print what would be sent for the first trials; nothing is written."""
    study = drafted.study
    study.held.code = str(code_folder(study, drafted.bases))
    work = ordering.work_from(study, drafted.bases)
    source, order = ordering.make_source(study), study.order()
    proposals = [proposal for _ in range(SHOWN) if (proposal := source.ask())]
    for number, params in proposals:
        print_out(f"# units/{number:06d}/params.json\n{OmegaConf.to_yaml(OmegaConf.create(params))}")
    print_out(f"# units/{proposals[0][0]:06d}/config.yaml\n{as_yaml(work.config(proposals[0][1], 0))}")
    for name, site in order.sites.items():
        commands = [work.command(order.box(number), 1, site) for number, _ in proposals]
        batch = Batch.of(study.name, commands, site.resources, order.folder / "jobs")
        print_out(f"# sent to {name}, for the first {len(proposals)} of {study.held.trials} trials\n")
        print_out(rendered(site, batch))


def resume(arguments: Arguments) -> None:
    """Drive a study on, from where its ledger has it; a larger ``trials`` makes it longer."""
    settings = follow_up(arguments, ("study", "folder", "driver", "takeover", "trials"))
    study = find_sweep(settings)
    running.check_free(study, settings.takeover)
    if settings.trials is not None:
        lengthen(study, settings.trials)
        study.save()
    study.go_on()
    drive(study, settings.driver, settings.takeover)


def drive_on(arguments: Arguments) -> None:
    """Drive a study on as it is, even to the end that the user has asked for: what a driver in the background runs."""
    settings = follow_up(arguments, ("study", "folder", "takeover"))
    drive_here(find_sweep(settings), settings.takeover)


def status(arguments: Arguments) -> None:
    """Show how a study stands, once or until it has ended."""
    settings = follow_up(arguments, ("study", "folder", "watch"))
    study = find(settings)
    ledger, console = study.ledger(), Console()
    if not settings.watch:
        console.print(picture(running.status_of(study, ledger)))
        return
    with suppress(KeyboardInterrupt), Live(console=console) as live:
        while True:
            seen = running.status_of(study, ledger)
            live.update(picture(seen))
            if seen.ended >= seen.budget:
                return
            time.sleep(WATCH_S)


def stop(arguments: Arguments) -> None:
    """Ask for the end of a study, from which it can be resumed."""
    settings = follow_up(arguments, ("study", "folder", "how"))
    study = find(settings)
    study.stop(settings.how)
    means = "running trials end first" if settings.how == "finish" else "running trials checkpoint and end"
    print_out(f"study {study.name} will stop: {means}. Go on later with: hpo resume study={study.name}\n")
    if not running.driven(study.ledger().driver(study.name)):
        running.stop_units(study, settings.how)
        print_out("it has no driver now, so nothing new starts; what its units leave is collected by the next one\n")


def why(arguments: Arguments) -> None:
    """Show everything that happened to a trial."""
    settings = follow_up(arguments, ("study", "folder", "trial"))
    study = find(settings)
    trial = one_of(read_trials(study), settings.trial, study)
    print_out(f"trial {trial.number}: {trial.state}, {trial.why}\n")
    print_out(OmegaConf.to_yaml(OmegaConf.create({"parameters": trial.params, "metrics": trial.metrics})))
    ledger, console = study.ledger(), Console()
    console.print(history(ledger.events(study.name, trial.number)))
    for attempt in ledger.attempts(study.name):
        if attempt.number == trial.number and attempt.choice and "sites" in attempt.choice:
            print_out(f"attempt {attempt.attempt} at {attempt.site}: {attempt.choice['why']}\n")
            console.print(choice_table(attempt.choice))
    print_out(f"its files: {study.order().box(trial.number).folder}\n")


def one_of(trials: Sequence[Trial], number: int | None, study: Study) -> Trial:
    """Return the trial of that number; raises ConfigError where there is none."""
    if number is not None and 0 <= number < len(trials):
        return trials[number]
    numbers = f"trials 0 to {len(trials) - 1}" if trials else "no trials yet"
    raise ConfigError(f"trial={'' if number is None else number}: study {study.name} has {numbers}. Write trial=NUMBER")


def history(events: Sequence[Event]) -> Table:
    """Return transitions as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("time", "of", "from", "to", "why"):
        table.add_column(name)
    for event in events:
        when = f"{datetime.fromtimestamp(event.time):%Y-%m-%d %H:%M:%S}"
        of = f"attempt {event.attempt}" if event.attempt else "trial"
        table.add_row(when, of, event.old, event.new, Text(event.why))  # a log line may look like markup
    return table


def choice_table(choice: dict[str, Any]) -> Table:
    """Return what the broker had before it when it chose a site: a column for each that could have been chosen."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    places: dict[str, dict[str, Any]] = choice["sites"]
    table.add_column("known then")
    for name in places:
        table.add_column(name, justify="right")
    for fact in dict.fromkeys(fact for place in places.values() for fact in place):
        table.add_row(
            fact.replace("_s", " s").replace("_", " "), *(known(place.get(fact)) for place in places.values())
        )
    return table


def known(value: object) -> Text:
    """Return a fact in few characters, a dash for nothing."""
    if value is None or value == "":
        return Text("-")
    return Text(f"{value:.4g}" if isinstance(value, float) else str(value))


def report(arguments: Arguments) -> None:
    """Write the report of a study."""
    settings = follow_up(arguments, ("study", "folder", "output"))
    reporting.write_report(find_sweep(settings), Path(settings.output).expanduser() if settings.output else None)


def best(arguments: Arguments) -> None:
    """Write the best trial as an experiment."""
    settings = follow_up(arguments, ("study", "folder", "output"))
    study = find_sweep(settings)
    reporting.write_best(study, Path(settings.output or study.folder / "report" / "best.yaml").expanduser())


def follow_up(arguments: Arguments, known: Sequence[str]) -> FollowUp:
    """Return the settings of a verb about a study that there is; raises ConfigError for any other."""
    for word in [*arguments.own, *arguments.training]:
        name = word.partition("=")[0]
        if name not in known:
            raise ConfigError(f"hpo {arguments.verb}: no setting '{name}'.{suggest(name, known)}")
    given = OmegaConf.merge(OmegaConf.structured(FollowUp), OmegaConf.from_dotlist(list(arguments.own)))
    assert isinstance(given, DictConfig)
    if OmegaConf.is_missing(given, "study"):
        raise ConfigError(f"hpo {arguments.verb}: which study? Write study=NAME")
    check_words(given)
    settings = OmegaConf.to_object(given)
    assert isinstance(settings, FollowUp)
    return settings


def find(settings: FollowUp) -> Study:
    """Return the study that the settings name."""
    return open_study(settings.study, Path(settings.folder).expanduser())


def find_sweep(settings: FollowUp) -> Study:
    """Return the study that the settings name; raises ConfigError for one that has no search space."""
    study = find(settings)
    if "search" not in study.held:
        raise ConfigError(
            f"study={study.name} is no sweep but one training. Write: python -m wirecell_ml.submit resume "
            f"study={study.name}"
        )
    return study


def print_out(text: str) -> None:
    """Print text as it is."""
    sys.stdout.write(text)
