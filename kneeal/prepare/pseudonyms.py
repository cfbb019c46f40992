"""Patient ids that cannot be led back to the patient without the key."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from kneeal.errors import UserError

_LEAST_BYTES = 16
_LENGTH = 16


class Pseudonyms:
    """Keyed hashes of patient ids: HMAC-SHA256, its first 64 bits, with a key of at least 16 bytes.

    The same key gives the same pseudonym in every data set; nobody can try ids out without it.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Pseudonyms:
        """The key is the content of a file, without blanks around it."""
        cure = f"make one that nobody can guess: head -c 32 /dev/urandom | base64 > {path}; keep it apart from the data"
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            raise UserError(f"--pseudonymize {path}: {error.strerror}", "a file with a key", cure) from error
        if len(key) < _LEAST_BYTES:
            raise UserError(f"--pseudonymize {path}: {len(key)} bytes", f"{_LEAST_BYTES} bytes or more", cure)
        return cls(key)

    def __call__(self, patient: str) -> str:
        """The pseudonym of a patient."""
        return "P" + hmac.new(self._key, patient.encode(), hashlib.sha256).hexdigest()[:_LENGTH] if patient else ""
