"""The key under which published user ids are hashed.

WildChat's ``hashed_ip`` can be reversed by hashing all addresses, and so could any hash with a public
salt. The key is therefore a secret: made once per user account, kept outside every dataset, and only its
fingerprint enters the plan. Every dataset derives its own key from it, so that users cannot be followed
from one dataset to another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import typer

from pipelines.config import ConfigError

VARIABLE = "SLUICE_USER_KEY"


def dataset_key(dataset: str, create: bool) -> str:
    """The key for one dataset: 64 hexadecimal digits.

    ``SLUICE_USER_KEY`` wins over the key file of the user account, which is made on first use; with
    ``create`` false a missing file gives the key of an empty secret, good for planning only.

    Raises:
        ConfigError: the key file is empty, as after a crash while it was made: ids under no key can be reversed.
    """
    secret = os.environ.get(VARIABLE) or _stored(create)
    return hmac.new(secret.encode(), dataset.encode(), hashlib.sha256).hexdigest()


def _stored(create: bool) -> str:
    path = Path(typer.get_app_dir("sluice")) / "user_key"
    if not path.exists():
        if not create:
            return ""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_hex(32))
    secret = path.read_text().strip()
    if not secret:
        raise ConfigError(f"{path}: expected a key, found an empty file; remove it")
    return secret
