"""The package as it is imported, built and kept."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml

import dysta_gym
from dysta_gym import shipped_scenarios, shipped_traces
from dysta_gym.agents.recipes import shipped_recipes
from dysta_gym.entries import shipped_entries
from dysta_gym.reproduction import FIGURES
from dysta_gym.tracks import shipped_tracks

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "dysta_gym": "dysta_gym",
    "envs": "dysta_gym/envs",
    "baselines": "dysta_gym/baselines",
    "agents": "dysta_gym/agents",
}
"""Where the folders of the repository go in the package."""


def python(program, **options):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=True, capture_output=True, text=True, timeout=120, **options,
    )  # fmt: skip
    return json.loads(done.stdout)


def git(*arguments):
    return subprocess.run(
        ["git", "-C", ROOT, *arguments], capture_output=True, text=True, timeout=60
    )


def in_checkout():
    """Whether the tests stand in a checkout of the repository, and git is there."""
    if not shutil.which("git"):
        return False
    top = git("rev-parse", "--show-toplevel")
    return not top.returncode and Path(top.stdout.strip()).resolve() == ROOT.resolve()


def test_import_is_quick_and_light_and_registers_the_environment():
    runs = [
        python("""
import json, sys, time
start = time.perf_counter()
import dysta_gym
seconds = time.perf_counter() - start
import gymnasium
print(json.dumps([seconds, "SparseMultiDNN-v0" in gymnasium.registry, sorted(sys.modules)]))
""")
        for _ in range(4)
    ]
    assert min(seconds for seconds, _, _ in runs) < 0.5  # the machine may be busy with others
    _, registered, loaded = runs[0]
    assert registered
    heavy = {"torch", "matplotlib", "numba", "pandas", "typer", "stable_baselines3"}
    assert not heavy & set(loaded)


def test_public_names():
    assert sorted(dysta_gym.__all__) == sorted(dysta_gym._HOME)
    assert set(dysta_gym.__all__) <= set(dir(dysta_gym))
    for name, home in dysta_gym._HOME.items():
        thing = getattr(dysta_gym, name)
        assert thing is getattr(importlib.import_module(f"dysta_gym.{home}"), name)
        assert thing.__module__ == f"dysta_gym.{home}", f"{name} is defined elsewhere"
        assert thing.__doc__
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        dysta_gym.nothing_of_that_name  # noqa: B018
    namespace = {}
    exec("from dysta_gym import *", namespace)
    assert set(dysta_gym.__all__) <= set(namespace)


def read_yaml(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"] == {
        "version": {"attr": "dysta_gym.__version__"}
    }
    citation = read_yaml("CITATION.cff")
    assert dysta_gym.__version__ == version("dysta-gym") == str(citation["version"])
    assert citation["license"] == project["project"]["license"]
    assert citation["authors"] == project["project"]["authors"]


def test_ci_runs_what_contributors_run_on_every_python_that_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    job = read_yaml(".github/workflows/ci.yml")["jobs"]["test"]
    assert job["steps"][-1] == {"run": ".ci/run"} and (ROOT / ".ci" / "run").is_file()
    pythons = job["strategy"]["matrix"]["python"]
    assert project["requires-python"] == f">={pythons[0]}"
    named = [each.rpartition(" :: ")[2] for each in project["classifiers"] if " :: 3." in each]
    assert named == pythons


SYSTEMS = {"macos": "MacOS", "ubuntu": "POSIX :: Linux", "windows": "Microsoft :: Windows"}
"""Systems as CI calls them, and as classifiers do."""


def test_ci_installs_what_is_built_on_every_system_and_python_that_is_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    install = jobs["install"]
    matrix = install["strategy"]["matrix"]
    assert matrix["python"] == jobs["test"]["strategy"]["matrix"]["python"]
    assert sorted(matrix["system"]) == [f"{name}-latest" for name in sorted(SYSTEMS)]
    named = {each for each in project["classifiers"] if each.startswith("Operating System")}
    assert named == {f"Operating System :: {each}" for each in SYSTEMS.values()}
    assert install["needs"] == "package" and install["runs-on"] == "${{ matrix.system }}"
    assert not [step for step in install["steps"] if "checkout" in step.get("uses", "")]
    did = [step["run"] for step in install["steps"] if "run" in step]
    smoke = "python ../tests/smoke.py"
    assert did.count(smoke) == 2
    assert did.index("python -m pip install dist/*.whl") < did.index(smoke)
    assert did[-2:] == ["python -m pip install dist/*.tar.gz", smoke]
    (upload,) = (step for step in jobs["package"]["steps"] if "upload" in step.get("uses", ""))
    assert upload["with"]["path"].split() == ["dist/*", "tests/smoke.py"]


def test_the_forms_parse():
    hooks = read_yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert {"ruff-check", "ruff-format", "lint"} == {hook["id"] for hook in hooks}
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert {"bug.yml", "config.yml", "scheduler.yml"} == {path.name for path in forms}
    for path in forms:
        form = read_yaml(path)
        if path.name != "config.yml":
            assert form["name"] and form["description"]
            fields = [field["id"] for field in form["body"]]
            assert fields and len(set(fields)) == len(fields)


def test_only_one_room_knows_the_insides_of_numba():
    insides = re.compile(r"(numba\.(core|extending)|llvmlite)(\.|$)")
    seen = set()
    for folder in (*FOLDERS, "benchmarks", "examples", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            names = set()
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {each.name for each in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names |= {f"{node.module}.{each.name}" for each in node.names}
            seen |= {path.relative_to(ROOT) for name in names if insides.match(name)}
    room = Path("dysta_gym/compiled")
    assert {path for path in seen if room not in path.parents} == {Path("tests/test_compiled.py")}
    assert len(seen) > 3


def test_the_lowest_versions_are_those_that_are_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "constraints-lowest.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        each.partition(",")[0].replace(">=", "==") for each in project["dependencies"]
    ]


@pytest.fixture(scope="module")
def sources():
    """Every file of the repository, as a path from its root."""
    if in_checkout():
        listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout
        return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    listing = ROOT / "dysta_gym.egg-info" / "SOURCES.txt"  # of the source distribution
    if not listing.is_file():
        pytest.skip("neither a checkout of the repository nor a source distribution")
    names = set(listing.read_text("utf-8").splitlines())
    return {name for name in names if not name.startswith("dysta_gym.egg-info/")}


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory):
    """A folder with the source distribution, and the wheel that is built from it alone."""
    pytest.importorskip("build")
    try:
        setuptools = version("setuptools")
    except PackageNotFoundError:
        pytest.skip("setuptools is not installed")
    if int(setuptools.partition(".")[0]) < 77:
        pytest.skip("pyproject.toml needs setuptools 77")
    source = tmp_path_factory.mktemp("source")
    for name in sources:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"],
        cwd=source, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def sdist(built):
    (path,) = built.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


def test_source_distribution_is_the_repository(sdist, sources):
    assert sdist.stat().st_size < 25e6
    with tarfile.open(sdist) as archive:
        names = {each.name.partition("/")[2] for each in archive.getmembers() if not each.isdir()}
    made = {"PKG-INFO", "setup.cfg"}  # by setuptools
    given = {name for name in names if not name.startswith("dysta_gym.egg-info/")}
    assert given - made == sources - made
    needed = ["Makefile", "constraints.txt", "constraints-lowest.txt", "docs/policies/index.md"]
    needed += [f"tests/{name}" for name in ("conftest.py", "smoke.py", "golden/attnn.summary.csv")]
    needed += ["tests/corpus/yaml/norway.yaml", "benchmarks/page.py", "examples/own_policy.py"]
    assert set(needed) <= names


def test_editable_install_is_seen_without_running_code(sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (project,) = tmp_path.iterdir()
    script = "from setuptools import build_meta; print(build_meta.build_editable('..'))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        top = {name for name in archive.namelist() if "/" not in name}
        (path,) = (name for name in top if name.endswith(".pth"))
        assert top == {path}
        line = Path(archive.read(path).decode().strip())
    assert line.samefile(project)
    for folder, package in FOLDERS.items():
        assert (line / package / "__init__.py").samefile(project / folder / "__init__.py")
    names = ["dysta_gym.envs", "dysta_gym.baselines", "dysta_gym.agents", "dysta_gym_start"]
    program = f"import importlib, json; [importlib.import_module(n) for n in {names}]; print(0)"
    assert python(program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(line)}) == 0


def test_wheel_holds_the_package_and_its_data(wheel):
    assert wheel.stat().st_size < 20e6
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    modules = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    templates = (ROOT / "dysta_gym" / "reproduction" / "templates").rglob("*.md.j2")
    data = {
        "dysta_gym/py.typed",
        "dysta_gym/data/convolutions.json",
        *(path.relative_to(ROOT).as_posix() for path in templates),
        *(f"dysta_gym/report/templates/report.{kind}" for kind in ("html.j2", "css", "js")),
        *(f"dysta_gym/data/traces/{path.name}" for path in shipped_traces().values()),
        *(f"dysta_gym/data/scenarios/{path.name}" for path in shipped_scenarios().values()),
        *(f"dysta_gym/data/tracks/{path.name}" for path in shipped_tracks().values()),
        *(
            f"dysta_gym/data/leaderboard/{name}.csv{suffix}"
            for name in ("rows", "conditions")
            for suffix in ("", "-metadata.json")
        ),
        *(f"dysta_gym/data/entries/{path.name}" for path in shipped_entries().values()),
        *(f"dysta_gym/agents/recipes/{path.name}" for path in shipped_recipes().values()),
        *(
            f"dysta_gym/agents/checkpoints/{name}.npz"
            for name in ("evolved", "pareto", "ppo", "dqn")
        ),
    }
    assert len(data) > 2
    assert {f"dysta_gym/reproduction/templates/{name}.md.j2" for name in FIGURES} < data
    mine = {name for name in content if name.startswith("dysta_gym/")}
    assert mine == modules | data
    assert content["dysta_gym_start.py"] == (ROOT / "dysta_gym_start.py").read_bytes()
    for name in data:
        at_home = name.removeprefix("dysta_gym/") if name.startswith("dysta_gym/agents/") else name
        assert content[name] == (ROOT / at_home).read_bytes()
    (metadata,) = (name for name in content if name.endswith(".dist-info/METADATA"))
    assert b"License-Expression: MIT" in content[metadata]
    assert content[metadata].endswith(b"\n\n" + (ROOT / "PYPI.md").read_bytes())
    (tags,) = (name for name in content if name.endswith(".dist-info/WHEEL"))
    assert b"Root-Is-Purelib: true\nTag: py3-none-any\n" in content[tags]
    assert any(name.endswith("LICENSE") for name in content)


def test_the_page_of_the_package_index_leads_nowhere_beside_it_and_its_code_runs():
    page = (ROOT / "PYPI.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]*)\)", page)
    assert links and all(link.startswith("https://") for link in links)
    rule, environment = re.findall(r"```python\n(.*?)```", page, re.S)
    few = rule.replace('level="monitored")]', 'level="monitored")], seeds=[0], requests=20')
    assert few != rule
    python(f"{few}\n{environment}\nprint(0)".replace("print(table", "len(table"))


def test_wheel_works_where_the_repository_is_not(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    home, traces, accelerators, policies, learned = python(
        """
