"""Reads the files of a folder that is opened once, each file once, and compares their bytes with what a card says.

The law here: what is returned is what was hashed. A folder that another one replaces meanwhile is still the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from odelet.artifact.file_card import FileEntry
from odelet.errors import ArtifactError
from odelet.numerics.backend import NumpyArray

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

_CHUNK = 2**20
_CARD_LIMIT = 16 * 2**20
# Weights begin on a page, as they do in the file, so that every tensor is aligned in memory as well.
_PAGE = 4096

# Where the platform can, names are looked up in the folder that was opened, whatever its path leads to by then.
_IN_FOLDER = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
# A pipe in place of a file must not make us wait for its writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class OpenFolder:
    """A folder, open for reading its files; to be used in a `with` statement.

    path: of the folder. Raises ArtifactError when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        if not _IN_FOLDER:
            return
        try:
            # O_PATH needs no right to list the folder, as a path does not.
            self._descriptor = os.open(path, os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY))
        except OSError as error:
            raise ArtifactError(f"{path}: it cannot be opened ({error.strerror or error})") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def has(self, name: str) -> bool:
        """Whether something of this name is in the folder."""
        try:
            os.stat(self._place(name), dir_fd=self._descriptor)
        except OSError:
            return False
        return True

    def replaced(self) -> bool:
        """Whether the path leads to another folder by now."""
        if self._descriptor is None:
            return False
        try:
            now, then = os.stat(self.path), os.fstat(self._descriptor)
        except OSError:
            return True
        return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino)

    def read(self, name: str, entry: FileEntry | None, *, limit: int | None = _CARD_LIMIT) -> bytes:
        """Return the bytes of a file, after comparing their number and sha256 with the file's entry in the card.

        limit: the largest size in bytes of a file that has no entry. Raises ArtifactError.
        """
        with self._opened(name, entry, limit) as (file, size):
            chunks, left = [], size
            while left > 0 and (chunk := file.read(min(left, 2**30))):
                chunks.append(chunk)
                left -= len(chunk)
            self._check_whole(name, file, left)
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if entry is not None:
            self._check_hash(name, entry, hashlib.sha256(data).hexdigest())
        return data

    def read_weights(self, name: str, entry: FileEntry) -> NumpyArray:
        """Return the bytes of a file as an array of uint8 that begins on a page, compared as `read` does."""
        with self._opened(name, entry, None) as (file, size):
            memory = np.empty(size + _PAGE, np.uint8)
            start = -memory.ctypes.data % _PAGE
            weights = memory[start : start + size]
            digest, view, at = hashlib.sha256(), weights.data, 0
            while at < size and (count := file.readinto(view[at : at + _CHUNK])):
                digest.update(view[at : at + count])
                at += count
            self._check_whole(name, file, size - at)
        self._check_hash(name, entry, digest.hexdigest())
        return weights

    def check(self, name: str, entry: FileEntry) -> None:
        """Compare a file as `read` does, and keep nothing of it."""
        with self._opened(name, entry, None) as (file, left):
            digest = hashlib.sha256()
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                digest.update(chunk)
                left -= len(chunk)
            self._check_whole(name, file, left)
        self._check_hash(name, entry, digest.hexdigest())

    def _place(self, name: str) -> str:
        """What the platform's functions take for a file of the folder, with the folder's descriptor."""
        return name if self._descriptor is not None else str(self.path / name)

    @contextlib.contextmanager
    def _opened(self, name: str, entry: FileEntry | None, limit: int | None) -> Iterator[tuple[io.FileIO, int]]:
        """Open a plain file of the folder whose size fits. Yields it with its size."""
        path = self.path / name
        try:
            self._check_kind(name)
            with io.FileIO(os.open(self._place(name), _FLAGS, dir_fd=self._descriptor)) as file:
                yield file, self._size(path, os.fstat(file.fileno()), entry, limit)
        except FileNotFoundError:
            raise ArtifactError(f"{path}: the card lists it, but it is missing; copy the artifact again") from None
        except OSError as error:
            raise ArtifactError(f"{path}: it cannot be read ({error.strerror or error})") from None

    def _check_kind(self, name: str) -> None:
        """Raise ArtifactError for a link that leaves the folder, and for what is no plain file, without opening it."""
        place, folder = self._place(name), os.path.realpath(self.path)
        if stat.S_ISLNK(os.stat(place, dir_fd=self._descriptor, follow_symlinks=False).st_mode):
            target = os.path.join(folder, os.readlink(place, dir_fd=self._descriptor))
            # Path.resolve would meet a circle of links with an error of another kind.
            if not Path(os.path.realpath(target)).is_relative_to(folder):
                raise ArtifactError(
                    f"{self.path / name}: it is a link that leaves the folder; put the file itself there"
                )
        if not stat.S_ISREG(os.stat(place, dir_fd=self._descriptor).st_mode):
            raise ArtifactError(f"{self.path / name}: it is not a plain file")

    def _size(self, path: Path, found: os.stat_result, entry: FileEntry | None, limit: int | None) -> int:
        if not stat.S_ISREG(found.st_mode):  # it was one when its kind was looked at
            raise ArtifactError(f"{path}: it is not a plain file")
        if entry is not None and found.st_size != entry.bytes:
            raise ArtifactError(
                f"{path}: it has {found.st_size} bytes where the card says {entry.bytes}; it was cut short "
                "or replaced: copy the artifact again"
            )
        if entry is None and limit is not None and found.st_size > limit:
            raise ArtifactError(f"{path}: it has {found.st_size} bytes, too many for a card")
        return found.st_size

    def _check_whole(self, name: str, file: io.FileIO, left: int) -> None:
        """Raise ArtifactError unless the file ended where its size said. left: how many bytes did not come."""
        if left or file.read(1):
            raise ArtifactError(f"{self.path / name}: it changed while it was read; wait for its writer, load again")

    def _check_hash(self, name: str, entry: FileEntry, found: str) -> None:
        if found != entry.sha256:
            raise ArtifactError(
                f"{self.path / name}: its sha256 is not the one in the card, so its bytes have changed: copy the "
                "artifact again"
            )
