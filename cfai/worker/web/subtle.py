"""`crypto.subtle`: https://www.w3.org/TR/WebCryptoAPI/. What Python has no code for, the package cryptography has."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any

from cfai.worker.web.blobs import bytes_of
from cfai.worker.web.buffers import ArrayBuffer, Uint8Array
from cfai.worker.web.conversion import options_of
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.keys import CryptoKey, curve_of, library, public_of_jwk, secret_of_jwk
from cfai.worker.web.objects import JsObject
from cfai.worker.web.promises import promised
from cfai.worker.web.proxies import JsProxy

__all__ = ["Subtle", "hash_of"]

_HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512", "MD5": "md5"}
_NAMES = {
    name.lower(): name
    for name in (
        "HMAC",
        "AES-GCM",
        "AES-CBC",
        "AES-CTR",
        "PBKDF2",
        "HKDF",
        "RSASSA-PKCS1-v1_5",
        "RSA-PSS",
        "RSA-OAEP",
        "ECDSA",
        "ECDH",
        "Ed25519",
    )
}
_SECRET = ("HMAC", "AES-GCM", "AES-CBC", "AES-CTR")
_DERIVING = ("PBKDF2", "HKDF")


class Subtle(JsProxy):
    """`crypto.subtle`; everything it does is a promise."""

    @promised
    async def digest(self, algorithm: Any, data: Any) -> ArrayBuffer:
        return _buffer(hashlib.new(hash_of(algorithm), _bytes(data)).digest())

    @promised
    async def importKey(  # noqa: N802  # JavaScript's spelling
        self,
        format: str,  # noqa: A002
        data: Any,
        algorithm: Any,
        extractable: bool,
        usages: Any,
    ) -> CryptoKey:
        name, given = _algorithm(algorithm, "key import")
        wanted = [str(usage) for usage in usages]
        if name in (*_SECRET, *_DERIVING):
            material = secret_of_jwk(data) if format == "jwk" else _raw(format, data)
            return _secret(name, material, given, wanted, bool(extractable))
        library(name)
        key = public_of_jwk(data) if format == "jwk" else _loaded(format, _bytes(data), name, given)
        kind = "private" if hasattr(key, "private_bytes") else "public"
        return CryptoKey.new(kind, key, _described(name, given), wanted, bool(extractable))

    @promised
    async def exportKey(self, format: str, key: CryptoKey) -> Any:  # noqa: A002, N802
        if not key.extractable:
            raise dom_exception("InvalidAccessError", f"Attempt to export non-extractable {key.name} key.")
        if key.type == "secret":
            if format == "raw":
                return _buffer(key.material)
            if format == "jwk":
                k = base64.urlsafe_b64encode(key.material).decode().rstrip("=")
                return JsObject({"kty": "oct", "k": k, "key_ops": key.usages, "ext": True})
        elif (data := _exported(format, key)) is not None:
            return _buffer(data)
        raise dom_exception("NotSupportedError", f'Unrecognized key export format "{format}".')

    @promised
    async def generateKey(self, algorithm: Any, extractable: bool, usages: Any) -> Any:  # noqa: N802
        name, given = _algorithm(algorithm, "key generation")
        wanted = [str(usage) for usage in usages]
        if not wanted:
            raise dom_exception("SyntaxError", "Secret/private CryptoKeys must have at least one usage.")
        if name in _SECRET:
            length = int(given.get("length") or (hashlib.new(hash_of(given.get("hash"))).block_size * 8))
            return _secret(name, secrets.token_bytes(length // 8), given, wanted, bool(extractable))
        private = _generated(name, given)
        described = _described(name, given)
        own = [usage for usage in wanted if usage in ("sign", "decrypt", "unwrapKey", "deriveKey", "deriveBits")]
        others = [usage for usage in wanted if usage in ("verify", "encrypt", "wrapKey")]
        return JsObject(
            {
                "privateKey": CryptoKey.new("private", private, described, own, bool(extractable)),
                "publicKey": CryptoKey.new("public", private.public_key(), described, others, True),
            }
        )

    @promised
    async def sign(self, algorithm: Any, key: CryptoKey, data: Any) -> ArrayBuffer:
        name, given = _algorithm(algorithm, "signing")
        key.require(name, "sign")
        if name == "HMAC":
            return _buffer(_mac(key, data))
        return _buffer(_signature(name, given, key, _bytes(data)))

    @promised
    async def verify(self, algorithm: Any, key: CryptoKey, signature: Any, data: Any) -> bool:
        name, given = _algorithm(algorithm, "verification")
        key.require(name, "verify")
        if name == "HMAC":
            return hmac.compare_digest(_mac(key, data), _bytes(signature))
        return _is_signed(name, given, key, _bytes(signature), _bytes(data))

    @promised
    async def encrypt(self, algorithm: Any, key: CryptoKey, data: Any) -> ArrayBuffer:
        name, given = _algorithm(algorithm, "encryption")
        key.require(name, "encrypt")
        return _buffer(_cipher(name, given, key)[0](_bytes(data)))

    @promised
    async def decrypt(self, algorithm: Any, key: CryptoKey, data: Any) -> ArrayBuffer:
        name, given = _algorithm(algorithm, "decryption")
        key.require(name, "decrypt")
        try:
            return _buffer(_cipher(name, given, key)[1](_bytes(data)))
        except Exception as error:
            if type(error).__module__.startswith("cryptography") or isinstance(error, ValueError):
                raise dom_exception("OperationError", "Decryption failed.") from error
            raise

    @promised
    async def deriveBits(self, algorithm: Any, key: CryptoKey, length: Any = None) -> ArrayBuffer:  # noqa: N802
        name, given = _algorithm(algorithm, "bit derivation")
        key.require(name, "deriveBits")
        return _buffer(_derived(name, given, key, int(length)))

    @promised
    async def deriveKey(  # noqa: N802
        self, algorithm: Any, key: CryptoKey, derived: Any, extractable: bool, usages: Any
    ) -> CryptoKey:
        name, given = _algorithm(algorithm, "key derivation")
        key.require(name, "deriveKey")
        for_name, wanted = _algorithm(derived, "derived key")
        length = int(wanted.get("length") or hashlib.new(hash_of(wanted.get("hash"))).block_size * 8)
        material = _derived(name, given, key, length)
        return _secret(for_name, material, wanted, [str(usage) for usage in usages], bool(extractable))

    def timingSafeEqual(self, one: Any, other: Any) -> bool:  # noqa: N802
        """Compare in a time that does not tell where the difference is."""
        left, right = _bytes(one), _bytes(other)
        if len(left) != len(right):
            raise JsTypeError("Input buffers must have the same byte length.")
        return hmac.compare_digest(left, right)


def hash_of(algorithm: Any) -> str:
    """Python's name of a hash."""
    name = algorithm if isinstance(algorithm, str) else options_of(algorithm).get("name")
    if isinstance(name, str) and (found := _HASHES.get(name.upper())):
        return found
    raise dom_exception("NotSupportedError", f'Unrecognized or unimplemented digest algorithm "{name}" requested.')