import json, sys
sys.path.insert(0, ".")
from importlib.metadata import distribution
import dysta_gym
from dysta_gym import load_scenario, shipped_scenarios, shipped_trace, shipped_traces
print(json.dumps([
    dysta_gym.__file__,
    [shipped_trace(name).name for name in shipped_traces()],
    [load_scenario(name).store().accelerator for name in shipped_scenarios()],
    sorted(e.name for e in distribution("dysta-gym").entry_points if "policies" in e.group),
    [len(dysta_gym.find(name).weights) for name in ("evolved", "pareto", "ppo", "dqn")],
]))
""",
        cwd=tmp_path,
    )
    assert Path(home).resolve().is_relative_to(tmp_path.resolve())
    assert traces == list(shipped_traces())
    assert accelerators == [
        dysta_gym.load_scenario(name).accelerator for name in shipped_scenarios()
    ]
    assert {"fcfs", "dysta", "dysta_oracle", "evolved"} <= set(policies)
    assert min(learned) > 100


def test_wheel_writes_the_page_where_the_repository_is_not(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    home, page = python(
        """
import json, sys
sys.path.insert(0, ".")
from pathlib import Path
from dysta_gym import reproduction
reproduction.reproduce(["figure2"], "out", page="page.md", fast=True)
print(json.dumps([reproduction.__file__, Path("page.md").read_text()]))
""",
        cwd=tmp_path,
    )
    assert Path(home).resolve().is_relative_to(tmp_path.resolve())
    assert "The last layer's latency runs, over inputs, minilm from" in page


EXTRAS = """
import json, sys
from pathlib import Path

