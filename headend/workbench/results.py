"""Result files that belong together: all of them are new, or all of them are as they were.

The rule it keeps: nobody ever reads half a file, nor a new one beside an old one; what failed leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4


def write_together(texts: Mapping[Path, str]) -> None:
    """Write each text under a temporary name beside its file, and rename once all are there. Raises OSError that names
    the file which could not be written.
    """
    run = uuid4().hex[:12]
    fresh = {path: path.with_name(f".{path.name}.{run}.new") for path in texts}
    with ExitStack() as scratch:
        for path, text in texts.items():
            scratch.callback(fresh[path].unlink, missing_ok=True)
            with _named(path):
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                fresh[path].write_text(text, encoding="utf-8")
        _put(fresh, run)


def _put(fresh: Mapping[Path, Path], run: str) -> None:
    """Rename every fresh file; where one cannot be, the old ones come back."""
    replaced: list[Path] = []
    with ExitStack() as undo:
        for path, new in fresh.items():
            with _named(path):
                if os.path.lexists(path):
                    old = path.with_name(f".{path.name}.{run}.old")
                    os.replace(path, old)
                    undo.callback(os.replace, old, path)
                    replaced.append(old)
                else:
                    undo.callback(path.unlink, missing_ok=True)
                os.replace(new, path)
        undo.pop_all()
    for old in replaced:
        old.unlink()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name the file that was wanted, not its temporary one; a full disk names none by itself."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
