"""What pages say runs: their Python, commands and YAML, each page from top to bottom.

A page has a folder of its own and one set of names. A block that begins with ``# file: NAME`` is
that file, which the page uses further down.
"""

import re
import runpy
import shlex
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml

from dysta_gym import cli, load_scenario, load_track
from dysta_gym.agents.recipes import load_recipe

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^ *```$", re.M | re.S)
FILE = re.compile(r"# file: (\S+)\n")
SHOWN = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.M)
INLINE = re.compile(r"`(dysta-gym [^`]+)`")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    if "```" in path.read_text(encoding="utf-8")
}
NOT_RUN = {"docs/releasing.md": "it builds, tags and hands out a version"}
LANGUAGES = {"", "console", "json", "python", "sh", "text", "toml", "yaml"}

FEW = ("--seeds", "2", "--requests", "30")
CUT = {
    "compare": FEW,
    "compare --track": (),  # it fixes both
    "enter sjf --out": ("--track", "paper"),
    "verify": ("--part", "1/172"),
    "sweep": ("--shard", "1/1000"),
    "reproduce": ("figure2", "--fast"),
    "train": ("--steps", "2"),
}
"""What is put behind a command that begins so, the longest of these: the last option counts."""
SHORTER = {
    "learn(80_000": "learn(1",
    "VecEnv(64,": "VecEnv(2,",
    "batch_size=512": "batch_size=64",
    "seeds=range(5)": "seeds=range(1)",
    "train evolved": "train tiny.yaml",
    "train ppo": "train tiny.yaml",
    "runs/evolved-0": "runs/tiny-0",
}
"""Training is not what is tested."""
TINY = """
name: tiny
method: evolution
network: {kind: tiny, width: 2}
workloads: {scenarios: [multi-attnn], loads: [0.95], requests: 30, validation: 2}
steps: 2
validate_every: 1
"""
ONLY_PARSED = {
    "dysta-gym profile": "needs the networks' packages, and minutes",
    "dysta-gym sweep queues.yaml --out queues --ray": "needs a cluster",
    "dysta-gym sweep FILE.yaml": "is no file",
    "dysta-gym results DIR": "is no folder",
    "dysta-gym replay --traces DIR": "needs the artifact's traces",
    "dysta-gym compare --scenario my-chip-mix": "tests/test_own_package.py runs it, installed",
}
NEEDED = {
    "sb3_contrib": "sb3_contrib",
    "dysta-gym train": "sb3_contrib",
    "import torch": "torch",
    ".onnx": "onnxruntime",
    "--parquet": "pyarrow",
}
"""Libraries of extras, by what a page says that needs them."""
OF_OTHERS = {".", "pip", "tensorboard", "cd", "git", "jq", "python -m venv", "python3 -m venv"}
"""Programs that set things up, or that are not ours."""


def words(text):
    """The words of each command in a block for a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        split = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|>")
        split.whitespace_split = True
        command = []
        for word in split:
            if word == "|":
                yield command
                command = []
            elif word == ">":  # what is printed is not kept
                break
            else:
                command.append(word)
        if command:
            yield command


def cut(arguments):
    begun = [head for head in CUT if " ".join(arguments).startswith(head)]
    return [*arguments, *CUT.get(max(begun, key=len, default=""), ())]


def parsed(arguments):
    """Have the command line's own parser read a command, without running it."""
    cli._add_commands()
    commands = typer.main.get_command(cli.app).commands
    commands[arguments[0]].make_context(arguments[0], list(arguments[1:]))


def checked(content):
    """Have what reads such a file read what stands in it."""
    fields = yaml.safe_load(content)
    read = next((load for key, load in READERS.items() if key in fields and "name" in fields), None)
    if read:
        read(fields)


READERS = {"method": load_recipe, "blocks": load_track, "traces": load_scenario}


class Page:
    """A page as it is run."""

    def __init__(self, name, folder, run):
        self.name, self.folder, self.run = name, folder, run
        self.module = types.ModuleType("page")
        self.width = 160  # of a terminal

    def block(self, language, text):
        assert language in LANGUAGES, language
        if language == "python":
            for long, short in SHORTER.items():
                text = text.replace(long, short)
        if file := FILE.match(text):
            (self.folder / file[1]).write_text(text[file.end() :], encoding="utf-8")
        elif language == "python":
            exec(compile(text, self.name, "exec"), vars(self.module))
        elif language == "yaml":
            checked(text)
        elif language == "sh":
            for command in words(text):
                self.command(command)
        elif language in ("", "console"):
            for line, shown in SHOWN.findall(text):
                self.width = max(map(len, shown.splitlines()), default=160)
                assert shown.strip() in self.command(shlex.split(line), exact=True), line

    def command(self, command, exact=False):
        """Run it, and what it prints; as it stands, if what it prints stands there, too."""
        program, *arguments = command
        if program == "dysta-gym":
            for long, short in SHORTER.items():
                arguments = shlex.split(shlex.join(arguments).replace(long, short))
            line = shlex.join([program, *arguments])
            if any(line.startswith(head) for head in ONLY_PARSED) and ".onnx" not in line:
                parsed(arguments)
                return ""
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("COLUMNS", str(self.width))
                status, printed, said = self.run(*(arguments if exact else cut(arguments)))
            notes = [each for each in said.splitlines() if "compiling" not in each]
            assert status == 0 and (arguments[0] in ("train", "results") or not notes), (line, said)
            shown = [each for option, each in pairwise(arguments) if option == "--policy"]
            assert all(each.rstrip("@*") in printed for each in shown), (line, printed)
            return "\n".join(each.rstrip() for each in printed.splitlines())
        if program == "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
            assert arguments[0] in targets, arguments
        elif program == "python" and arguments[0].endswith(".py"):
            runpy.run_path(str(self.folder / arguments[0]), run_name="__main__")
        else:
            assert {program, " ".join(command[:3])} & OF_OTHERS, command
        return ""


@pytest.mark.parametrize("name", [name for name in PAGES if name not in NOT_RUN])
def test_a_page(name, tmp_path, monkeypatch, run):
    text = PAGES[name]
    for told, library in NEEDED.items():
        if told in text:
            pytest.importorskip(library)
    page = Page(name, tmp_path, run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "page", page.module)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for found in BLOCK.finditer(text):
        indent, language, block = found.groups()
        page.block(language, re.sub(f"^{indent}", "", block, flags=re.M))
        if file := FILE.match(block):  # it is used further down
            assert Path(file[1]).stem in text[found.end() :], file[1]


def test_commands_amid_the_text_are_there():
    cli._add_commands()
    commands = typer.main.get_command(cli.app).commands
    for name, text in PAGES.items():
        for command in INLINE.findall(BLOCK.sub("", text)):
            first, *others = command.split()[1:]
            known = {option for each in commands[first].params for option in each.opts}
            options = {other.partition("=")[0] for other in others if other.startswith("--")}
            assert options <= known | {"--help"}, (name, command)