class Missing:
    names = set(
        "accelerate cma cv2 gguf onnx sb3_contrib stable_baselines3 tensorboard tflite torch "
        "transformers".split()
    )

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from dysta_gym import agents, profiling

told = {}

def ask(what, use):
    try:
        use()
    except ImportError as error:
        told[what] = str(error)

for name in agents.__all__:
    ask(name, lambda: getattr(agents, name))
for name in ("evolved", "pareto", "ppo", "dqn"):
    ask(name, lambda: agents.train(name, Path("run")))
for name in profiling.NETWORKS:
    ask(name, lambda: profiling.rebuild([name], cache=Path("cache"), out=Path("out")))
print(json.dumps(told))
"""


def test_what_an_extra_is_missing_for_names_it_in_a_line_and_leaves_nothing(tmp_path):
    told = python(EXTRAS, cwd=tmp_path)
    agents = {"MixedVecEnv", "ScoringPolicy", "SparseMultiDNNVecEnv", "ValidationCallback"}
    agents |= {"evolved", "pareto", "ppo", "dqn"}
    assert set(told) == agents | set(dysta_gym.profiling.NETWORKS)
    for name, message in told.items():
        extra = "agents" if name in agents else "profile"
        what = rf"(train|{name}|measuring {name}|SparseMultiDNNVecEnv)"
        advice = re.escape(f'pip install "dysta-gym[{extra}]"')
        assert re.fullmatch(rf"{what}: [\w.]+ is missing; {advice}", message)
    assert list(tmp_path.iterdir()) == []


def test_no_tracked_file_names_a_machine():
    if not in_checkout():
        pytest.skip("not a checkout of the repository")
    folders = "work|root|home|tmp/w|tmp/venv|opt/pypi"  # apart, so that this file holds none
    found = git("grep", "-n", "-I", "-E", rf"(^|[^A-Za-z0-9_.~-])/({folders})/")
    assert found.returncode in (0, 1), found.stderr
    assert found.stdout == ""


def test_objects_say_in_a_line_what_they_are():
    workload = dysta_gym.generate(dysta_gym.load_scenario("multi-cnn"), 0)
    schedule = dysta_gym.simulate(workload, "sjf")
    trace = dysta_gym.shipped_trace("mpnet")
    for thing in (workload, workload.store, schedule, trace, dysta_gym.load_track("paper").seeds):
        told = repr(thing)
        assert type(thing).__name__ in told and len(told) < 250 and len(told.splitlines()) == 1
    assert "1000 requests" in repr(workload) and "1000 finished" in repr(schedule)
    assert "'mpnet' on 'sanger'" in repr(trace)


def test_rooms_are_attributes_of_the_package():
    """Without having been imported, so that ``help(dysta_gym.envs)`` works."""
    code = "import dysta_gym; print(dysta_gym.envs.SparseMultiDNNEnv.__name__, dir(dysta_gym))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("SparseMultiDNNEnv ['") and "'envs'" in done.stdout
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        dysta_gym.nope  # noqa: B018
