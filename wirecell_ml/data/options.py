"""Options: what the commands of ``python -m wirecell_ml.data`` take, with the examples that their help shows."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

EXAMPLES = {
    "inspect": """
  python -m wirecell_ml.data inspect g4-rec-0.h5                            an HDF5FrameTap file
  python -m wirecell_ml.data inspect g4-rec-0.h5 --truth g4-tru-0.h5        … and how much of the true charge it holds
  python -m wirecell_ml.data inspect clusters-img.npz --truth clusters-tru.npz    … and how many blobs are ghosts
  python -m wirecell_ml.data inspect *.npz --first 1                        one table for each file
  python -m wirecell_ml.data inspect https://example.org/frames.tar.bz2     read where it is
  python -m wirecell_ml.data inspect depos.npz --json | jq .suspicions      for programs: one line of JSON per file""",
    "plot": """
  python -m wirecell_ml.data plot g4-rec-0.h5                               the first event, to g4-rec-0-0.png
  python -m wirecell_ml.data plot g4-rec-0.h5 --event 3 --tag gauss0        one tag of event 3
  python -m wirecell_ml.data plot clusters-img.npz --output blobs.png       blobs in space
  python -m wirecell_ml.data plot frames.npz --detector protodune_vd        with the planes of this detector""",
    "convert": """
  python -m wirecell_ml.data convert g4-rec-0.h5 frames.npz                 HDF5FrameTap to a frame archive
  python -m wirecell_ml.data convert frames.tar.bz2 frames.h5               and back
  python -m wirecell_ml.data convert frames.npz magnify.root --event 3      one event for Magnify
  python -m wirecell_ml.data convert clusters.tar.gz clusters.npz           cluster JSON to numpy arrays
  python -m wirecell_ml.data convert clusters.npz clusters.tar.gz --format 'cluster json'
  python -m wirecell_ml.data convert clusters.npz blobs.zip --format bee    to look at in Bee""",
    "split": """
  python -m wirecell_ml.data split my_files/ --validation 8 --test 8 --seed 1      pairs of g4-rec-*.h5 and g4-tru-*.h5
  python -m wirecell_ml.data split clusters-*.npz --validation 0.1 --test 0.1      a tenth of the events each
  python -m wirecell_ml.train data.files=my_files/ data.split.file=split.json      how a training uses it""",
    "check": """
  python -m wirecell_ml.data check                                          the shipped sample
  python -m wirecell_ml.data check data.files=my_files/ detector=protodune_hd detector.apa=1
  python -m wirecell_ml.data check data.files=my_files/ 'data.tags=[loose_lf0]' 'data.scale=[4000]'
  python -m wirecell_ml.data check experiment=dnnroi_unet_pdsp data.split.file=split.json""",
}

Command = Callable[[Namespace], None]


def parser(about: str, commands: Mapping[str, Command]) -> ArgumentParser:
    """Return the parser of the command line; the docstring of a command is its help."""
    top = ArgumentParser("python -m wirecell_ml.data", None, about, formatter_class=RawDescriptionHelpFormatter)
    adding = top.add_subparsers(required=True, metavar="COMMAND")
    for name, command in commands.items():
        first, _, rest = str(command.__doc__).partition("\n")
        text = "\n".join([first, *(line.strip() for line in rest.splitlines())])
        one = adding.add_parser(
            name,
            help=first[:1].lower() + first[1:].rstrip("."),
            description=text,
            epilog=f"examples:{EXAMPLES[name]}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        one.set_defaults(command=command)
        ADD[name](one)
    return top


def add_inspect(one: ArgumentParser) -> None:
    """Add what ``inspect`` takes."""
    one.add_argument("files", nargs="+", metavar="FILE", help="paths or URLs")
    one.add_argument("--first", type=whole, default=10, metavar="N", help="events to show tables for (10)")
    one.add_argument("--all", action="store_true", help="show tables for all events")
    one.add_argument("--truth", metavar="FILE", help="the true frames or blobs of the same events")
    one.add_argument("--json", action="store_true", help="everything of all events as one line of JSON per file")
    add_detector(one)


def add_plot(one: ArgumentParser) -> None:
    """Add what ``plot`` takes."""
    one.add_argument("file", metavar="FILE", help="path or URL")
    one.add_argument("--event", type=int, metavar="IDENT", help="the event to draw; else the first")
    one.add_argument("--tag", action="append", default=[], help="a frame to draw, may be repeated; else all")
    one.add_argument("--output", type=Path, metavar="PNG", help="file to write; else <file>-<event>.png here")
    add_detector(one)


def add_convert(one: ArgumentParser) -> None:
    """Add what ``convert`` takes."""
    one.add_argument("file", metavar="FILE", help="path or URL to read")
    one.add_argument("output", type=Path, metavar="NEW", help="file to write")
    one.add_argument("--format", metavar="NAME", help="format to write, where the name of the file does not say")
    one.add_argument("--event", type=int, metavar="IDENT", help="the only event to write; else all")
    one.add_argument("--force", action="store_true", help="replace a file that exists")
    one.add_argument(
        "--drift-speed", type=amount, default=1.6, metavar="V", help="mm/µs, for blobs that become points (1.6)"
    )


def add_split(one: ArgumentParser) -> None:
    """Add what ``split`` takes."""
    one.add_argument("files", nargs="+", metavar="FILE", help="files, or folders of them")
    one.add_argument("--validation", type=amount, required=True, metavar="N", help="events, or a fraction below 1")
    one.add_argument("--test", type=amount, required=True, metavar="N", help="events, or a fraction below 1")
    one.add_argument("--seed", type=int, default=1, metavar="S", help="another seed, other events (1)")
    one.add_argument(
        "--output", type=Path, default=Path("split.json"), metavar="JSON", help="file to write (split.json)"
    )
    one.add_argument("--force", action="store_true", help="replace a file that exists")


def add_check(one: ArgumentParser) -> None:
    """Add what ``check`` takes."""
    one.add_argument("settings", nargs="*", metavar="SETTINGS", help="as on the command line of a training")
    one.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="of configs of your own")


def add_detector(one: ArgumentParser) -> None:
    """Add the choice of a detector."""
    one.add_argument(
        "--detector", metavar="NAME", help="file of configs/detector whose planes to use; else the one that fits"
    )


def whole(text: str) -> int:
    """Return a number of events."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text} is no number of events")
    return int(text)


def amount(text: str) -> float:
    """Return a number that is not negative."""
    number = float(text)
    if not 0 <= number < inf:
        raise ArgumentTypeError(f"{text} is no number from 0 on")
    return number


ADD = {
    "inspect": add_inspect,
    "plot": add_plot,
    "convert": add_convert,
    "split": add_split,
    "check": add_check,
}