def _algorithm(given: Any, what: str) -> tuple[str, dict[str, Any]]:
    options = {"name": given} if isinstance(given, str) else options_of(given)
    name = _NAMES.get(str(options.get("name")).lower())
    if name is None:
        raise dom_exception("NotSupportedError", f'Unrecognized {what} algorithm "{options.get("name")}" requested.')
    return name, options


def _bytes(value: Any) -> bytes:
    if (found := bytes_of(value)) is None:
        raise JsTypeError(f"crypto.subtle takes bytes as an ArrayBuffer or ArrayBufferView, not {type(value).__name__}")
    return found


def _buffer(data: bytes) -> ArrayBuffer:
    return Uint8Array(data).buffer


def _raw(format: str, data: Any) -> bytes:  # noqa: A002
    if format != "raw":
        raise dom_exception("NotSupportedError", f'Unrecognized key import format "{format}".')
    return _bytes(data)


def _secret(name: str, material: bytes, given: dict[str, Any], usages: list[str], extractable: bool) -> CryptoKey:
    if not usages:
        raise dom_exception("SyntaxError", "Secret/private CryptoKeys must have at least one usage.")
    if name.startswith("AES") and len(material) not in (16, 24, 32):
        problem = f"Imported AES key length must be 128, 192, or 256 bits but provided {len(material) * 8}."
        raise dom_exception("DataError", problem)
    described: dict[str, Any] = {"name": name}
    if name not in _DERIVING:
        described["length"] = len(material) * 8
    if name == "HMAC":
        described["hash"] = {"name": _hash_name(given.get("hash"))}
    return CryptoKey.new("secret", material, described, usages, extractable)


