"""What a site that is asked answers, where not all of it can be had."""

from collections.abc import Collection
from pathlib import Path

import pytest

from wirecell_ml.submit.asking import Question, ask
from wirecell_ml.submit.backend import Expired, Refused, Unavailable
from wirecell_ml.submit.local import Local
from wirecell_ml.submit.post import make_post
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

ENDED = "study-0a1b2c-0"


class Wordless(Local):
    """A site that knows its jobs, and not what they have printed."""

    def __init__(self, site: Site, error: Exception) -> None:
        super().__init__(site)
        self.error, self.wanted = error, list[str]()

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        return dict.fromkeys(tokens, JobState.ENDED)

    def fetch(self, tokens: Collection[str], folder: Path) -> None:  # noqa: ARG002
        self.wanted += tokens
        raise self.error


@pytest.mark.parametrize("error", [Unavailable("timed out"), Expired("log in again"), Refused("forbidden")])
def test_a_site_whose_logs_do_not_come_is_not_silent_and_asked_for_them_again(tmp_path: Path, error: Exception) -> None:
    site = Site(name="here", kind="local")
    asked = Question(frozenset([ENDED]), {}, {}, frozenset(), tmp_path, None)
    answer = ask(Wordless(site, error), make_post(site), asked)
    assert answer.silence == ""
    assert answer.jobs == {ENDED: JobState.ENDED}
    assert answer.fetched == frozenset()


def test_logs_that_came_are_not_asked_for_again(tmp_path: Path) -> None:
    site = Site(name="here", kind="local")
    asked = Question(frozenset([ENDED]), {}, {}, frozenset([ENDED]), tmp_path, None)
    backend = Wordless(site, Unavailable("timed out"))
    ask(backend, make_post(site), asked)
    assert backend.wanted == []
