"""The exceptions that pomona raises, in one tree.

    PomonaError                 exit status 1
    ├── UsageError              settings that are invalid or contradict each other; exit status 2
    ├── SourceError             the images, or the file of their labels, cannot be found or read
    │   └── NoImagesError       a source in which there are none
    ├── StoreError              the output folder is not a store, or not the right one
    │   ├── StoreDamagedError   one of its files is not what was written
    │   ├── StoreBusyError      another command is at work on it
    │   └── StoreWriteError     it cannot be written: no space left, read-only, no permission
    ├── ObjectStoreError        a bucket cannot be found, reached or used
    │   └── ObjectChangedError  an object has changed, or exists, against a request's condition
    ├── CloudError              a service of AWS cannot be reached or used, or refuses
    ├── BackboneError           a network's weights are missing or wrong
    ├── EngineError             the workers cannot do their work
    └── ImageError              an image that gives no features; in a run, a row of errors/

Every message is one line: what is wrong, where, and the remedy. Settings stand in backticks by
their Python names; the command line shows them as flags.
"""

from __future__ import annotations


class PomonaError(Exception):
    """The base of all errors that pomona raises on purpose."""


class UsageError(PomonaError):
    """Settings that are invalid or contradict each other."""


class SourceError(PomonaError):
    """The source of images, or the file of their labels, is missing or unreadable."""


class NoImagesError(SourceError):
    """A source that holds no images."""


class StoreError(PomonaError):
    """A folder that is not a store, is damaged, or was made by another recipe."""


class StoreDamagedError(StoreError):
    """A file of the store that can be read, but is not what was written."""


class StoreBusyError(StoreError):
    """Another command holds the store's lock."""


class StoreWriteError(StoreError):
    """The store cannot be written."""


class ObjectStoreError(PomonaError):
    """A bucket that cannot be used; reason: one word, such as "denied" or "unreachable"."""

    def __init__(self, message: str, reason: str = "refused") -> None:
        super().__init__(message, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


class ObjectChangedError(ObjectStoreError):
    """An object that exists already, or has changed."""

    def __init__(self, message: str, reason: str = "changed") -> None:
        super().__init__(message, reason)


class CloudError(PomonaError):
    """A service of AWS that cannot be used; reason: one word, such as "denied", or AWS's code."""

    def __init__(self, message: str, reason: str = "refused") -> None:
        super().__init__(message, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


class BackboneError(PomonaError):
    """A backbone whose weights are missing or wrong."""


class EngineError(PomonaError):
    """Workers that cannot start, or a task that failed for another reason than an image."""


class ImageError(PomonaError):
    """An image that gives no features.

    Parameters
    ----------
    stage : {"fetch", "decode", "network"}
        Where it failed.
    reason : str
        A key of `schemas.REASONS`.
    detail : str
        The library's own words, without paths and addresses.
    """

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.stage = stage
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        return type(self), (self.stage, self.reason, self.detail)