def _hash_name(algorithm: Any) -> str:
    wanted = hash_of(algorithm)
    return next(name for name, python in _HASHES.items() if python == wanted)


def _described(name: str, given: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name}
    if given.get("hash") is not None:
        described["hash"] = {"name": _hash_name(given["hash"])}
    if given.get("namedCurve") is not None:
        described["namedCurve"] = given["namedCurve"]
    return described


def _mac(key: CryptoKey, data: Any) -> bytes:
    return hmac.digest(key.material, _bytes(data), hash_of(key.algorithm.hash))


def _derived(name: str, given: dict[str, Any], key: CryptoKey, bits: int) -> bytes:
    if bits % 8 or bits <= 0:
        raise dom_exception("OperationError", f"The number of bits to derive is a multiple of 8, not {bits}.")
    if name == "ECDH":
        from cryptography.hazmat.primitives.asymmetric import ec

        shared: bytes = key.material.exchange(ec.ECDH(), given["public"].material)
        return shared[: bits // 8]
    python, salt = hash_of(given.get("hash")), _bytes(given.get("salt", b""))
    if name == "PBKDF2":
        return hashlib.pbkdf2_hmac(python, key.material, salt, int(given.get("iterations") or 0), bits // 8)
    return _hkdf(python, key.material, salt, _bytes(given.get("info", b"")), bits // 8)


def _hkdf(python: str, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    # RFC 5869: extract, then expand.
    extracted = hmac.digest(salt or bytes(hashlib.new(python).digest_size), secret, python)
    made = block = b""
    for count in range(1, -(-length // len(extracted)) + 1):
        block = hmac.digest(extracted, block + info + bytes([count]), python)
        made += block
    return made[:length]


Turn = Callable[[bytes], bytes]


def _cipher(name: str, given: dict[str, Any], key: CryptoKey) -> tuple[Turn, Turn]:
    """How to encrypt, and how to decrypt."""
    library(name)
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if name == "RSA-OAEP":
        chosen = _hash_object(key)
        oaep = rsa_padding.OAEP(rsa_padding.MGF1(chosen), chosen, _bytes(given.get("label") or b"") or None)
        return (lambda data: key.material.encrypt(data, oaep)), (lambda data: key.material.decrypt(data, oaep))
    if name == "AES-GCM":
        iv, more = _bytes(given.get("iv", b"")), _bytes(given.get("additionalData") or b"")
        if int(given.get("tagLength") or 128) != 128:
            raise dom_exception("NotSupportedError", "AES-GCM with a tag of another length than 128 is not simulated.")
        gcm = AESGCM(key.material)
        return (lambda data: gcm.encrypt(iv, data, more)), (lambda data: gcm.decrypt(iv, data, more))
    if name == "AES-CTR":
        counter = Cipher(algorithms.AES(key.material), modes.CTR(_bytes(given.get("counter", b""))))
        return (lambda data: counter.encryptor().update(data)), (lambda data: counter.decryptor().update(data))
    cbc = Cipher(algorithms.AES(key.material), modes.CBC(_bytes(given.get("iv", b""))))

    def encrypt(data: bytes) -> bytes:
        padder, encryptor = padding.PKCS7(128).padder(), cbc.encryptor()
        return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()

    def decrypt(data: bytes) -> bytes:
        unpadder, decryptor = padding.PKCS7(128).unpadder(), cbc.decryptor()
        return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()

    return encrypt, decrypt


def _hash_object(key: CryptoKey, given: dict[str, Any] | None = None) -> Any:
    from cryptography.hazmat.primitives import hashes

    wanted = (given or {}).get("hash")
    return getattr(hashes, hash_of(key.algorithm.hash if wanted is None else wanted).upper())()


def _signature(name: str, given: dict[str, Any], key: CryptoKey, data: bytes) -> bytes:
    made: bytes
    if name == "Ed25519":
        made = key.material.sign(data)
    elif name == "ECDSA":
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        size = (key.material.curve.key_size + 7) // 8
        pair = decode_dss_signature(key.material.sign(data, ec.ECDSA(_hash_object(key, given))))
        made = b"".join(number.to_bytes(size) for number in pair)
    else:
        chosen = _hash_object(key)
        made = key.material.sign(data, _rsa_padding(name, given, chosen), chosen)
    return made


def _is_signed(name: str, given: dict[str, Any], key: CryptoKey, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    try:
        if name == "Ed25519":
            key.material.verify(signature, data)
        elif name == "ECDSA":
            half = len(signature) // 2
            pair = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
            key.material.verify(pair, data, ec.ECDSA(_hash_object(key, given)))
        else:
            chosen = _hash_object(key)
            key.material.verify(signature, data, _rsa_padding(name, given, chosen), chosen)
    except InvalidSignature:
        return False
    return True


def _rsa_padding(name: str, given: dict[str, Any], chosen: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import padding

    if name == "RSA-PSS":
        return padding.PSS(padding.MGF1(chosen), int(given.get("saltLength") or 0))
    return padding.PKCS1v15()


def _generated(name: str, given: dict[str, Any]) -> Any:
    library(name)
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if name == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if name.startswith("EC"):
        return ec.generate_private_key(curve_of(given.get("namedCurve")))
    if name not in ("RSASSA-PKCS1-v1_5", "RSA-PSS", "RSA-OAEP"):
        raise dom_exception("NotSupportedError", f'Unrecognized key generation algorithm "{name}" requested.')
    exponent = int.from_bytes(_bytes(given.get("publicExponent", b"\x01\x00\x01")))
    return rsa.generate_private_key(exponent, int(given.get("modulusLength") or 2048))


def _loaded(format: str, data: bytes, name: str, given: dict[str, Any]) -> Any:  # noqa: A002
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

    try:
        if format == "spki":
            return load_der_public_key(data)
        if format == "pkcs8":
            return load_der_private_key(data, None)
        if format == "raw" and name == "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(data)
        if format == "raw" and name.startswith("EC"):
            return ec.EllipticCurvePublicKey.from_encoded_point(curve_of(given.get("namedCurve")), data)
    except ValueError as error:
        raise dom_exception("DataError", f"Invalid {format.upper()} input.") from error
    raise dom_exception("NotSupportedError", f'Unrecognized key import format "{format}".')


def _exported(format: str, key: CryptoKey) -> bytes | None:  # noqa: A002
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    made: bytes | None = None
    if format == "spki" and key.type == "public":
        made = key.material.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    elif format == "pkcs8" and key.type == "private":
        made = key.material.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    elif format == "raw" and key.type == "public":
        raw = key.name == "Ed25519"
        encoding = Encoding.Raw if raw else Encoding.X962
        made = key.material.public_bytes(encoding, PublicFormat.Raw if raw else PublicFormat.UncompressedPoint)
    return made
