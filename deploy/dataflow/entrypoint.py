"""Gives a worker its secrets, then becomes Beam's own entry.

Each ``SECRET_NAME=projects/P/secrets/S/versions/V`` of the image's environment becomes ``NAME`` with the value that Secret
Manager holds, read as the worker's service account. The image itself holds names of secrets, never their values.
"""

import base64
import os
import sys

BOOT = "/opt/apache/beam/boot"
PREFIX = "SECRET_"


def read(names: dict[str, str]) -> dict[str, str]:
    """Values of secrets by the variable they belong in."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    session = AuthorizedSession(credentials)
    found = {}
    for variable, name in names.items():
        answer = session.get(f"https://secretmanager.googleapis.com/v1/{name}:access", timeout=30)
        answer.raise_for_status()
        found[variable] = base64.b64decode(answer.json()["payload"]["data"]).decode()
    return found


def main() -> None:
    """Read what is named, and go on as Beam's entry with the same arguments."""
    named = {key.removeprefix(PREFIX): name for key, name in os.environ.items() if key.startswith(PREFIX)}
    if named:
        os.environ.update(read(named))
    os.execv(BOOT, [BOOT, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
