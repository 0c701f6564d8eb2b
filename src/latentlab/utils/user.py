"""The name of the user."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """Return $LOGNAME, $USER or the name of the password database; without a name, the number.

    A container can run with the number of a user whom its password database does not know.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # ImportError: Windows without USERNAME
        return str(os.getuid()) if hasattr(os, "getuid") else "user"
