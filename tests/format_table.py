"""The table of docs/formats.md: every format, what it can do, and what was tried with it.

  python -m tests.format_table                        the registry and the round trips anew, other numbers as they were
  python -m tests.format_table shared=FOLDER          with the events of every file below a folder
  python -m tests.format_table fuzz=FUZZ.json         with what `python -m tests.fuzz json=FUZZ.json` counted

The numbers are kept in docs/formats.json, from which the table can be written again without the files.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from tests.fuzz import test_modules
from tests.reading import ReaderContract, same
from wirecell_ml.data import readers
from wirecell_ml.data.formats import Format
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

DOCS = Path(__file__).parents[1] / "docs"
PAGE, NUMBERS = DOCS / "formats.md", DOCS / "formats.json"
START, END = "<!-- the table: python -m tests.format_table -->\n", "<!-- end of the table -->\n"
COLUMNS = ("format", "written by", "holds", "suffixes", "read", "write", "round trip", "events of real files")
FUZZED = ("fuzzed: refused", "fuzzed: read", "fuzzed: failed")
SETTINGS = {"shared": "", "fuzz": ""}

Numbers = dict[str, dict[str, Any]]  # by format


@dataclass(frozen=True)
class Opened:
    """What came of one file below the folder."""

    name: str  # below the folder
    format: str  # empty where none knows it
    events: int
    fault: str  # empty where it was read to its end


def main() -> None:
    """Do what the command line asks for, and write the page and its numbers."""
    settings = SETTINGS | dict(argument.split("=", 1) for argument in sys.argv[1:])
    if unknown := set(settings) - set(SETTINGS):
        sys.exit(f"no setting {', '.join(sorted(unknown))}. Known here: {', '.join(SETTINGS)}")
    numbers = json.loads(NUMBERS.read_text()) if NUMBERS.is_file() else {}
    trips = round_trips()
    numbers = {one.name: numbers.get(one.name, {}) | {"round_trip": trips.get(one.name)} for one in readers.formats()}
    if settings["shared"]:
        count_events(numbers, Path(settings["shared"]))
    if settings["fuzz"]:
        for tally in json.loads(Path(settings["fuzz"]).read_text()):
            numbers[tally["format"]]["fuzz"] = fuzz_counts(tally)
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")
    PAGE.write_text(renewed(PAGE.read_text(), numbers))


def round_trips() -> dict[str, str]:
    """Return, by format, what came of writing the events of its contract tests under every suffix and reading them."""
    found: dict[str, str] = {}
    for contract in contracts():
        with tempfile.TemporaryDirectory() as folder:
            name, said = contract.format().name, round_trip(contract, Path(folder))
        found[name] = said if found.get(name, "equal") == "equal" else found[name]
    return found


def contracts() -> Iterator[ReaderContract]:
    """Yield the contract tests of all formats."""
    for module in test_modules():
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, ReaderContract) and kind is not ReaderContract:
                yield kind()


def round_trip(contract: ReaderContract, folder: Path) -> str:
    """Return "equal", or the suffix under which events did not come back as they were."""
    expected = contract.events()
    for path, suffix in zip(contract.written(folder), contract.format().suffixes, strict=True):
        if not same(list(contract.format().read(Source.of(path))), expected):
            return f"differs under {suffix}"
    return "equal"


def count_events(numbers: Numbers, folder: Path) -> None:
    """Put the files and events below a folder into ``numbers``, by format, and print what came of each file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [opened(path, folder) for path in track(paths, "reading", console=Console(stderr=True))]
    for name, row in numbers.items():
        mine = [one for one in found if one.format == name]
        row["files"], row["events"] = len(mine), sum(one.events for one in mine)
        row["not_read_to_the_end"] = sum(bool(one.fault) for one in mine)
    table = Table(Column("file", overflow="fold"), "format", "events", Column("fault", overflow="fold"))
    for one in found:
        table.add_row(one.name, one.format, str(one.events) if one.format else "", one.fault)
    Console().print(table)


def opened(path: Path, folder: Path) -> Opened:
    """Return what comes of opening one file through the door and reading all of it."""
    name, form, events = str(path.relative_to(folder)), "", 0
    try:
        file = readers.open(path)
        form = file.format.name
        for _ in file:
            events += 1
    except DataError as error:
        return Opened(name, form, events, str(error).replace(str(path), path.name))
    return Opened(name, form, events, "")


def fuzz_counts(tally: dict[str, Any]) -> dict[str, int]:
    """Return what the page shows of the mutated files of a format."""
    return {"refused": tally["refused"], "read": tally["read"], "failed": sum(tally["failures"].values())}


def renewed(page: str, numbers: Numbers) -> str:
    """Return a page with its table written anew, and everything else as it was."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n{table(numbers)}\n{END}{rest.partition(END)[2]}"


def table(numbers: Numbers) -> str:
    """Return the table, from the registry of formats and the ``numbers`` that were counted before."""
    head = (*COLUMNS, *FUZZED, "lost on writing")
    lines = [line(head), "|" + "".join("---:|" if name in FUZZED else "---|" for name in head)]
    lines += [line(row(form, numbers.get(form.name, {}))) for form in readers.formats()]
    return "\n".join(lines) + "\n"


def line(cells: tuple[str, ...]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(cells)} |"


def row(form: Format, counted: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of one format."""
    about = (form.name, form.title, ", ".join(form.kinds), " ".join(f"`{suffix}`" for suffix in form.suffixes))
    fuzz = counted.get("fuzz", {})
    return (
        *about,
        "yes",
        "yes" if form.write else "no",
        (counted.get("round_trip") or "not tried") if form.write else "",
        f"{counted['events']:,} in {counted['files']} file{'s' * (counted['files'] > 1)}"
        if counted.get("files")
        else "",
        *(f"{fuzz[name]:,}" if fuzz else "" for name in ("refused", "read", "failed")),
        form.loses,
    )


if __name__ == "__main__":
    main()
