"""`crypto`: random values, digests, and keys by known answers and there and back."""

import hashlib
import sys
from typing import Any

import pytest

from cfai.worker.web.buffers import TYPED_ARRAYS
from cfai.worker.web.crypto import crypto
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.exceptions import DOMException
from cfai.worker.web.values import to_js

subtle = crypto.subtle


async def key_of(name: str, data: bytes, *usages: str, **algorithm: Any) -> Any:
    return await subtle.importKey("raw", to_js(data), {"name": name, **algorithm}, True, usages)


def test_random_values() -> None:
    array: Any = to_js(bytes(32))
    assert crypto.getRandomValues(array) is array
    assert array.to_bytes() != bytes(32)
    numbers = TYPED_ARRAYS["Uint32Array"].new(8)
    assert any(number > 255 for number in crypto.getRandomValues(numbers))
    with pytest.raises(DOMException, match="only accepts buffers of size <= 64K but provided 65537 bytes"):
        crypto.getRandomValues(to_js(bytes(65537)))
    assert len(crypto.randomUUID()) == 36


@pytest.mark.parametrize("algorithm", ["SHA-256", "sha-256", {"name": "SHA-256"}])
async def test_a_digest(algorithm: Any) -> None:
    assert (await subtle.digest(algorithm, to_js(b"abc"))).to_bytes() == hashlib.sha256(b"abc").digest()


async def test_a_digest_of_a_stream() -> None:
    stream = crypto.DigestStream.new("SHA-256")
    writer = stream.getWriter()
    await writer.write(to_js(b"ab"))
    await writer.write(to_js(b"c"))
    await writer.close()
    assert (await stream.digest).to_bytes() == hashlib.sha256(b"abc").digest()
    assert stream.bytesWritten == 3


async def test_what_is_no_digest() -> None:
    with pytest.raises(DOMException, match='NotSupportedError: Unrecognized or unimplemented digest algorithm "CRC"'):
        await subtle.digest("CRC", to_js(b""))
    with pytest.raises(JsTypeError):
        await subtle.digest("SHA-256", "text")


async def test_hmac_by_a_known_answer() -> None:
    # RFC 4231, test case 2
    key = await key_of("HMAC", b"Jefe", "sign", "verify", hash="SHA-256")
    signature = await subtle.sign("HMAC", key, to_js(b"what do ya want for nothing?"))
    assert signature.to_bytes().hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert await subtle.verify("HMAC", key, signature, to_js(b"what do ya want for nothing?"))
    assert not await subtle.verify("HMAC", key, signature, to_js(b"something else"))
    assert (key.type, key.algorithm.to_py(), key.usages) == (
        "secret",
        {"name": "HMAC", "length": 32, "hash": {"name": "SHA-256"}},
        ["sign", "verify"],
    )


async def test_pbkdf2_by_a_known_answer() -> None:
    # RFC 6070, with 4096 iterations
    key = await key_of("PBKDF2", b"password", "deriveBits")
    how = {"name": "PBKDF2", "hash": "SHA-1", "salt": to_js(b"salt"), "iterations": 4096}
    assert (await subtle.deriveBits(how, key, 160)).to_bytes().hex() == "4b007901b765489abead49d926f721d065a429c1"


async def test_hkdf_by_a_known_answer() -> None:
    # RFC 5869, test case 1
    key = await key_of("HKDF", b"\x0b" * 22, "deriveBits")
    info = bytes(range(0xF0, 0xFA))
    how = {"name": "HKDF", "hash": "SHA-256", "salt": to_js(bytes(range(13))), "info": to_js(info)}
    assert (await subtle.deriveBits(how, key, 336)).to_bytes().hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


