"""A card is read as it was written, tells people all that a job must set, and is refused where it is no card."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from wirecell_ml.deploy.card import FORMAT, Card, markdown, read_card
from wirecell_ml.deploy.finding import Settings
from wirecell_ml.deploy.rules import RULES
from wirecell_ml.errors import DataError

JOB_SETTINGS = sorted(
    ({one.name for one in fields(Settings)} & {one.name for one in fields(Card)})
    | {"sort_chanids", "chan_pad_multiple"}  # what DNNROIFinding has besides
)


@pytest.fixture
def full(card: Card) -> Card:
    """A card with all that an export finds out."""
    values = {"pixel_dice": 0.9512, "roi_purity": 0.8765}
    return replace(
        card,
        tick_pad_multiple=128,
        chan_pad_multiple=4,
        input_scale=1.0,
        input_offset=-0.125,
        scale_inside=[4000.0, 1000.0, 1000.0],
        mask_thresh=0.35,
        training={"commit": "0123abc", "trained": "2026-01-02"},
        metrics={
            "split": "test",
            "events": 12,
            "threshold": 0.35,
            "planes": {"U": {"network": values, "traditional": {name: value / 2 for name, value in values.items()}}},
            "definitions": {name: {"text": f"what {name} means"} for name in values},
        },
        contract=[{"rule": rule, "passed": rule != "chunks", "seen": f"seen of {rule}"} for rule in RULES],
        replay={"file": "dnnroi/event.npz", "planes": {"U": {"charge": 7363095.0, "rois": 17, "ticks": 1234}}},
        limits=["first limit", "second limit"],
    )


def written(card: Card, folder: Path, **change: Any) -> Path:
    """Write a card, some fields changed afterwards; None takes a field away."""
    card.write(folder)
    held = json.loads((folder / "card.json").read_text()) | change
    (folder / "card.json").write_text(json.dumps({name: value for name, value in held.items() if value is not None}))
    return folder / "card.json"


@pytest.mark.parametrize("kind", ["card", "full"])
def test_a_card_is_read_as_it_was_written(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    card: Card = request.getfixturevalue(kind)
    card.write(tmp_path)
    assert read_card(tmp_path / "card.json") == card


def test_card_json_holds_every_field_of_the_card(full: Card, tmp_path: Path) -> None:
    full.write(tmp_path)
    assert json.loads((tmp_path / "card.json").read_text()) == asdict(full)


@pytest.mark.parametrize("text", ["${HOME}", "${oc.env:HOME}", "a ${ b"])
def test_text_of_any_kind_is_kept_as_it_is(card: Card, tmp_path: Path, text: str) -> None:
    odd = replace(card, limits=[text], training={"note": text})
    odd.write(tmp_path)
    assert read_card(tmp_path / "card.json") == odd


def rows(text: str) -> dict[str, list[str]]:
    """Return the other cells of each row of the tables in ``text``, by its first."""
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {first: rest for first, *rest in table}


@pytest.mark.parametrize("setting", JOB_SETTINGS)
def test_people_are_told_every_setting_of_a_job(full: Card, setting: str) -> None:
    texts = {
        "intags": "loose_lfN, mp2_roiN, mp3_roiN",
        "decon_charge_tag": "decon_chargeN",
        "sort_chanids": "true",
    }
    expected = texts[setting] if setting in texts else f"{getattr(full, setting):g}"
    assert rows(markdown(full))[setting][0] == expected


def test_people_are_told_what_the_model_divides_by_itself(full: Card) -> None:
    assert "4000, 1000, 1000" in rows(markdown(full))["input_scale"][1]


def test_people_are_told_the_tag_of_the_result(full: Card) -> None:
    assert "found_here" in markdown(replace(full, outtag="found_here"))


@pytest.mark.parametrize(("ascending", "told"), [(True, "ascending channel idents"), (False, "wire-attachment order")])
def test_people_are_told_the_order_of_rows(card: Card, ascending: bool, told: str) -> None:
    value, why = rows(markdown(replace(card, sort_chanids=ascending)))["sort_chanids"]
    assert value == str(ascending).lower()
    assert told in why


def test_people_are_told_which_rules_hold(full: Card) -> None:
    told = rows(markdown(full))
    assert {rule: told[rule] for rule in RULES} == {
        one["rule"]: ["holds" if one["passed"] else "**broken**", one["seen"]] for one in full.contract
    }


def test_people_are_told_metrics_with_their_definitions(full: Card) -> None:
    text = markdown(full)
    for name, value in full.metrics["planes"]["U"]["network"].items():
        assert f"{value:.4f}" in text
        assert f"- {name}: what {name} means" in text
    assert "12 test events that it never saw, threshold 0.35" in text


def test_people_are_told_that_nothing_was_measured(card: Card) -> None:
    assert "None were measured" in markdown(card)
    assert "## Replay" not in markdown(card)


def test_people_are_told_replay_limits_and_origin(full: Card) -> None:
    text = markdown(full)
    assert f"# {full.name}\n" in text
    assert "| U | 7363095.0 | 17 | 1234 |" in text
    assert all(f"\n- {limit}" in text for limit in full.limits)
    assert all(f"| {name} | `{value}` |" in text for name, value in (full.model | full.training).items())


def test_card_md_is_what_people_are_told(full: Card, tmp_path: Path) -> None:
    full.write(tmp_path)
    assert (tmp_path / "card.md").read_text() == markdown(full)


REQUIRED = [name for name, value in vars(Card()).items() if value == "???"]


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(card: Card, tmp_path: Path, field: str) -> None:
    with pytest.raises(DataError, match=rf"card\.json: no value for {field}\b"):
        read_card(written(card, tmp_path, **{field: None}))


def test_an_unknown_field_is_named(card: Card, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"card\.json: .*mask_treshold"):
        read_card(written(card, tmp_path, mask_treshold=0.5))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mask_thresh", "high"),
        ("planes", "U"),
        ("tick_per_slice", 2.5),
        ("plane_numbers", [0, 1]),
        ("sort_chanids", "so"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(card: Card, tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"card\.json: .*{field}"):
        read_card(written(card, tmp_path, **{field: value}))


def test_a_whole_number_is_taken_where_any_number_is_due(card: Card, tmp_path: Path) -> None:
    assert read_card(written(card, tmp_path, input_scale=1)).input_scale == 1.0


@pytest.mark.parametrize("number", [FORMAT + 1, 0, "one", None])
def test_another_format_is_refused(card: Card, tmp_path: Path, number: object) -> None:
    with pytest.raises(DataError, match=rf"card\.json: no model card of format {FORMAT}"):
        read_card(written(card, tmp_path, format=number))


@pytest.mark.parametrize("content", [b"", b"{", b"# a card", b"\xff\xfe\x00"])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(DataError, match=r"card\.json: no JSON"):
        read_card(tmp_path / "card.json")


@pytest.mark.parametrize("content", ["[]", "1", '"card"', "null", "{}"])
def test_json_that_is_no_card_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(DataError, match=r"card\.json: no model card"):
        read_card(tmp_path / "card.json")


def test_a_missing_card_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"card\.json: no such file"):
        read_card(tmp_path / "card.json")
