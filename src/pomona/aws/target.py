"""What an environment is made for: the processor, the Python and the glibc of the nodes."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.errors import UsageError

# AWS's names of the architectures, and everybody else's.
ARCHITECTURES = {"X86_64": "x86_64", "ARM64": "aarch64"}
# The machine in the header of an ELF file.
ELF_MACHINES = {62: "x86_64", 183: "aarch64"}
# The Python that Spark takes in emr-7.13 and 7.14, and where Amazon Linux 2023 has it.
PYTHON, INTERPRETER = "3.11", "/usr/bin/python3.11"
# The oldest glibc for which all wheels exist; Amazon Linux 2023 has 2.34.
GLIBC_MINOR = 28
_LEGACY = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}


@dataclass(frozen=True)
class Target:
    """The machines that an environment is made for.

    Parameters
    ----------
    architecture : {"x86_64", "aarch64"}
        Their processor.
    python : str
        The version of their Python, such as "3.11".
    interpreter : str
        The path of their Python.

    Raises
    ------
    UsageError
        If the architecture is another.
    """

    architecture: str = "x86_64"
    python: str = PYTHON
    interpreter: str = INTERPRETER

    def __post_init__(self) -> None:
        if self.architecture not in ELF_MACHINES.values():
            known = " or ".join(ELF_MACHINES.values())
            raise UsageError(f"`architecture` {self.architecture}: give {known}")

    @property
    def words(self) -> str:
        """The target in a message."""
        return f"Python {self.python} on {self.architecture}"

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there, the newest first."""
        legacy = [f"{name}_{self.architecture}" for name in reversed(_LEGACY)]
        newer = [f"manylinux_2_{n}_{self.architecture}" for n in range(GLIBC_MINOR, 4, -1)]
        return newer + legacy

    @property
    def markers(self) -> dict[str, str]:
        """The variables of environment markers that differ from this machine's."""
        return {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def refuse_wheel(self, tags: list[str]) -> str | None:
        """Returns why a wheel does not run there; None if it does.

        Parameters
        ----------
        tags : list of str
            Those in its file WHEEL, such as "cp311-cp311-manylinux_2_28_x86_64".
        """
        reasons = [self._refuse(*tag.split("-")) for tag in tags if tag.count("-") == 2]
        return None if None in reasons else next(iter(reasons), "a package without a wheel")

    def _refuse(self, python: str, abi: str, platform: str) -> str | None:
        if platform != "any":
            architecture = next(
                (each for each in ELF_MACHINES.values() if platform.endswith(f"_{each}")), platform
            )
            if architecture != self.architecture:
                return architecture
            if platform not in self.platforms:
                return f"{platform}, a newer glibc than 2.{GLIBC_MINOR} or another C library"
        own = f"cp{self.python.replace('.', '')}"
        is_stable = abi == "abi3" and _minor(python) <= _minor(own)
        if python in (own, "py3", f"py{own[2:]}") or is_stable:
            return None
        return f"Python {python}"


def _minor(tag: str) -> int:
    """The 11 of cp311."""
    digits = tag.removeprefix("cp3")
    return int(digits) if digits.isdigit() else 0
