"""Writing a file so that it is whole or absent."""

import contextlib
import os
import tempfile
from pathlib import Path

from taut._core.errors import InputError


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name, rename it, and return its path.

    Raises:
        InputError: If there is no such folder.
    """
    if not path.parent.is_dir():
        where = f"there is no folder {path.parent}; make it first"
        raise InputError(f"{path} cannot be written: {where}")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files private; give the result the usual permissions.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return path
