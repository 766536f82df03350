#!/usr/bin/env python3
"""Makes the certificates of Cloister's simulated TDX platform, and collateral that goes with them.

The hierarchy has the shape of Intel's (P-256 throughout: root, PCK platform CA, a PCK certificate with
SGX extensions, a TCB signing certificate) and proves nothing: the keys are public. See README.md.

Run once, with `cryptography` 48 from PyPI. A second run makes other keys, which changes the root, so
every recorded quote of the simulator is void after it.
"""

import datetime
import json
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

HERE = pathlib.Path(__file__).parent
SGX = "1.2.840.113741.1.13.1"

NOT_BEFORE = datetime.datetime(2026, 1, 1)
CA_END = datetime.datetime(2051, 1, 1)
LEAF_END = datetime.datetime(2033, 1, 1)

# What the simulator puts into its quotes; the same values are in coco/src/sim/quote and coco/src/sim/tdx.
FMSPC = b"SIMUL0"
PCE_ID = bytes(2)
CPU_SVN = bytes([3] * 16)
PCE_SVN = 13
TEE_TCB_SVN = bytes([5, 1, 3] + [0] * 13)
QE_MRSIGNER = b"CLOISTER SIMULATED QE, NO PROOF."
QE_PROD_ID = 2
QE_SVN = 4
MODULE_ID = "TDX_01"


def name(common_name):
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Simulator"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cloister"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])


def tlv(tag, body):
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(value):
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octets(value):
    return tlv(4, value)


def boolean(value):
    return tlv(1, bytes([0xFF if value else 0]))


def oid(dotted):
    first, second, *rest = [int(part) for part in dotted.split(".")]
    body = bytes([40 * first + second])
    for part in rest:
        digits = [part & 0x7F]
        while part := part >> 7:
            digits.append(0x80 | part & 0x7F)
        body += bytes(reversed(digits))
    return tlv(6, body)


def entry(suffix, value):
    return tlv(0x30, oid(f"{SGX}.{suffix}") + value)


def sgx_extensions():
    tcb = b"".join(entry(f"2.{i + 1}", integer(svn)) for i, svn in enumerate(CPU_SVN))
    tcb += entry("2.17", integer(PCE_SVN)) + entry("2.18", octets(CPU_SVN))
    configuration = b"".join(entry(f"7.{i}", boolean(value)) for i, value in [(1, True), (2, True), (3, True)])
    return tlv(0x30, b"".join([
        entry("1", octets(b"SIMULATED PPID..")),
        entry("2", tlv(0x30, tcb)),
        entry("3", octets(PCE_ID)),
        entry("4", octets(FMSPC)),
        entry("5", tlv(0x0A, b"\x01")),  # scalable
        entry("6", octets(b"SIMULATED, NO HW")),
        entry("7", tlv(0x30, configuration)),
    ]))


def certificate(subject, issuer, public, signer, issuer_public, serial, end, ca, extra=()):
    usage = dict.fromkeys(
        ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"], False)
    for allowed in ["key_cert_sign", "crl_sign"] if ca is not None else ["digital_signature", "content_commitment"]:
        usage[allowed] = True
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(public).serial_number(serial)
        .not_valid_before(NOT_BEFORE).not_valid_after(end)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(
            x509.BasicConstraints(ca=ca is not None, path_length=ca if ca is not None else None), critical=True)
    )
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, hashes.SHA256())


def crl(issuer, signer, issuer_public):
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer).last_update(NOT_BEFORE).next_update(CA_END)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False)
    )
    return builder.sign(signer, hashes.SHA256())


def signed_json(stem, member, body, key):
    """Intel's form: the signature is over the bytes of the member, as they stand in the file."""
    text = json.dumps(body, separators=(",", ":"))
    r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    signature = (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex()
    (HERE / f"{stem}.json").write_text(f'{{"{member}":{text},"signature":"{signature}"}}\n')


def collateral(key):
    date = {"issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2051-01-01T00:00:00Z"}
    level_date = {"tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"}
    tcb = {
        "sgxtcbcomponents": [{"svn": svn} for svn in CPU_SVN],
        "pcesvn": PCE_SVN,
        "tdxtcbcomponents": [{"svn": svn} for svn in TEE_TCB_SVN],
    }
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    identity = dict(module, id=MODULE_ID, tcbLevels=[dict(level_date, tcb={"isvsvn": TEE_TCB_SVN[0]})])
    signed_json("tcb-info", "tcbInfo", {
        "id": "TDX", "version": 3, **date, "fmspc": FMSPC.hex(), "pceId": PCE_ID.hex(),
        "tcbType": 0, "tcbEvaluationDataNumber": 1, "tdxModule": module,
        "tdxModuleIdentities": [identity], "tcbLevels": [dict(level_date, tcb=tcb)],
    }, key)
    signed_json("qe-identity", "enclaveIdentity", {
        "id": "TD_QE", "version": 2, **date, "tcbEvaluationDataNumber": 1,
        "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_MRSIGNER.hex(), "isvprodid": QE_PROD_ID,
        "tcbLevels": [dict(level_date, tcb={"isvsvn": QE_SVN})],
    }, key)


def write(stem, thing):
    (HERE / f"{stem}.pem").write_bytes(thing.public_bytes(serialization.Encoding.PEM))


def write_key(stem, key):
    (HERE / f"{stem}.key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def main():
    root, ca, pck, tcb, attestation = (ec.generate_private_key(ec.SECP256R1()) for _ in range(5))
    names = {
        key: name(f"{role} CLOISTER SIMULATED PROVES NOTHING")
        for key, role in [("root", "SGX Root CA"), ("ca", "SGX PCK Platform CA"), ("pck", "SGX PCK Certificate"),
                          ("tcb", "SGX TCB Signing")]
    }
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(SGX), sgx_extensions())

    def from_root(key, role, serial, end, depth):
        return certificate(names[role], names["root"], key.public_key(), root, root.public_key(), serial, end, depth)

    write("root", from_root(root, "root", 0x20000, CA_END, 1))
    write("pck-ca", from_root(ca, "ca", 0x20001, CA_END, 0))
    write("tcb-signing", from_root(tcb, "tcb", 0x20002, CA_END, None))
    write("pck", certificate(names["pck"], names["ca"], pck.public_key(), ca, ca.public_key(), 0x20003, LEAF_END,
                             None, [extension]))
    write("root-crl", crl(names["root"], root, root.public_key()))
    write("pck-crl", crl(names["ca"], ca, ca.public_key()))
    collateral(tcb)
    for stem, key in [("pck", pck), ("attestation", attestation), ("pck-ca", ca), ("tcb-signing", tcb)]:
        # Kept so that the simulator can sign and tests can mint others. The root's key is dropped here.
        write_key(stem, key)


if __name__ == "__main__":
    main()
