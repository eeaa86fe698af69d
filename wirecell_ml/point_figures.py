"""Figures of neutrino points: events in space, and precision against recall, as PNG files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from numpy.typing import NDArray

from wirecell_ml.figures import NETWORK, QUIET, TRADITIONAL, figure_at

NEUTRINO, COSMIC, UNKNOWN = "#c00030", NETWORK, "#c8c8c8"
SCORES = LinearSegmentedColormap.from_list("score", [COSMIC, "#b9b9c9", NEUTRINO])
VIEW: dict[str, Any] = {"elev": 18, "azim": -62}


def event_display(
    path: Path, title: str, position: NDArray[np.float64], label: NDArray[np.int8], score: NDArray[np.float64]
) -> None:
    """Draw the points of one event coloured by truth and by the network's score; positions (point, 3) are in mm."""
    counts = f"{(label == 1).sum():,} neutrino and {(label == 0).sum():,} cosmic points"
    truth = label.astype(np.float64)
    panels = (("truth", truth, ListedColormap([UNKNOWN, COSMIC, NEUTRINO]), -1), ("network", score, SCORES, 0))
    with figure_at(path, 13.0, 11.0) as figure:
        figure.suptitle(f"{title}: {counts}", fontsize=17)
        for column, (name, values, colors, low) in enumerate(panels):
            order = np.argsort(values, kind="stable")  # neutrinos above
            points = position[order] / 1000
            style: dict[str, Any] = {"c": values[order], "cmap": colors, "vmin": low, "vmax": 1, "s": 6, "lw": 0}
            space: Any = figure.add_subplot(2, 2, column + 1, projection="3d", **VIEW)
            space.scatter(points[:, 2], points[:, 0], points[:, 1], **style)
            space.set(title=name, xlabel="z [m]", ylabel="x at time 0 [m]", zlabel="y [m]")
            plane = figure.add_subplot(2, 2, column + 3)
            plane.scatter(points[:, 2], points[:, 1], **style)
            plane.set(xlabel="z [m]", ylabel="y [m]")
            if name == "network":
                bar = figure.colorbar(ScalarMappable(Normalize(0, 1), SCORES), ax=plane, location="bottom", shrink=0.8)
                bar.set_label("probability of neutrino")
                continue
            for kind, color in (("neutrino", NEUTRINO), ("cosmic", COSMIC), ("not known", UNKNOWN)):
                plane.plot([], [], "o", color=color, label=kind)
            plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, handletextpad=0)


def curves(path: Path, scans: Mapping[str, Any], finders: Mapping[str, Mapping[str, float]], feature: str) -> None:
    """Draw precision against recall, with the points where scores are cut; ``feature`` says which is cut alone."""
    styles = {
        "network": (NETWORK, "o", "network"),
        "one feature": (TRADITIONAL, "s", feature),
        "all neutrino": (QUIET, "v", "all neutrino"),
    }
    with figure_at(path, 7.5, 6.2) as figure:
        axes = figure.subplots()
        for name, (color, marker, text) in styles.items():
            if name in scans:
                axes.plot(scans[name]["recall"], scans[name]["precision"], color=color)
            axes.plot(
                finders[name]["recall"], finders[name]["precision"], marker, color=color, label=text, markersize=9
            )
        axes.set(xlabel="recall of neutrino points", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend(loc="upper right")
