"""Wheels as small as they can be, and pip asked for nothing but those of one folder."""

import os
import zipfile
from pathlib import Path


def wheel(folder: Path, package: str, files: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel that pip takes, with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    name = package.replace("-", "_")
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        for member, text in about.items():
            archive.writestr(f"{name}-{version}.dist-info/{member}", text)
    return path


def ask_only(monkeypatch, folder: Path) -> None:
    """Let pip find packages in `folder` alone, whatever this machine's settings are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
