"""`CryptoKey`: a key, what it is for, and how it comes in and goes out."""

from __future__ import annotations

import base64
from typing import Any

from cfai.worker.web.conversion import options_of
from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.objects import JsObject
from cfai.worker.web.proxies import JsClass, JsProxy

__all__ = ["CryptoKey", "curve_of", "library", "public_of_jwk", "secret_of_jwk"]

_CURVES = {"P-256": "SECP256R1", "P-384": "SECP384R1", "P-521": "SECP521R1"}


class CryptoKey(JsProxy, metaclass=JsClass):
    """A key; `material` is bytes for a secret one, an object of the package cryptography for the others."""

    def __init__(
        self, kind: str, material: Any, algorithm: dict[str, Any], usages: list[str], extractable: bool
    ) -> None:
        self.type = kind
        self.material = material
        self.algorithm = JsObject(algorithm)
        self.usages = usages
        self.extractable = extractable

    @property
    def name(self) -> str:
        return str(self.algorithm.name)

    def require(self, name: str, usage: str) -> None:
        """Raise unless this key is one of algorithm `name`, made for `usage`."""
        if self.name != name:
            problem = f'Requested algorithm "{name}" does not match this CryptoKey\'s algorithm "{self.name}".'
            raise dom_exception("InvalidAccessError", problem)
        if usage not in self.usages:
            problem = f'Requested key usage "{usage}" does not match any usage listed in this CryptoKey.'
            raise dom_exception("InvalidAccessError", problem)

    def __repr__(self) -> str:
        return "[object CryptoKey]"


def library(of: str) -> Any:
    """The package cryptography, which knows what Python does not."""
    try:
        import cryptography
    except ImportError:
        problem = f'{of} needs the Python package "cryptography": pip install cryptography'
        raise dom_exception("NotSupportedError", problem) from None
    return cryptography


def curve_of(name: Any) -> Any:
    """The elliptic curve of that name."""
    from cryptography.hazmat.primitives.asymmetric import ec

    if name not in _CURVES:
        raise dom_exception("NotSupportedError", f'Unrecognized or unimplemented EC curve "{name}" requested.')
    return getattr(ec, _CURVES[name])()


def secret_of_jwk(data: Any) -> bytes:
    jwk = options_of(data)
    if jwk.get("kty") != "oct" or "k" not in jwk:
        raise dom_exception("DataError", 'A secret key as "jwk" has "kty": "oct" and its bytes in "k".')
    return _decoded(jwk["k"])


def public_of_jwk(data: Any) -> Any:
    """The public or private key of a JSON Web Key of kind RSA or EC."""
    jwk = options_of(data)
    numbers = {name: int.from_bytes(_decoded(jwk[name])) for name in _NUMBERS if name in jwk}
    try:
        return _rsa(numbers) if jwk.get("kty") == "RSA" else _ec(jwk, numbers)
    except (KeyError, ValueError) as error:
        raise dom_exception("DataError", f"Invalid JSON Web Key: {error}") from error


_NUMBERS = ("n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y")


def _rsa(numbers: dict[str, int]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    public = rsa.RSAPublicNumbers(numbers["e"], numbers["n"])
    if "d" not in numbers:
        return public.public_key()
    p, q, d, dp, dq, qi = (numbers[name] for name in ("p", "q", "d", "dp", "dq", "qi"))
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key()


def _ec(jwk: dict[str, Any], numbers: dict[str, int]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    if jwk.get("kty") != "EC":
        raise ValueError(f'the kind "kty" is {jwk.get("kty")!r}')
    public = ec.EllipticCurvePublicNumbers(numbers["x"], numbers["y"], curve_of(jwk.get("crv")))
    return (
        public.public_key()
        if "d" not in numbers
        else ec.EllipticCurvePrivateNumbers(numbers["d"], public).private_key()
    )


def _decoded(text: Any) -> bytes:
    return base64.urlsafe_b64decode(str(text) + "=" * (-len(str(text)) % 4))
