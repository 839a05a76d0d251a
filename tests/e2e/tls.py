"""Certificates made on the spot, a Keel that speaks TLS, and the raw client over TLS."""
import pathlib
import ssl
import subprocess
import tempfile

import harness
from harness import Keel
from rawmqtt import Client

SCRIPT = """
set -e
cd "$1"
ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout $1.key -out $1.crt -subj "/CN=$1" 2>/dev/null; }
leaf() { # name, authority, subject, extension
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj "$3" 2>/dev/null
    printf '%s\\n' "$4" > $1.ext
    openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial -days 2 -out $1.crt -extfile $1.ext 2>/dev/null
}
ca authority; ca stranger
leaf server authority /CN=localhost "subjectAltName=DNS:localhost,IP:127.0.0.1"
leaf renewed authority /CN=renewed "subjectAltName=DNS:localhost,IP:127.0.0.1"
leaf alice authority /CN=alice "subjectAltName=DNS:alice.example.org"
leaf mallory stranger /CN=mallory "subjectAltName=DNS:mallory"
leaf revoked authority /CN=revoked "subjectAltName=DNS:revoked"
mkdir -p more; leaf more/other authority /CN=other.example.org "subjectAltName=DNS:other.example.org"
cp more/other.crt more/other.example.org.crt; cp more/other.key more/other.example.org.key; rm more/other.crt
: > index.txt; echo 01 > number
cat > ca.cnf <<X
[ca]
default_ca = c
[c]
database = index.txt
crlnumber = number
default_md = sha256
default_crl_days = 2
X
openssl ca -config ca.cnf -keyfile authority.key -cert authority.crt -revoke revoked.crt 2>/dev/null
openssl ca -config ca.cnf -keyfile authority.key -cert authority.crt -gencrl -out authority.crl 2>/dev/null
"""


def certificates():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keel-tls-"))
    subprocess.run(["bash", "-c", SCRIPT, "-", folder], check=True)
    return folder


CERTS = None


def certs():
    global CERTS
    if CERTS is None:
        CERTS = certificates()
    return CERTS


def secure(*more):
    c = certs()
    return Keel("--mqtts", "127.0.0.1:0", "--set", f"tls.cert={c}/server.crt", "--set", f"tls.key={c}/server.key", *more)


def tls_port(keel):
    return int(harness.fields(keel.process.line)["mqtts"].rsplit(":", 1)[1])


class TlsClient(Client):
    """The raw client over TLS."""

    def __init__(self, keel, client_id="", certificate=None, host="localhost", version_tls=None, **more):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certs() / "authority.crt")
        if certificate:
            context.load_cert_chain(certs() / f"{certificate}.crt", certs() / f"{certificate}.key")
        if version_tls:
            context.minimum_version = context.maximum_version = version_tls
        self.tls, self.tls_host = context, host
        target = type("Target", (), {"host": "127.0.0.1", "port": tls_port(keel)})()
        super().__init__(target, client_id, **more)

    def wrap(self, sock):
        return self.tls.wrap_socket(sock, server_hostname=self.tls_host)


def mosquitto(tool, keel, *args, cafile="authority.crt", **more):
    return harness.run(tool, "-h", "127.0.0.1", "-p", tls_port(keel), "--cafile", certs() / cafile, *args, **more)
