"""The tests' iDDS server and its OIDC issuer, in the environment that idds.sh makes, below one folder.

idds_app.py prepare FOLDER    keys, certificates and tables
idds_app.py serve FOLDER      the server over TLS, and the issuer on the next port
idds_app.py ping FOLDER       exit with 0 where the server takes our token and answers from its database
idds_app.py token FOLDER AGE  print a token that ends in so many seconds
"""

import datetime
import ipaddress
import json
import os
import ssl
import sys
import threading
import time
from configparser import ConfigParser
from functools import partial
from http import HTTPStatus
from http.client import HTTPSConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

VO, KEY_ID, PING_S = "dune", "tests", 60
LONG = datetime.timedelta(days=3650)


class Place:
    """The folder of the server, and what its settings say."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.issuer = folder, folder / "issuer"
        os.environ["IDDS_CONFIG"] = os.environ["IDDS_AUTH_CONFIG"] = str(folder / "idds.cfg")
        settings = ConfigParser()
        settings.read(folder / "idds.cfg")
        self.address = urlsplit(settings["rest"]["host"])
        self.issuer_address = urlsplit(settings[VO]["oidc_config_url"])
        self.issuer_url = f"http://{self.issuer_address.netloc}"
        self.audience = settings[VO]["audience"]


def prepare(place: Place) -> None:
    """Make what is missing of keys, certificates, the issuer's pages and the tables."""
    if not (place.folder / "server.pem").exists():
        write_certificates(place.folder)
    if not (place.folder / "issuer.key").exists():
        write_key(place.folder / "issuer.key", new_key())
    write_issuer(place)
    import sqlalchemy as sql
    from idds.orm.base import models, session  # type: ignore[import-not-found]

    engine = session.get_engine(echo=False)
    with engine.begin() as connection:
        connection.execute(sql.schema.CreateSchema("doma_idds", if_not_exists=True))
    models.register_models(engine)


def write_certificates(folder: Path) -> None:
    """Write a certificate authority, and the server's key and certificate signed by it."""
    authority, server = new_key(), new_key()
    write_key(folder / "server.key", server)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests of wirecell_ml")])
    whole = certificate(issuer, issuer, authority).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    served = certificate(name, issuer, server).add_extension(x509.SubjectAlternativeName(places), False)
    for path, one in (("ca.pem", whole), ("server.pem", served)):
        (folder / path).write_bytes(one.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def certificate(name: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    """Return a certificate that is not signed yet."""
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
    return made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + LONG)


def new_key() -> rsa.RSAPrivateKey:
    """Return a new RSA key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_key(path: Path, key: rsa.RSAPrivateKey) -> None:
    """Write a key where only we can read it."""
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


def write_issuer(place: Place) -> None:
    """Write the two pages of an OIDC issuer: where its keys are, and the keys."""
    key = serialization.load_pem_private_key((place.folder / "issuer.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    page = place.issuer / ".well-known" / "openid-configuration"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(json.dumps({"issuer": place.issuer_url, "jwks_uri": f"{place.issuer_url}/keys"}))
    (place.issuer / "keys").write_text(json.dumps({"keys": [public | {"kid": KEY_ID, "use": "sig", "alg": "RS256"}]}))


def token(place: Place, age_s: float) -> str:
    """Return a token of the tests' user that ends in ``age_s`` seconds."""
    key = (place.folder / "issuer.key").read_text()
    claims = {"iss": place.issuer_url, "aud": place.audience, "sub": "tests", "name": "Test"}
    return jwt.encode(claims | {"exp": time.time() + age_s}, key, algorithm="RS256", headers={"kid": KEY_ID})


def serve(place: Place) -> None:
    """Serve iDDS below /idds, and the issuer beside it, for ever."""
    from idds.rest.v1.app import create_app  # type: ignore[import-not-found]
    from werkzeug.exceptions import NotFound
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.serving import run_simple

    pages = partial(SimpleHTTPRequestHandler, directory=str(place.issuer))
    issuer = ThreadingHTTPServer(("127.0.0.1", place.issuer_address.port or 0), pages)
    threading.Thread(target=issuer.serve_forever, daemon=True).start()
    app = DispatcherMiddleware(NotFound(), {place.address.path: create_app()})
    keys = str(place.folder / "server.pem"), str(place.folder / "server.key")
    run_simple("127.0.0.1", place.address.port or 0, app, threaded=True, ssl_context=keys)


def ping(place: Place) -> None:
    """Ask for the messages of a request that nobody has."""
    headers = {"X-IDDS-Auth-Type": "oidc", "X-IDDS-Auth-VO": VO, "X-IDDS-Auth-Token": token(place, PING_S)}
    trust = ssl.create_default_context(cafile=str(place.folder / "ca.pem"))
    connection = HTTPSConnection(place.address.netloc, timeout=10, context=trust)
    connection.request("GET", f"{place.address.path}/message/1/null/null/ping", headers=headers)
    if connection.getresponse().status != HTTPStatus.OK:
        sys.exit(1)


def main(verb: str, folder: str, *rest: str) -> None:
    """Do what the verb says."""
    place = Place(Path(folder))
    if verb == "token":
        print(token(place, float(rest[0])))
        return
    {"prepare": prepare, "serve": serve, "ping": ping}[verb](place)


if __name__ == "__main__":
    main(*sys.argv[1:])
