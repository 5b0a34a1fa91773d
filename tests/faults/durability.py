"""The order in which a power cut is survived, held against what a command did to its files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pomona.store.layout import LOCK, TEMPORARIES

TRACED = (
    "openat,open,creat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,"
    "mkdir,mkdirat,unlink,unlinkat,rmdir"
)
KINDS = {
    "openat": "create",
    "open": "create",
    "creat": "create",
    "write": "write",
    "pwrite64": "write",
    "ftruncate": "write",
    "fsync": "fsync",
    "fdatasync": "fsync",
    "rename": "rename",
    "renameat": "rename",
    "renameat2": "rename",
    "mkdir": "mkdir",
    "mkdirat": "mkdir",
    "unlink": "unlink",
    "unlinkat": "unlink",
    "rmdir": "rmdir",
}


@dataclass(frozen=True)
class Event:
    """One operation that succeeded. path, target: absolute; target: only of a rename."""

    process: int
    kind: str
    path: str
    target: str = ""


def violations(events: Iterable[Event], store: Path) -> Iterator[str]:
    """What a power cut at the wrong moment would undo, or leave half-done.

    A file is written under a temporary name, synced, renamed, and then its folder is synced; so is
    the folder that a new folder lies in, and that which something was deleted from: all before
    the same process gives another file its name. The lock is worth nothing after a power cut.
    """
    lock = str(store / LOCK)
    temporaries = f"{store / TEMPORARIES}/"
    unsynced: set[str] = set()  # files whose content is not on the disk
    waiting: dict[int, set[str]] = defaultdict(set)  # process → folders whose names are not
    for event in events:
        path, own = event.path, waiting[event.process]
        folder = str(Path(path).parent)
        if event.kind in ("create", "write"):
            unsynced.add(path)
            if not path.startswith(temporaries) and path != lock:
                yield f"{path}: written in its place"
        elif event.kind == "fsync":
            unsynced.discard(path)
            own.discard(path)
        elif event.kind == "rename" and event.target != lock:
            if path in unsynced:
                yield f"{event.target}: renamed before its content was synced"
            for late in sorted(own):
                yield f"{late}: not synced before {event.target} got its name"
            own.clear()
            own.add(str(Path(event.target).parent))
        elif event.kind == "mkdir" or (event.kind == "unlink" and not path.startswith(temporaries)):
            own.add(folder)
        elif event.kind == "rmdir":
            own.discard(path)
            own.add(folder)
    for late in sorted(set().union(*waiting.values())):
        yield f"{late}: not synced at the end"


def named(events: Iterable[Event]) -> set[str]:
    """What got a name by a rename."""
    return {event.target for event in events if event.kind == "rename"}


_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(?:<.*>)?$")
_UNFINISHED = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<((?:[^>\\]|\\.)*)>")
_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')


def of_strace(lines: Iterable[str], store: Path) -> list[Event]:
    """The events in a store of `strace -f -y`, in the order in which the calls ended."""
    begun: dict[str, str] = {}
    events = []
    for line in lines:
        if match := _UNFINISHED.match(line):
            begun[match[1]] = f"{match[1]} {match[2]}({match[3]}"
            continue
        if match := _RESUMED.match(line):
            line = begun.pop(match[1], "") + match[3]
        call = _CALL.match(line)  # one that failed ends otherwise
        event = call and _event(int(call[1]), call[2], call[3])
        if event and (_is_in(event.path, store) or event.path == str(store.parent)):
            events.append(event)
    return events


def _is_in(path: str, store: Path) -> bool:
    return f"{path}/".startswith(f"{store}/")


def _event(process: int, call: str, arguments: str) -> Event | None:
    kind = KINDS.get(call)
    if kind is None:
        return None
    if kind in ("write", "fsync"):
        descriptor = _DESCRIPTOR.match(arguments)
        return descriptor and Event(process, kind, descriptor[1])
    names = _NAME.findall(arguments)
    folder = _DESCRIPTOR.match(arguments)
    places = [os.path.join(folder[1] if folder else "", name) for name in names]  # noqa: PTH118
    if kind == "create" and call != "creat" and "O_CREAT" not in arguments:
        return None
    if "AT_REMOVEDIR" in arguments:
        kind = "rmdir"
    return Event(process, kind, places[0], places[1] if len(places) > 1 else "")
