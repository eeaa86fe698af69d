"""The page of a published network: what it is, its figures, how to train it again, and notes by hand if any."""

from collections.abc import Sequence
from pathlib import Path


def page(entry: Path, about: str, shown: Sequence[str]) -> str:
    """Return the Markdown page of an ``entry`` of the zoo, which begins with ``about``.

    Of the figures those that are ``shown`` are seen, in this order, and the others linked to.
    """
    drawn = [name for name in shown if (entry / "figures" / name).is_file()]
    others = sorted(path.name for path in (entry / "figures").glob("*.png") if path.name not in drawn)
    pictures = "\n\n".join(f"![{Path(name).stem}](figures/{name})" for name in drawn)
    links = ", ".join(f"[{Path(name).stem}](figures/{name})" for name in others)
    again = (
        "## Again\n\n```sh\npython -m wirecell_ml.train --config-path "
        f"models/{entry.name} --config-name config data.files=FOLDER_OF_ITS_EVENTS\n```"
    )
    notes = (entry / "notes.md").read_text() if (entry / "notes.md").is_file() else ""
    return "\n\n".join([about.rstrip(), "## Figures", pictures, f"Events: {links}", again, notes]).rstrip() + "\n"
