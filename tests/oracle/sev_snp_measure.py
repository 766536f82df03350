"""Answers questions with sev-snp-measure: one JSON object a line in, one a line out, in order."""

import base64
import json
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from sevsnpmeasure import guest, id_block, vcpu_types, vmm_types
from sevsnpmeasure.sev_mode import SevMode


def digest(q):
    """The launch digest of a guest."""
    value = guest.calc_launch_digest(
        SevMode.from_str(q["mode"]),
        q["vcpus"],
        q["signature"],
        q["firmware"],
        q["kernel"],
        q["initrd"],
        q["cmdline"],
        q["features"],
        "",
        vmm_types.VMMType[q["launcher"]],
        svsm_file=q["svsm"],
        ovmf_vars_size=q["vars_size"],
    )
    return {"digest": value.hex()}


def models(_):
    """Signatures of all CPU models."""
    return {"models": vcpu_types.CPU_SIGS}


def make_keys(q):
    """Writes new keys: SEC 1 for the ID key, PKCS #8 for the author's."""
    formats = serialization.PrivateFormat
    for path, form in ((q["id_key"], formats.TraditionalOpenSSL), (q["author_key"], formats.PKCS8)):
        key = ec.generate_private_key(ec.SECP384R1())
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        with open(path, "wb") as f:
            f.write(pem)
    return {}


def sign(q):
    """An ID block as the tool makes it."""
    text = id_block.snp_calc_id_block(bytes.fromhex(q["digest"]), q["id_key"], q["author_key"])
    words = text.replace("id_key_hash: ", "id_key=").replace("author_key: ", "author_key=")
    parts = dict(word.split("=", 1) for line in words.split("\n") for word in line.split(","))
    return {name: base64.b64decode(value).hex() for name, value in parts.items()}


def verify(q):
    """Fails unless both signatures of an ID authentication page are good."""
    block, page = bytes.fromhex(q["block"]), bytes.fromhex(q["auth"])

    def number(at):
        return int.from_bytes(page[at:at + 72], "little")

    for signature, key, message in ((64, 576, block), (1664, 2176, page[576:576 + 1028])):
        public = ec.EllipticCurvePublicNumbers(number(key + 4), number(key + 76), ec.SECP384R1())
        signed = utils.encode_dss_signature(number(signature), number(signature + 72))
        public.public_key().verify(signed, message, ec.ECDSA(hashes.SHA384()))
    return {"good": True}


QUESTIONS = {f.__name__: f for f in (digest, models, make_keys, sign, verify)}

for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = QUESTIONS[question["ask"]](question)
    except Exception as e:  # Answered, not died of: the one who asks says what it means.
        answer = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(answer), flush=True)
