"""Files that a job is told to write at its end."""

import os
from pathlib import Path

from offline.errors import BadInputError


def require_writable(path: Path, option: str, kind: str) -> None:
    """Refuse a file that cannot be written, before the work that fills it; makes its folder, leaves nothing in it.

    Args:
        path: the file; one that is there stays as it is, and a link counts as what it leads to.
        option: that named it, for the message.
        kind: of file, for the message: "a JSON file".

    Raises:
        BadInputError: it is a folder or a device, or its folder cannot be made or written to.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            raise OSError("it is a folder" if target.is_dir() else "it is not a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Files are written whole under such a name and then moved: what counts is that the folder takes a new file.
        trial = target.with_name(f"{target.name}.{os.getpid()}.part")
        trial.touch()
        trial.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise BadInputError(f"{option} {path} cannot be written ({error}); give the path of {kind}") from error