async def test_aes_gcm_by_a_known_answer() -> None:
    # NIST SP 800-38D, test case 4 of the GCM specification
    key = await key_of("AES-GCM", bytes.fromhex("feffe9928665731c6d6a8f9467308308"), "encrypt", "decrypt")
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    how = {
        "name": "AES-GCM",
        "iv": to_js(bytes.fromhex("cafebabefacedbaddecaf888")),
        "additionalData": to_js(bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")),
    }
    hidden = await subtle.encrypt(how, key, to_js(plain))
    assert hidden.to_bytes()[-16:].hex() == "5bc94fbc3221a5db94fae95ae7121a47"
    assert (await subtle.decrypt(how, key, hidden)).to_bytes() == plain
    with pytest.raises(DOMException, match="OperationError: Decryption failed"):
        await subtle.decrypt(how, key, to_js(bytes(32)))


@pytest.mark.parametrize(
    ("name", "more"), [("AES-CBC", {"iv": to_js(bytes(16))}), ("AES-CTR", {"counter": to_js(bytes(16)), "length": 64})]
)
async def test_other_ciphers_there_and_back(name: str, more: dict[str, Any]) -> None:
    key = await subtle.generateKey({"name": name, "length": 256}, True, ["encrypt", "decrypt"])
    how = {"name": name, **more}
    hidden = await subtle.encrypt(how, key, to_js(b"hello there, whoever you are"))
    assert (await subtle.decrypt(how, key, hidden)).to_bytes() == b"hello there, whoever you are"


@pytest.mark.parametrize(
    ("algorithm", "signing"),
    [
        ({"name": "ECDSA", "namedCurve": "P-256"}, {"name": "ECDSA", "hash": "SHA-256"}),
        ({"name": "RSASSA-PKCS1-v1_5", "modulusLength": 2048, "hash": "SHA-256"}, "RSASSA-PKCS1-v1_5"),
        ({"name": "RSA-PSS", "modulusLength": 2048, "hash": "SHA-256"}, {"name": "RSA-PSS", "saltLength": 32}),
        ({"name": "Ed25519"}, "Ed25519"),
    ],
    ids=["ECDSA", "RSASSA", "RSA-PSS", "Ed25519"],
)
async def test_signatures_there_and_back(algorithm: dict[str, Any], signing: Any) -> None:
    pair = await subtle.generateKey(algorithm, True, ["sign", "verify"])
    signature = await subtle.sign(signing, pair.privateKey, to_js(b"hello"))
    exported = await subtle.exportKey("spki", pair.publicKey)
    public = await subtle.importKey("spki", exported, algorithm, True, ["verify"])
    assert await subtle.verify(signing, public, signature, to_js(b"hello"))
    assert not await subtle.verify(signing, public, signature, to_js(b"other"))
    exported = await subtle.exportKey("pkcs8", pair.privateKey)
    private = await subtle.importKey("pkcs8", exported, algorithm, True, ["sign"])
    again = await subtle.sign(signing, private, to_js(b"hello"))
    assert await subtle.verify(signing, pair.publicKey, again, to_js(b"hello"))


async def test_a_token_by_a_json_web_key() -> None:
    # RFC 7515, appendix A.3
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
    key = await subtle.importKey("jwk", jwk, {"name": "ECDSA", "namedCurve": "P-256"}, False, ["verify"])
    signed = (
        b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
        b"c19yb290Ijp0cnVlfQ"
    )
    import base64

    text = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    signature = to_js(base64.urlsafe_b64decode(text + "=="))
    assert await subtle.verify({"name": "ECDSA", "hash": "SHA-256"}, key, signature, to_js(signed))


async def test_derived_keys() -> None:
    key = await key_of("PBKDF2", b"password", "deriveKey")
    how = {"name": "PBKDF2", "hash": "SHA-256", "salt": to_js(b"salt"), "iterations": 1000}
    derived = await subtle.deriveKey(how, key, {"name": "AES-GCM", "length": 256}, True, ["encrypt"])
    raw = await subtle.exportKey("raw", derived)
    assert raw.to_bytes() == hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1000, 32)
    assert (await subtle.exportKey("jwk", derived)).kty == "oct"


async def test_keys_are_for_what_they_are_for() -> None:
    key = await key_of("HMAC", b"secret", "sign", hash="SHA-256")
    with pytest.raises(DOMException, match='Requested key usage "verify" does not match any usage listed'):
        await subtle.verify("HMAC", key, to_js(b""), to_js(b""))
    with pytest.raises(DOMException, match='Requested algorithm "AES-GCM" does not match this CryptoKey\'s'):
        await subtle.encrypt("AES-GCM", key, to_js(b""))
    hidden = await subtle.importKey("raw", to_js(b"secret"), {"name": "HMAC", "hash": "SHA-256"}, False, ["sign"])
    with pytest.raises(DOMException, match="Attempt to export non-extractable HMAC key"):
        await subtle.exportKey("raw", hidden)
    with pytest.raises(DOMException, match="must have at least one usage"):
        await key_of("HMAC", b"secret", hash="SHA-256")
    with pytest.raises(DOMException, match='Unrecognized key import algorithm "ROT13" requested'):
        await key_of("ROT13", b"secret", "encrypt")


async def test_comparing_takes_its_time() -> None:
    assert subtle.timingSafeEqual(to_js(b"ab"), to_js(b"ab"))
    assert not subtle.timingSafeEqual(to_js(b"ab"), to_js(b"ac"))
    with pytest.raises(JsTypeError, match="Input buffers must have the same byte length"):
        subtle.timingSafeEqual(to_js(b"ab"), to_js(b"abc"))


async def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    key = await key_of("AES-GCM", bytes(16), "encrypt")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(DOMException, match='AES-GCM needs the Python package "cryptography": pip install cryptography'):
        await subtle.encrypt({"name": "AES-GCM", "iv": to_js(bytes(12))}, key, to_js(b""))
