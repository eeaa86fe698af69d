"""The judgement of an attempt: each kind of evidence, and what outweighs what."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecell_ml.submit.states import (
    ATTEMPT_ENDS,
    ATTEMPT_MOVES,
    NOTES,
    UNIT_ENDS,
    UNIT_MOVES,
    AttemptState,
    Evidence,
    JobState,
    Patience,
    UnitState,
    judge,
)

PATIENCE = Patience(lease_s=60, grace_s=10, queue_s=3600, silence_s=600)
RESULT = {"end": "done", "metrics": {}}
A, J = AttemptState, JobState


def noted(kind: str) -> dict[str, str]:
    return {"kind": kind, "message": "said by the runner"}


@pytest.mark.parametrize(
    ("seen", "end"),
    [
        pytest.param(Evidence(result=RESULT, note=noted("crashed")), A.SUCCEEDED, id="a result outweighs a note"),
        pytest.param(Evidence(result=RESULT, answered=False), A.SUCCEEDED, id="a result needs no batch system"),
        pytest.param(Evidence(note=noted("mistake"), job=J.RUNNING), A.FAILED_APP, id="a note outweighs a running job"),
        pytest.param(Evidence(note=noted("crashed"), answered=False), A.FAILED_INFRA, id="a note outweighs silence"),
        pytest.param(Evidence(note=noted("memory")), A.FAILED_INFRA, id="memory ran out"),
        pytest.param(Evidence(note=noted("stopped"), beat_age_s=1), A.CANCELLED, id="stopped by the user"),
        pytest.param(Evidence(note=noted("preempted"), quiet_s=11), A.PREEMPTED, id="pre-empted, and gone"),
        pytest.param(Evidence(note=noted("preempted"), job=J.WAITING, quiet_s=99), None, id="pre-empted, and requeued"),
        pytest.param(Evidence(note=noted("preempted"), quiet_s=9), None, id="pre-empted, maybe to be requeued"),
        pytest.param(Evidence(answered=False, beat_age_s=59, quiet_s=9999), None, id="silence says nothing"),
        pytest.param(Evidence(answered=False, beat_age_s=61), A.LOST, id="silence, and the lease ran out"),
        pytest.param(Evidence(answered=False, silent_s=601), A.LOST, id="silent for too long, and never a word"),
        pytest.param(Evidence(answered=False, beat_age_s=1, silent_s=9999), None, id="silent, and the runner is not"),
        pytest.param(Evidence(job=J.RUNNING, beat_age_s=61, running_s=99), A.LOST, id="the lease ran out"),
        pytest.param(Evidence(job=J.RUNNING, beat_age_s=59), None, id="within its lease"),
        pytest.param(Evidence(job=J.RUNNING, beat_age_s=99, running_s=59), None, id="started again, and yet to speak"),
        pytest.param(Evidence(job=J.RUNNING, running_s=299), None, id="starting"),
        pytest.param(Evidence(job=J.RUNNING, running_s=301), A.LOST, id="started, and never a word"),
        pytest.param(Evidence(job=J.WAITING, waiting_s=3601), A.CANCELLED, id="never started"),
        pytest.param(Evidence(job=J.WAITING, waiting_s=3599), None, id="waiting in the queue"),
        pytest.param(Evidence(job=J.WAITING, beat_age_s=99, waiting_s=3601), None, id="requeued long ago"),
        pytest.param(Evidence(job=J.ENDED, quiet_s=11, beat_age_s=99), A.LOST, id="ended without a word"),
        pytest.param(Evidence(job=J.ENDED, quiet_s=11), A.FAILED_INFRA, id="ended before its runner began"),
        pytest.param(Evidence(job=J.ENDED, quiet_s=9), None, id="ended, with a word maybe on its way"),
        pytest.param(Evidence(job=J.ENDED, quiet_s=11, beat_age_s=3), None, id="ended, it is said, but it lives"),
        pytest.param(Evidence(job=J.OUT_OF_MEMORY, quiet_s=11), A.FAILED_INFRA, id="killed for its memory"),
        pytest.param(Evidence(quiet_s=11, beat_age_s=99), A.LOST, id="vanished"),
    ],
)  # fmt: skip
def test_evidence_is_judged(seen: Evidence, end: AttemptState | None) -> None:
    verdict = judge(seen, PATIENCE)
    assert (verdict and verdict.state) == end


def test_without_a_queue_deadline_a_job_may_wait_for_ever() -> None:
    assert judge(Evidence(job=J.WAITING, waiting_s=1e9), replace(PATIENCE, queue_s=None)) is None


seconds = st.floats(0, 1e6)
evidence = st.builds(
    Evidence,
    result=st.sampled_from([None, RESULT]),
    note=st.sampled_from([None, *map(noted, NOTES)]),
    beat_age_s=st.none() | seconds,
    job=st.sampled_from([None, *JobState]),
    answered=st.booleans(),
    quiet_s=seconds,
    waiting_s=seconds,
)


@given(evidence)
def test_a_result_always_wins(seen: Evidence) -> None:
    verdict = judge(replace(seen, result=RESULT), PATIENCE)
    assert verdict is not None
    assert verdict.state is A.SUCCEEDED


@given(evidence, st.none() | st.floats(0, PATIENCE.lease_s))
def test_without_result_and_note_a_silent_batch_system_ends_nothing_that_lives(
    seen: Evidence, beat_age_s: float | None
) -> None:
    silent = replace(seen, result=None, note=None, answered=False, beat_age_s=beat_age_s)
    assert judge(silent, PATIENCE) is None


@given(evidence)
def test_nothing_succeeds_without_a_result(seen: Evidence) -> None:
    verdict = judge(replace(seen, result=None), PATIENCE)
    assert verdict is None or verdict.state in ATTEMPT_ENDS - {A.SUCCEEDED}


@given(evidence, st.floats(0, PATIENCE.grace_s, exclude_max=True))
def test_a_runner_that_was_just_heard_of_is_not_lost(seen: Evidence, beat_age_s: float) -> None:
    verdict = judge(replace(seen, result=None, note=None, beat_age_s=beat_age_s), PATIENCE)
    assert verdict is None


@given(evidence, seconds)
def test_more_patience_ends_nothing_earlier(seen: Evidence, more_s: float) -> None:
    assert PATIENCE.queue_s
    waits = (PATIENCE.lease_s, PATIENCE.grace_s, PATIENCE.queue_s, 600.0)
    patient = Patience(*(wait_s + more_s for wait_s in waits))
    assert judge(seen, PATIENCE) or not judge(seen, patient)


def test_what_has_ended_moves_no_more() -> None:
    assert not UNIT_ENDS & set(UNIT_MOVES)
    assert not ATTEMPT_ENDS & set(ATTEMPT_MOVES)


def test_everything_that_has_begun_can_end() -> None:
    assert set(UNIT_MOVES) | UNIT_ENDS == set(UnitState)
    assert set(ATTEMPT_MOVES) | ATTEMPT_ENDS == set(AttemptState)
    assert all(moves & UNIT_ENDS for moves in UNIT_MOVES.values())
    assert all(moves & ATTEMPT_ENDS for moves in ATTEMPT_MOVES.values())
