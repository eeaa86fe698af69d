"""The backends of this machine and of Slurm keep the promises, on the real things."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.backend_contract import SLOW, SMALL, Contract, QueueContract, batch_of, tokens, units, values, written
from tests.cluster import Cluster
from tests.sweeping import wait_for
from wirecell_ml.submit.backend import Refused, make_backend
from wirecell_ml.submit.local import memory_gb, num_cores
from wirecell_ml.submit.site import Site


class TestLocal(Contract):
    @pytest.fixture
    def site(self) -> Site:
        return Site(name="here", kind="local")

    def test_a_program_that_is_not_there_is_refused(self, site: Site, tmp_path: Path) -> None:
        with pytest.raises(Refused, match=r"no-such-program contract-[0-9a-f]+-0: No such file"):
            make_backend(site).submit(batch_of(tmp_path, [["no-such-program"]]))

    @pytest.mark.parametrize("whole", [{"cores": num_cores()}, {"memory_gb": memory_gb()}])
    def test_one_unit_can_take_the_whole_machine(self, site: Site, tmp_path: Path, whole: dict[str, Any]) -> None:
        _, batch = units(tmp_path, 1, replace(SMALL, **whole))
        backend = make_backend(replace(site, environment=SLOW))
        backend.submit(batch)
        wait_for(lambda: backend.states(tokens(batch)) != {}, 120)
        assert make_backend(site).room(SMALL, 0) == 0, "another driver sees it, too"
        backend.cancel(tokens(batch))
        wait_for(lambda: backend.states(tokens(batch)) == {}, 120)

    def test_each_unit_has_gpus_of_its_own(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
        tell = [sys.executable, "-c", values("CUDA_VISIBLE_DEVICES")]
        commands = [[*tell, str(tmp_path / name)] for name in ("0", "1")]
        backend = make_backend(site)
        backend.submit(batch_of(tmp_path, commands, replace(SMALL, gpus=1)))
        assert [written(tmp_path / "0"), written(tmp_path / "1")] == [["6"], ["7"]]

    def test_more_gpus_than_are_free_are_refused(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
        with pytest.raises(Refused, match="3 GPUs"):
            make_backend(site).submit(batch_of(tmp_path, [["true"]] * 3, replace(SMALL, gpus=1)))


class TestSlurm(QueueContract):
    @pytest.fixture
    def site(self, slurm: Cluster) -> Site:
        return Site(name="cluster", kind="slurm", partition="cpu", environment={"SLURM_CONF": str(slurm.conf)})

    def test_a_partition_that_is_not_there_is_refused(self, site: Site, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="invalid partition"):
            make_backend(replace(site, partition="nowhere")).submit(batch_of(tmp_path, [["true"]]))
