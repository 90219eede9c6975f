"""Some files out of a zip archive, bounded in size; names inside say nothing about where they are written."""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from offline.errors import BadInputError

MOST_BYTES: Final = 1 << 30
"""Of all files that are taken out, together."""


def unpack(archive: Path, names: Sequence[str], folder: Path) -> None:
    """Take the files of these names out of an archive, wherever they stand in it.

    Args:
        archive: a zip file.
        names: of files; those that the archive lacks are left out, but the first must be there.
        folder: for them.

    Raises:
        BadInputError: it is no whole zip file, lacks the first file, or holds too much.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            found = {PurePosixPath(entry.filename).name: entry for entry in reversed(opened.infolist())}
            if names[0] not in found:
                raise BadInputError(
                    f"{archive}: holds no {names[0]} (but {', '.join(sorted(found)[:5]) or 'nothing'}); give the "
                    "archive as its source hands it out"
                )
            if sum(found[name].file_size for name in names if name in found) > MOST_BYTES:
                raise BadInputError(f"{archive}: holds more than {MOST_BYTES} bytes; give the archive of its source")
            for name in names:
                if name in found:
                    with opened.open(found[name]) as source, (folder / name).open("wb") as target:
                        shutil.copyfileobj(source, target)  # no more than the archive says: zipfile checks it
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInputError(f"{archive}: is no whole zip file ({error}); download it again") from error
