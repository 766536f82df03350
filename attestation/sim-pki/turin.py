#!/usr/bin/env python3
"""Makes `vcek-turin.pem`: a certificate for the simulated chip's key as one of Turin would be, with another
layout of the TCB and eight bytes of hwID. Signed by the ASK that generate.py made. See README.md.
"""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

import generate as g

SPL = {"1": 3, "2": 1, "3": 20, "5": 0, "6": 0, "7": 0, "8": 200, "9": 2}


def load(name):
    return serialization.load_pem_private_key((g.HERE / name).read_bytes(), None)


def main():
    ask, key = load("ask.key.pem"), load("vcek.key.pem")
    builder = (
        x509.CertificateBuilder()
        .subject_name(g.name("SEV-VCEK-CLOISTER-SIMULATED-NOT-HARDWARE"))
        .issuer_name(g.name("SEV-CLOISTER-SIMULATED-NOT-HARDWARE"))
        .public_key(key.public_key()).serial_number(2)
        .not_valid_before(g.NOT_BEFORE).not_valid_after(g.LEAF_END)
        .add_extension(g.extension("1", g.der_integer(1)), critical=False)
        .add_extension(g.extension("2", bytes([0x16, len(g.PRODUCT)]) + g.PRODUCT.encode()), critical=False)
    )
    for part, value in SPL.items():
        builder = builder.add_extension(g.extension(f"3.{part}", g.der_integer(value)), critical=False)
    builder = builder.add_extension(g.extension("4", g.CHIP_ID[:8]), critical=False)
    certificate = builder.sign(ask, hashes.SHA384(), rsa_padding=g.PSS)
    (g.HERE / "vcek-turin.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


if __name__ == "__main__":
    main()
