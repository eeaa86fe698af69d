"""The shipped sample as the default config reads it."""

import pytest
from hydra import compose, initialize_config_dir

from wirecell_ml.build import build
from wirecell_ml.data import RoiData
from wirecell_ml.paths import shipped
from wirecell_ml.schema import checked


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> RoiData:
    with initialize_config_dir(str(shipped("configs").absolute()), version_base="1.3"):
        cfg = checked(compose("train", [f"data.cache={tmp_path_factory.mktemp('cache')}"]))
    data: RoiData = build(cfg.data)
    data.prepare_data()
    data.setup()
    return data
