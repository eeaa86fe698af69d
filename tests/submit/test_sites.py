"""The site files: each is valid, and the template says what must be filled in."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

import wirecell_ml.hpo.settings  # noqa: F401  (registers the types of the settings)
from wirecell_ml.composing import compose, configs
from wirecell_ml.errors import ConfigError
from wirecell_ml.paths import shipped
from wirecell_ml.submit.backend import make_backend
from wirecell_ml.submit.ordering import read_site
from wirecell_ml.submit.site import Site

FILES = sorted((shipped("configs") / "site").glob("*.yaml"))
TEMPLATES = ("aws", "htcondor", "kubernetes", "panda", "pbs", "slurm")  # to copy: ??? is what a user fills in
BLOCKS = {"aws", "htcondor", "kubernetes", "panda"}  # settings of one kind of site
FILLED_IN = {"panda.url": "https://panda.example.org:443", "container.image": "registry/image@sha256:" + 64 * "0"}


def site_of(*overrides: str, folder: Path | None = None) -> DictConfig:
    """Return the site that a command line means, with site files of the user's own in ``folder``."""
    with configs():
        composed = compose("hpo", overrides, [str(folder)] if folder else [])
    assert isinstance(composed.site, DictConfig)
    return composed.site


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_site_is_valid(path: Path) -> None:
    site = read_site(site_of(f"site={path.stem}", *filled_in(path)))
    assert site.name == (path.stem if path.stem not in TEMPLATES else "mine")
    assert make_backend(site).room(site.resources, 0) >= 0


def filled_in(path: Path) -> list[str]:
    """Return a value for everything that a template leaves open."""
    open_settings = OmegaConf.missing_keys(OmegaConf.load(path))
    return [f"site.{name}={FILLED_IN.get(name, 'mine')}" for name in open_settings]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_site_says_what_it_is_before_anything_else(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_names_what_must_be_filled_in(template: str) -> None:
    with pytest.raises(ConfigError, match=r"site: no value for (\S+, )*site\.name"):
        read_site(site_of(f"site={template}"))


def test_the_templates_show_every_setting_of_a_site() -> None:
    shown = {
        name: set(yaml.safe_load((shipped("configs") / "site" / f"{name}.yaml").read_text())) for name in TEMPLATES
    }
    everything = {field.name for field in fields(Site)}
    assert shown["slurm"] == everything - BLOCKS
    assert set().union(*shown.values()) == everything
    for name, settings in shown.items():
        assert settings & BLOCKS == {name} & BLOCKS, f"{name}.yaml has the settings of another kind"


def test_a_setting_that_no_site_has_is_refused() -> None:
    with pytest.raises(ConfigCompositionException, match=r"site\.partitoin"):
        site_of("site=slurm_local", "site.partitoin=gpu")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "site.kind=slrum",
            "site.kind: 'slrum' is not known. Did you mean 'slurm'? "
            "Known here: aws, htcondor, kubernetes, local, panda, pbs, slurm",
        ),
        ("site.resources.cores=0", "site.resources: cores, memory_gb and minutes are at least 1, and gpus at least 0"),
        (
            "site.policy.lease_s=3",
            "site.policy.lease_s=3 is shorter than two heartbeats: living units would count as lost. Write at least 4",
        ),
    ],
)
def test_what_no_site_can_mean_is_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_site(site_of("site=slurm_local", override))
    assert str(caught.value) == said


def test_a_site_of_the_user_s_own_is_as_good_as_ours(tmp_path: Path) -> None:
    write_own(tmp_path, "apptainer")
    site = read_site(site_of("site=mine", "site.container.options=[--nv]", folder=tmp_path))
    assert site.name == "mine"
    assert site.container
    assert (site.container.image, site.container.options) == ("image.sif", ["--nv"])


def test_an_unknown_container_engine_is_named_with_the_near_one(tmp_path: Path) -> None:
    write_own(tmp_path, "aptainer")
    with pytest.raises(ConfigError) as caught:
        read_site(site_of("site=mine", folder=tmp_path))
    assert str(caught.value) == (
        "site.container.engine: 'aptainer' is not known. Did you mean 'apptainer'? "
        "Known here: apptainer, docker, podman"
    )


def write_own(folder: Path, engine: str) -> None:
    """Write a site of the user's own, whose units run in a container."""
    (folder / "site").mkdir()
    text = f"name: mine\nkind: slurm\ncontainer: {{engine: {engine}, image: image.sif}}\n"
    (folder / "site" / "mine.yaml").write_text(text)
