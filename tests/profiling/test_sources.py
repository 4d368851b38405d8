"""Fetching a package: a small one from a folder, as pip takes it from there, too."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from dysta_gym.profiling.sources import Package, fetch

DATA = "tiny_net/weights.txt"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that pip finds; the working folder is another one."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "tiny_net-0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(DATA, "1 2 3")
        info = "tiny_net-0.1.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-net\nVersion: 0.1\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.chdir(tmp_path)
    return path


def test_a_package_is_fetched_once_into_any_cache(wheel):
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    package = Package("pypi", "tiny-net", "0.1", "MIT", digest)
    folder = fetch(package, Path("some/cache"))  # relative, as the command's default is
    assert folder.is_relative_to(Path("some/cache").resolve())
    assert (folder / DATA).read_text() == "1 2 3"
    wheel.unlink()
    assert fetch(package, Path("some/cache")) == folder
    assert [path.name for path in Path("some/cache").iterdir()] == [folder.name]  # no scratch


def test_packages_that_cannot_be_had(wheel, refused):
    with refused("tiny-net 0.1", "sha256", "expected 123"):
        fetch(Package("pypi", "tiny-net", "0.1", "MIT", "123"), Path("cache"))
    with refused("no-such-net 0.1", "cannot be downloaded"):
        fetch(Package("pypi", "no-such-net", "0.1", "MIT"), Path("cache"))
    with refused("tiny-net", "'conda'", "pypi, npm or debian"):
        fetch(Package("conda", "tiny-net", "0.1", "MIT"), Path("cache"))
    assert not any(Path("cache").iterdir())
