"""Tables of an inspection, for the terminal: what a physicist asks of each event, in the units that one thinks in."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from wirecell_ml.data.charge_ratios import ChargeRatio
from wirecell_ml.data.facts import ArrayFacts, BlobFacts, DepoFacts, FrameFacts, PointFacts
from wirecell_ml.data.formats import Format
from wirecell_ml.data.inspection import Inspection, Seen
from wirecell_ml.data.spread import Range, Spread

NODES = {"b": "blobs", "m": "measures", "s": "slices", "a": "activities", "w": "wires"}
WRAPPED = ("columns", "values", "particles")  # columns of text that may be long
LONG, WIDEST, GAP = 40, 1000, 3
MOST_TENSORS = 60  # lines of a tree
PARTICLES = {11: "e−", -11: "e+", 13: "μ−", -13: "μ+", 22: "γ", 211: "π+", -211: "π−", 2212: "p", 2112: "n", 321: "K+"}
NOTHING = "–"

Row = Mapping[str, str]


def opening(place: str, form: Format) -> Text:
    """Return the line above the tables of a file."""
    return Text(f"{place}: {form.name} ({form.title})", "bold")


def verdict(seen: Inspection) -> Text:
    """Return the lines below the tables of a file: how many events it has, and what looks wrong."""
    suspicions = seen.suspicions.all()
    count = f"{seen.num_events} event{'s' * (seen.num_events != 1)}"
    if not suspicions:
        return Text(f"\n{count}, and nothing that looks wrong\n")
    lines = [plain(f"  {one.text()}") for one in suspicions]
    return Text("\n").join([Text(f"\n{count}. What looks wrong:", "bold"), *lines, Text("")])


def event_tables(seen: Seen, width: int) -> Iterator[RenderableType]:
    """Yield the tables of one event, under its title, for a screen of ``width`` letters."""
    facts = seen.facts
    numbers = {"event": facts.ident, "run": facts.run, "subrun": facts.subrun}
    held = ", ".join(f"{name} {number}" for name, number in numbers.items() if number is not None)
    yield Text(f"\n{held}", "bold")
    tables: dict[str, list[Row]] = {
        "frames": [{"frame": tag, **frame_row(frame)} for tag, frame in facts.frames.items()],
        "masks": [
            {"mask": name, "channels": str(mask.channels), "ranges": str(mask.ranges), "ticks masked": str(mask.ticks)}
            for name, mask in facts.masks.items()
        ],
        "depos": [depo_row(facts.depos)] if facts.depos else [],
        "blobs": [{"blobs of": name, **blob_row(graph)} for name, graph in facts.blobs.items()],
        "points": [{"points": name, **point_row(cloud)} for name, cloud in facts.points.items()],
        "tables": [
            {"table": name, "rows": str(table.rows), "columns": columns_text(table.columns)}
            for name, table in facts.tables.items()
        ],
        "arrays": [{"array": name, **array_row(array)} for name, array in facts.arrays.items()],
        "ratios": ratio_rows(seen.ratios),
    }
    yield from (table_of(rows, width) for rows in tables.values() if rows)
    if facts.tensors:
        yield tensor_tree(facts.tensors)


def table_of(rows: Sequence[Row], width: int) -> Table:
    """Return a table of rows with the same keys, which head its columns; turned where it is wider than ``width``."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    if sum(map(width_of, zip(*lines, strict=True))) > width:
        lines = [list(line) for line in zip(*lines, strict=True)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, *cells in zip(*lines, strict=True):
        is_text = not table.columns or name in WRAPPED or any(cell_len(cell) > LONG for cell in cells)
        table.add_column(plain(name), justify="left" if is_text else "right")
    for line in lines[1:]:
        table.add_row(*map(plain, line))
    return table


def width_of(column: Sequence[str]) -> int:
    """Return the width of a column with the gap beside it; long text may be wrapped."""
    return GAP + min(max(map(cell_len, column)), LONG if column[0] in WRAPPED else WIDEST)


def plain(text: str) -> Text:
    """Return text as it is, markup and all; what cannot be printed is escaped, since a stranger may have named it."""
    return Text(text if text.isprintable() else ascii(text))


def frame_row(frame: FrameFacts) -> Row:
    """Return a frame as a row of text."""
    ends = f"{frame.channels[0]}..{frame.channels[1]}" if frame.channels else NOTHING
    runs = f" in {frame.runs} runs" if frame.runs > 1 else ""
    return {
        "channels": f"{ends}{runs}",
        "columns": f"{frame.columns} × {time_text(frame.period_ns)} from {time_text(frame.start_ns)}",
        "unit": {"electrons": "e⁻/tick"}.get(frame.unit, frame.unit),
        "type": frame.dtype,
        **spread_row(frame.values),
    }


def spread_row(values: Spread) -> Row:
    """Return what values are like as cells of text."""
    return {
        "non-zero": f"{values.occupancy:.2%}" if values.occupancy < 1 else "100 %",
        "min": number_text(values.lowest),
        "max": number_text(values.highest),
        "mean": number_text(values.mean),
        "rms": number_text(values.rms),
        "sum": number_text(values.total),
    }


def depo_row(depos: DepoFacts) -> Row:
    """Return depos as a row of text."""
    named = [f"{PARTICLES.get(int(code), code)} {count}" for code, count in depos.particles.items()]
    return {
        "depos": str(depos.depos),
        "priors": str(depos.priors),
        "charge [e⁻]": number_text(depos.charge),
        "x [mm]": range_text(depos.x),
        "y [mm]": range_text(depos.y),
        "z [mm]": range_text(depos.z),
        "t [µs]": range_text(depos.time_ns, 1e-3),
        "zero width": f"{depos.zero_width} ({depos.zero_width_share:.1%} of q)" if depos.zero_width else "none",
        "particles": ", ".join(named[:5]) + (", …" if len(named) > 5 else ""),
    }


def blob_row(graph: BlobFacts) -> Row:
    """Return a cluster graph as a row of text."""
    charge = graph.charge
    return {
        **{name: str(graph.nodes.get(code, 0)) for code, name in NODES.items()},
        "edges": str(sum(graph.edges.values())),
        "charge [e⁻]": number_text(charge.total),
        "zero": str(charge.size - charge.nonzero),
        "NaN": str(charge.nonfinite),
        "slice": f"{range_text(graph.span_ns, 1e-3)} µs",
        "start [µs]": range_text(graph.start_ns, 1e-3),
        "y [mm]": range_text(graph.y),
        "z [mm]": range_text(graph.z),
    }


def point_row(cloud: PointFacts) -> Row:
    """Return a point cloud as a row of text."""
    known = [f"{name} {values_text(values)}" for name, values in cloud.columns.items()]
    return {
        "count": str(cloud.points),
        "edges": str(cloud.edges),
        "x [mm]": range_text(cloud.x),
        "y [mm]": range_text(cloud.y),
        "z [mm]": range_text(cloud.z),
        "charge [e⁻]": number_text(cloud.charge),
        "columns": "; ".join(known),
    }


def array_row(array: ArrayFacts) -> Row:
    """Return an array as a row of text."""
    values = array.values
    return {
        "shape": " × ".join(map(str, array.shape or ())),
        "type": array.dtype or NOTHING,
        "non-zero": f"{values.occupancy:.2%}" if values else NOTHING,
        "min": number_text(values.lowest if values else None),
        "max": number_text(values.highest if values else None),
    }


def ratio_rows(ratios: Sequence[ChargeRatio]) -> list[Row]:
    """Return one row for each pair of found and true charge, with a column for each plane."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    planes = list(dict.fromkeys(one.plane for one in ratios))
    for one in ratios:
        empty = {"Σreco/Σtrue": f"{one.reco} / {one.truth}"} | dict.fromkeys(planes, NOTHING)
        row = rows.setdefault((one.reco, one.truth), empty)
        row[one.plane] = NOTHING if one.ratio is None else f"{one.ratio:.4f}"
        if one.ghosts is not None:
            row["ghosts"] = f"{one.ghosts:.1%}"
    width = max(map(len, rows.values()), default=0)
    return [row for row in rows.values() if len(row) == width]


def tensor_tree(tensors: Mapping[str, ArrayFacts]) -> Tree:
    """Return the tensors as a tree of their datapaths; folders that hold one thing only share a line with it."""
    tree = Tree("tensors")
    shown = dict(list(tensors.items())[:MOST_TENSORS])
    add_below(tree, {tuple(path.strip("/").split("/")): held for path, held in shown.items()})
    if len(tensors) > len(shown):
        tree.add(f"… and {len(tensors) - len(shown)} more")
    return tree


def add_below(tree: Tree, tensors: Mapping[tuple[str, ...], ArrayFacts]) -> None:
    """Add tensors, by the parts of their paths, to a branch of a tree."""
    folders: dict[str, dict[tuple[str, ...], ArrayFacts]] = {}
    for path, held in tensors.items():
        folders.setdefault(path[0], {})[path[1:]] = held
    for name, inside in folders.items():
        while () not in inside and len(below := {path[0] for path in inside}) == 1:
            name, inside = f"{name}/{below.pop()}", {path[1:]: held for path, held in inside.items()}
        own = inside.pop((), None)
        branch = tree.add(plain(f"{name}  {tensor_text(own)}" if own else name))
        if inside:
            add_below(branch, inside)


def tensor_text(tensor: ArrayFacts) -> str:
    """Return what a tensor is, on one line."""
    if tensor.shape is None:
        return tensor.datatype or "no array"
    row = array_row(tensor)
    ends = f", {row['min']}..{row['max']}, {row['non-zero']} non-zero" if tensor.values and tensor.values.size else ""
    return f"{tensor.datatype} {row['shape']} {row['type']}{ends}"


def values_text(values: Range | dict[str, int] | None) -> str:
    """Return the labels of a column with how often each comes, or its range."""
    if isinstance(values, dict):
        return "{" + ", ".join(f"{label}: {count}" for label, count in values.items()) + "}"
    return range_text(values)


def columns_text(columns: Mapping[str, Any]) -> str:
    """Return the names of columns with their types, those of one type together."""
    by_type: dict[str, list[str]] = {}
    for name, kind in columns.items():
        by_type.setdefault(str(kind), []).append(name)
    return "; ".join(f"{', '.join(names)}: {kind}" for kind, names in by_type.items())


def number_text(number: float | None) -> str:
    """Return a number with four digits, whole where it is."""
    if number is None or not isfinite(number):
        return NOTHING
    whole = number == round(number) and abs(number) < 1e6
    return str(round(number)) if whole else f"{number:.4g}"


def range_text(ends: Range | None, scale: float = 1.0) -> str:
    """Return a range, in a unit that is ``1 / scale`` of its own."""
    if ends is None:
        return NOTHING
    low, high = (number_text(float(f"{end * scale:.4g}")) for end in ends)
    return low if low == high else f"{low}..{high}"


def time_text(time_ns: float) -> str:
    """Return a time in the unit that suits it."""
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if abs(time_ns) >= scale:
            return f"{time_ns / scale:g} {unit}"
    return f"{time_ns:g} ns"
