"""Events of a folder on disk, from the system: inotify on Linux, FSEvents on macOS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from pomona.operations.events import Names

_IGNORED = ("opened", "closed_no_write")


class FolderEvents(Names):
    """What the system tells of a folder and those in it.

    Parameters
    ----------
    folder : str
        The folder.
    is_wanted : callable
        Whether a file of this name, relative to the folder, may be an image.
    apart : str or None
        A folder in it whose changes do not count: the store.

    Raises
    ------
    OSError
        If the system cannot watch so many folders.
    """

    def __init__(self, folder: str, is_wanted: Callable[[str], bool], apart: str | None) -> None:
        super().__init__()
        self._root = os.path.abspath(folder)
        self._is_wanted = is_wanted
        self._apart = None if apart is None else os.path.abspath(apart)
        self._identity = _identity(self._root)
        self._observer = Observer()
        self._observer.daemon = True
        self._observer.schedule(_Handler(self._see), self._root, recursive=True)
        self._observer.start()

    def close(self) -> None:
        """Ends the watch."""
        self._observer.stop()
        self._observer.join()

    def is_alive(self) -> bool:
        """Whether the folder is still the one that is watched: not removed, nor mounted anew."""
        return self._observer.is_alive() and _identity(self._root) == self._identity

    def _see(self, event: FileSystemEvent) -> None:
        if event.event_type in _IGNORED or (event.is_directory and event.event_type == "modified"):
            return
        for path in (event.src_path, event.dest_path):
            if path:
                self._see_path(os.fsdecode(path), is_folder=event.is_directory)

    def _see_path(self, path: str, *, is_folder: bool) -> None:
        if self._apart is not None and Path(path).is_relative_to(self._apart):
            return
        if path == self._root or not Path(path).is_relative_to(self._root):
            return
        name = os.path.relpath(path, self._root)
        if is_folder or self._is_wanted(name):
            self.add(name)


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Handler(FileSystemEventHandler):
    """What watchdog calls, in its thread."""

    def __init__(self, see: Callable[[FileSystemEvent], None]) -> None:
        self._see = see

    def dispatch(self, event: FileSystemEvent) -> None:
        self._see(event)
