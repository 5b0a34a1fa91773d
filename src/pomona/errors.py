"""The exceptions that pomona raises, in one tree.

    PomonaError                 exit status 1
    ├── UsageError              exit status 2: flags or arguments that cannot be
    ├── SourceError             the images, or the list of their labels, cannot be found or read
    ├── StoreError              the output folder is not, or not any more, what it should be
    │   ├── StoreDamagedError   one of its files is not what was written
    │   ├── StoreBusyError      another run is at work on it
    │   └── StoreWriteError     it cannot be written: no space left, read-only, no permission
    ├── ObjectStoreError        a bucket cannot be found, reached or used
    │   └── ObjectChangedError  an object is not, or not any more, what a request was conditional on
    ├── BackboneError           a network's weights are missing or wrong
    ├── EngineError             the workers cannot do their work
    └── ImageError              one image that gives no features; a row of errors/ in a run

Every message is one line that says what is wrong, where, and the way out.
"""

from __future__ import annotations


class PomonaError(Exception):
    """Base of everything that pomona raises on purpose."""


class UsageError(PomonaError):
    """Arguments that contradict each other or have no meaning."""


class SourceError(PomonaError):
    """The source of images, or the file of their labels, is missing or unreadable."""


class StoreError(PomonaError):
    """A folder that is not a store, is damaged, or was made by another recipe."""


class StoreDamagedError(StoreError):
    """A file of the store that can be read, and is not what was written."""


class StoreBusyError(StoreError):
    """Another run holds the store's lock."""


class StoreWriteError(StoreError):
    """The store cannot be written."""


class ObjectStoreError(PomonaError):
    """A bucket that cannot be used; reason: one word of why, as "denied" or "unreachable"."""

    def __init__(self, message: str, reason: str = "refused") -> None:
        super().__init__(message, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


class ObjectChangedError(ObjectStoreError):
    """An object that is there already, or is another than it was."""

    def __init__(self, message: str, reason: str = "changed") -> None:
        super().__init__(message, reason)


class BackboneError(PomonaError):
    """A backbone's weights are missing or not what they should be."""


class EngineError(PomonaError):
    """The engine's workers cannot start, or a task failed in a way that is not an image's fault."""


class ImageError(PomonaError):
    """An image that gives no features.

    stage: "fetch", "decode" or "network"; reason: one of `schemas.REASONS`; detail: the
    library's own words, free of paths and addresses.
    """

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.stage = stage
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        return type(self), (self.stage, self.reason, self.detail)
