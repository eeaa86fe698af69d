"""Secrets of a user are nowhere but where the user keeps them: canaries are planted, and nobody finds one."""

import base64
import gzip
import io
import json
import os
import sqlite3
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from configparser import ConfigParser
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sql
import yaml

from tests.canary import User, canaries, forms, forms_of, found_below, found_in, signature, watching
from tests.cluster import Cluster
from tests.condor_pool import Pool
from tests.idds_server import running_server
from tests.kubernetes_cluster import KubernetesCluster
from tests.object_store import make_bucket, object_store
from tests.panda_pilot import pilots_of
from tests.panda_standin import standin_at
from tests.sweeping import check_exactly_once, order
from wirecell_ml.submit.study import LEDGER_VARIABLE, Study

TRIALS = 2


def packed_as(how: str, text: bytes, folder: Path) -> bytes:
    """Return a text as it may be hidden in what programs leave."""
    written = io.BytesIO()
    if how == "gzip":
        return gzip.compress(text)
    if how == "json":
        return json.dumps({"a": [{"b": text.decode()}]}).encode()
    if how == "zip":
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", text)
    if how == "tar.gz in tar":
        inner = packed_as("tar", text, folder)
        return packed_as("tar", gzip.compress(inner), folder)
    if how == "tar":
        with tarfile.open(fileobj=written, mode="w") as tar:
            member = tarfile.TarInfo("a")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    if how == "sqlite":
        with closing(sqlite3.connect(folder / "a.sqlite")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE a (b)")
            connection.execute("INSERT INTO a VALUES (?)", ["x" * 4050 + text.decode() + "x" * 9000])  # over two pages
            connection.commit()
        return (folder / "a.sqlite").read_bytes()
    return written.getvalue()


@pytest.mark.parametrize("how", ["json", "gzip", "zip", "tar", "tar.gz in tar", "sqlite"])
def test_a_canary_is_found_in_every_form_and_however_it_is_packed(how: str, tmp_path: Path) -> None:
    planted = canaries(("A", "B"))
    for name, form in forms_of(planted["A"]).items():
        assert f"A, {name}" in found_in(
            packed_as(how, b"before " + form.encode() + b" after", tmp_path), forms(planted)
        )
        (tmp_path / "a.sqlite").unlink(missing_ok=True)
    assert found_in(packed_as(how, b"of neither", tmp_path), forms(planted)) == set()


def test_a_canary_is_found_at_every_place_of_a_text_in_base64_and_in_the_names_of_files(tmp_path: Path) -> None:
    planted = canaries(("A",))
    for before in range(6):
        text = b"-" * before + planted["A"].encode() + b"after"
        assert found_in(base64.b64encode(text), forms(planted))
        assert found_in(base64.urlsafe_b64encode(text), forms(planted))
    (tmp_path / planted["A"][::-1].replace("/", "")).touch()
    assert found_below(tmp_path, {planted["A"].split("/")[0][::-1].encode(): "A"}) != (set(), 1)


@dataclass
class Place:
    """Where units run, what its users keep secret beside the canaries, and what everybody sees there."""

    order: Callable[..., Study]
    secrets: dict[str, str]
    environment: dict[str, str]
    listing: Callable[[], str]
    inherits: bool  # whether units are processes of the user on the user's own machine


def locally(folder: Path) -> Place:
    def listing() -> str:
        return str([process.info for process in psutil.process_iter(["cmdline"])])

    return Place(lambda *words, name: order(folder, *words, name=name), {}, {}, listing, inherits=True)


def through_slurm(cluster: Cluster, folder: Path) -> Place:
    def listing() -> str:
        queue = cluster.ask("squeue", "--all", "--array", "--states=all", "--format=%all")
        return (
            queue
            + cluster.ask("squeue", "--all", "--states=all", "--Format=ALL")
            + cluster.ask("scontrol", "--details", "show", "job")
            + "".join(path.read_text(errors="replace") for path in (cluster.conf.parent / "state").glob("hash.*/*/*"))
        )

    return Place(lambda *words, name: cluster.order(folder, name, *words), {}, {}, listing, inherits=False)


def through_condor(pool: Pool, folder: Path) -> Place:
    def listing() -> str:
        return pool.ask("condor_q", "-all", "-long") + pool.ask("condor_history", "-long", "-limit", "50")

    return Place(lambda *words, name: pool.order(folder, name, *words), {}, {}, listing, inherits=False)


def in_kubernetes(cluster: KubernetesCluster, folder: Path) -> Place:
    login = yaml.safe_load(cluster.kubeconfig.read_text())["users"][0]["user"]["token"]

    def listing() -> str:
        return json.dumps([cluster.jobs(""), cluster.ask("GET", "/api/v1/namespaces/default/pods")])

    return Place(
        lambda *words, name: cluster.order(folder, name, *words), {"kubeconfig": login}, {}, listing, inherits=False
    )


def with_a_ledger_elsewhere(address: str, folder: Path) -> Place:
    password = sql.make_url(address).password
    assert password

    def listing() -> str:
        engine = sql.create_engine(address, poolclass=sql.NullPool)
        with engine.connect() as connection:
            tables = sql.inspect(engine).get_table_names()
            return str([list(connection.execute(sql.text(f"SELECT * FROM {name}"))) for name in tables])  # noqa: S608

    return Place(
        lambda *words, name: order(folder, "ledger=environment", *words, name=name),
        {"ledger": str(password)},
        {LEDGER_VARIABLE: address},
        listing,
        inherits=True,
    )


def with_a_store(address: str, folder: Path) -> Place:
    import fsspec

    bucket = make_bucket(address)
    who = {"key": "tests", "secret": "tests", "endpoint_url": address, "skip_instance_cache": True}

    def listing() -> str:
        store = fsspec.filesystem("s3", use_listings_cache=False, **who)
        names = store.find(bucket)
        held = store.cat(names, on_error="omit") if names else {}  # a letter goes once it is read
        keep(folder, held.values())
        return str(list(held))  # the names of the objects

    words = (f"site.mailbox=s3://{bucket}/box", f"+site.environment.AWS_ENDPOINT_URL={address}")
    known = {"AWS_ACCESS_KEY_ID": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
    return Place(lambda *more, name: order(folder, *words, *more, name=name), {}, known, listing, inherits=True)


def with_messages(folder: Path, home: Path) -> Place:
    server, began = running_server(), time.time()
    known = server.environment(home / "idds.token")
    words = (f"site.mailbox={server.mailbox}", "site.policy.heartbeat_s=0.5", "site.policy.lease_s=60")
    settings = ConfigParser(interpolation=None)
    settings.read(server.folder / "idds.cfg")
    database = sql.make_url(settings["database"]["default"]).set(drivername="postgresql+psycopg")

    def listing() -> str:
        new = [path for path in (server.folder / "cache").iterdir() if path.stat().st_mtime >= began]
        keep(folder, [path.read_bytes() for path in new])
        newest = "SELECT msg_content FROM doma_idds.messages ORDER BY msg_id DESC LIMIT 500"
        with sql.create_engine(database, poolclass=sql.NullPool).connect() as connection:
            return str(list(connection.execute(sql.text(newest)).scalars()))

    return Place(
        lambda *more, name: order(folder, *words, *more, name=name),
        {"iDDS": signature((home / "idds.token").read_text())},
        known,
        listing,
        inherits=True,
    )


def keep(folder: Path, objects: Iterable[bytes]) -> None:
    """Write what a mailbox holds where it is searched with all else."""
    (folder / "mailbox").mkdir(exist_ok=True)
    for number, data in enumerate(objects):
        (folder / "mailbox" / f"{number}").write_bytes(data)


def through_panda(folder: Path, home: Path) -> Iterator[Place]:
    with standin_at() as standin, pilots_of(standin, 2):
        login = home / "panda.token"
        login.touch(mode=0o600)
        login.write_text(standin.issuer.mint())

        def listing() -> str:
            with standin.panda.lock:
                tasks = [vars(task) for task in standin.panda.tasks.values()]
                jobs = [job.description() for job in standin.panda.jobs.values()]
                cache = [gzip.decompress(content) for content in standin.panda.cache.values()]
                return repr([tasks, jobs, cache])

        words = (f"site.panda.url={standin.address}", "site.policy.lease_s=60")
        yield Place(
            lambda *more, name: order(folder, *words, *more, name=name, site="panda_standin"),
            {"PanDA": signature(login.read_text())},
            {"OIDC_AUTH_TOKEN_FILE": str(login)},
            listing,
            inherits=False,
        )
        assert standin.wrongs == []


KINDS = ("local", "ledger", "store", "messages", "slurm", "htcondor", "kubernetes", "panda")
OWN_LOGIN = {"messages": ("PANDA_AUTH_ID_TOKEN", "OIDC_AUTH_ID_TOKEN"), "panda": ("PANDA_AUTH_ID_TOKEN",)}
OWN_LOGIN["store"] = ("AWS_SESSION_TOKEN",)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each place that can be had here; its daemons run before anything is planted."""
    folder, home = tmp_path / "sweeps", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    if request.param == "local":
        yield locally(folder)
    elif request.param == "ledger":
        yield with_a_ledger_elsewhere(request.getfixturevalue("database"), folder)
    elif request.param == "store":
        with object_store() as address:
            yield with_a_store(address, folder)
    elif request.param == "messages":
        yield with_messages(folder, home)
    elif request.param == "slurm":
        yield through_slurm(request.getfixturevalue("slurm"), folder)
    elif request.param == "htcondor":
        yield through_condor(request.getfixturevalue("pool"), folder)
    elif request.param == "kubernetes":
        yield in_kubernetes(request.getfixturevalue("kubernetes"), folder)
    else:
        yield from through_panda(folder, home)


def test_nothing_that_a_study_leaves_shows_a_secret(
    place: Place,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    planted = canaries()
    for name in OWN_LOGIN.get(request.node.callspec.params["place"], ()):
        del planted[name]  # where it would come before the login of this place
        monkeypatch.delenv(name, raising=False)
    for name, value in (planted | place.environment).items():
        monkeypatch.setenv(name, value)
    wanted, user = forms(planted | place.secrets), User({})
    name = f"canary-{os.getpid()}"
    with watching(name, place.listing) as watch:
        good = place.order(f"trials={TRIALS}", *slow(), name=name)
        bad = place.order("trials=1", "site.policy.failures=1", "+site.environment.DUMMY_EXIT='1'", name=f"{name}-bad")
        for study, verbs in ((good, ("status", "report", "best", "stop")), (bad, ())):
            about = (f"study={study.name}", f"folder={study.folder.parent}")
            assert user.types("wirecell_ml.hpo", "resume", *about, "driver=foreground") == (study is bad)
            assert user.types("wirecell_ml.hpo", "why", *about, "trial=0") == 0
            for verb in verbs:
                assert user.types("wirecell_ml.hpo", verb, *about) == 0
        watch.listed.add(place.listing())
    assert check_exactly_once(good, TRIALS)["done"] == TRIALS
    user.printed.append("".join(capfd.readouterr()).encode())
    below, number = found_below(tmp_path / "sweeps", wanted)
    assert below == set()
    assert number > 100, "the code of a study alone has so many files"
    assert not set().union(*(found_in(text, wanted) for text in user.printed))
    assert any(b"canary-" in text for text in user.printed)
    assert not set().union(*(found_in(line, wanted) for line in watch.lines))
    assert not set().union(*(found_in(text.encode(), wanted) for text in watch.listed))
    assert any(good.name in text for text in watch.listed), "what the place shows is what it has of this study"
    assert watch.environments, "no unit was seen at work"
    seen = set().union(*(found_in(environment, wanted) for environment in watch.environments.values()))
    if place.inherits:
        assert "A_PASSWORD, plain" in seen, "units here are processes of the user: whoever looks, sees"
    else:
        assert seen == set()


def slow() -> tuple[str, str]:
    """Return the settings of units that can be seen at work."""
    return "+site.environment.DUMMY_EPOCHS='20'", "+site.environment.DUMMY_EPOCH_S='0.1'"


def test_a_dry_run_shows_no_secret(tmp_path: Path) -> None:
    planted = canaries()
    user = User(planted)
    words = ("program=dummy_unit", "sweep=optimizer.lr=interval(0.1,0.2)", "objectives={val/dice: maximize}")
    assert user.types("wirecell_ml.hpo", "study=dry", f"folder={tmp_path}", *words, "dry_run=true") == 0
    assert any(b"sent to local" in text for text in user.printed)
    assert not set().union(*(found_in(text, forms(planted)) for text in user.printed))
