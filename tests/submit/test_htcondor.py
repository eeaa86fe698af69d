"""HTCondor: what is sent, what its words mean, and that the promises of backends are kept on a real pool."""

import pytest

from tests.backend_contract import Contract
from tests.condor_pool import Pool
from wirecell_ml.submit.site import Site


class TestHTCondor(Contract):
    @pytest.fixture
    def site(self, pool: Pool) -> Site:
        return pool.site()
