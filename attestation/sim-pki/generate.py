#!/usr/bin/env python3
"""Makes the certificates of Cloister's simulated secure processor.

The hierarchy has the shape of AMD's (RSA-4096 ARK and ASK, RSASSA-PSS with SHA-384 and a salt of 48
bytes, a P-384 VCEK with AMD's extensions) and proves nothing: the keys are public. See README.md.

Run once, with `cryptography` 48 from PyPI. A second run makes other keys, which changes the pinned
root, so every recorded report of the simulator is void after it.
"""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

HERE = pathlib.Path(__file__).parent
AMD = "1.3.6.1.4.1.3704.1"

CHIP_ID = b"CLOISTER SIMULATED CHIP / NOT HARDWARE / PROVES NOTHING".ljust(64, b".")
PRODUCT = "Cloister-Sim"
# Milan and Genoa layout. 200 does not fit seven bits, as real microcode levels do not.
SPL = {"bl": 3, "tee": 1, "snp": 20, "spl4": 0, "spl5": 0, "spl6": 0, "spl7": 0, "ucode": 200}
SPL_OID = {"bl": 1, "tee": 2, "snp": 3, "spl4": 4, "spl5": 5, "spl6": 6, "spl7": 7, "ucode": 8}

NOT_BEFORE = datetime.datetime(2026, 1, 1)
CA_END = datetime.datetime(2051, 1, 1)
LEAF_END = datetime.datetime(2033, 1, 1)

PSS = padding.PSS(padding.MGF1(hashes.SHA384()), salt_length=48)


def name(common_name):
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Simulator"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cloister"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])


def der_integer(value):
    body = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(body)]) + body


def extension(suffix, value):
    oid = x509.ObjectIdentifier(f"{AMD}.{suffix}")
    return x509.UnrecognizedExtension(oid, value)


def ca(subject, issuer, public, signer, serial, path_length):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(public).serial_number(serial)
        .not_valid_before(NOT_BEFORE).not_valid_after(CA_END)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
    )
    return builder.sign(signer, hashes.SHA384(), rsa_padding=PSS)


def vcek(subject, issuer, public, signer):
    builder = (
        # AMD's have serial number 0, which this library does not write.
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(public).serial_number(1)
        .not_valid_before(NOT_BEFORE).not_valid_after(LEAF_END)
        .add_extension(extension("1", der_integer(0)), critical=False)
        .add_extension(extension("2", bytes([0x16, len(PRODUCT)]) + PRODUCT.encode()), critical=False)
    )
    for part, value in SPL.items():
        builder = builder.add_extension(extension(f"3.{SPL_OID[part]}", der_integer(value)), critical=False)
    builder = builder.add_extension(extension("4", CHIP_ID), critical=False)
    return builder.sign(signer, hashes.SHA384(), rsa_padding=PSS)


def crl(issuer, signer, revoked):
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer).last_update(NOT_BEFORE).next_update(CA_END)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOT_BEFORE).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signer, hashes.SHA384(), rsa_padding=PSS)


def write(stem, certificate):
    (HERE / f"{stem}.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    (HERE / f"{stem}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def write_key(stem, key):
    (HERE / f"{stem}.key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def main():
    ark_name = name("ARK-CLOISTER-SIMULATED-NOT-HARDWARE")
    ask_name = name("SEV-CLOISTER-SIMULATED-NOT-HARDWARE")
    ark_key = rsa.generate_private_key(65537, 4096)
    ask_key = rsa.generate_private_key(65537, 4096)
    vcek_key = ec.generate_private_key(ec.SECP384R1())

    write("ark", ca(ark_name, ark_name, ark_key.public_key(), ark_key, 0x10000, None))
    write("ask", ca(ask_name, ark_name, ask_key.public_key(), ark_key, 0x10001, 0))
    leaf = name("SEV-VCEK-CLOISTER-SIMULATED-NOT-HARDWARE")
    write("vcek", vcek(leaf, ask_name, vcek_key.public_key(), ask_key))
    for stem, revoked in [("crl-empty", []), ("crl-ask-revoked", [0x10001])]:
        data = crl(ark_name, ark_key, revoked).public_bytes(serialization.Encoding.DER)
        (HERE / f"{stem}.der").write_bytes(data)
    write_key("vcek", vcek_key)
    # Kept so that tests can mint chip keys with other extensions. The root's key is dropped here.
    write_key("ask", ask_key)


if __name__ == "__main__":
    main()
