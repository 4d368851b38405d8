"""How an editable install is laid out; everything else about the package is in pyproject.toml.

``envs``, ``baselines`` and ``agents`` stand beside ``dysta_gym`` and are parts of it. Setuptools
would say so by code that runs when Python starts, which type checkers and editors do not run. With
a link to each in ``dysta_gym``, the repository itself is where all of them find the package.
"""

from contextlib import suppress
from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel


class Editable(editable_wheel):
    """An editable install by links, or as setuptools makes it where the system has no links."""

    def finalize_options(self) -> None:
        """Lay it out, before setuptools looks at the folders of the packages."""
        places = self.distribution.package_dir.items()
        elsewhere = [(name, folder) for name, folder in places if "." in name]
        if all(linked(Path(*name.split(".")), folder) for name, folder in elsewhere):
            self.distribution.package_dir = {"": "."}
        super().finalize_options()


def linked(link: Path, folder: str) -> bool:
    """Whether a link leads to a folder of the repository, one made here if there is none."""
    with suppress(OSError):
        if not link.exists():
            link.symlink_to(Path("..", folder), target_is_directory=True)
        return link.samefile(folder)
    return False


setup(cmdclass={"editable_wheel": Editable})
