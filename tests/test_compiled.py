"""Compiled code on disk: found again when nothing that it was made of has changed, and only then.

Nothing here depends on whose permissions the tests run with: a folder that cannot be written is one
below a file.
"""

import copy
import json
import os
import pickle
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numba
import numpy as np
import pytest
from numba import types
from numba.core import config

from dysta_gym.compiled import cache, threads
from dysta_gym.compiled.functions import compiled

SAID = "dysta-gym: compiling what this run needs; this takes up to 30 s, "

PROGRAM = """
from dysta_gym.compiled.functions import compiled

@compiled("float64(float64)", inline=True)
def half(x):
    return x / 2

@compiled("float64(float64)")
def more(x):
    return half(x) + 1

@compiled("float64(float64)")
def unused(x):
    return x

print(more(3.0))
"""


def start(program, folder, *, home=None, **environment):
    base = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    base |= {"HOME": str(home or folder), "XDG_CACHE_HOME": "", **environment}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        env=base, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


def run(program, folder, **options):
    return finish(start(program, folder, **options))


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_compiled_once_and_said_once(tmp_path):
    assert run(PROGRAM, tmp_path) == ("2.5\n", f"{SAID}and is kept for later runs\n")
    kept = files(tmp_path)
    assert {path.parent for path in kept} == {tmp_path / ".cache" / "dysta-gym"}
    assert [path.name.partition("-")[0] for path in kept] == ["half", "more"]
    assert run(PROGRAM, tmp_path) == ("2.5\n", "")
    assert files(tmp_path) == kept


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_folder_of_ones_own(name, tmp_path):
    own = tmp_path / "own"
    run(PROGRAM, tmp_path, **{name: str(own)})
    assert {path.parent for path in files(tmp_path)} == {own / "dysta-gym"}


def test_two_first_runs_at_once(tmp_path):
    both = [start(PROGRAM, tmp_path) for _ in range(2)]
    assert [finish(process)[0] for process in both] == ["2.5\n"] * 2
    assert len(files(tmp_path)) == 2  # and no part of one
    assert run(PROGRAM, tmp_path) == ("2.5\n", "")


def test_nowhere_to_write(tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "below"
    for _ in range(2):
        out, err = run(PROGRAM, tmp_path, NUMBA_CACHE_DIR=str(place))
        assert out == "2.5\n"
        assert err == (
            f"{SAID}every time, for {place / 'dysta-gym'} cannot be written: set NUMBA_CACHE_DIR\n"
        )
    out, err = run(PROGRAM, tmp_path, home=tmp_path / "none")
    assert out == "2.5\n"
    assert err.startswith(f"{SAID}every time") and err.count("\n") == 1
    assert files(tmp_path) == [tmp_path / "file"]


def test_damaged_files_are_replaced(tmp_path):
    run(PROGRAM, tmp_path)
    kept = files(tmp_path)
    for damage in (lambda data: data[:-100], lambda data: data[:-1] + b"!", lambda data: b""):
        for path in kept:
            path.write_bytes(damage(path.read_bytes()))
        assert run(PROGRAM, tmp_path) == ("2.5\n", f"{SAID}and is kept for later runs\n")
    assert run(PROGRAM, tmp_path) == ("2.5\n", "")
    first, second = (path.read_bytes() for path in kept)
    kept[0].write_bytes(second)
    kept[1].write_bytes(first)
    assert run(PROGRAM, tmp_path) == ("2.5\n", f"{SAID}and is kept for later runs\n")
    for path in kept:  # cannot be read, nor replaced
        path.unlink()
        path.mkdir()
    assert run(PROGRAM, tmp_path) == ("2.5\n", f"{SAID}and is kept for later runs\n")
    assert files(tmp_path) == []


def test_files_long_unused_are_removed(tmp_path):
    run(PROGRAM, tmp_path)
    half, more = files(tmp_path)
    for path, days in ((half, 20), (more, 40)):
        os.utime(path, (path.stat().st_mtime - days * 86400,) * 2)
    run(PROGRAM.replace("half(x) + 1", "half(x) + 2"), tmp_path)
    assert half in files(tmp_path) and more not in files(tmp_path)
    os.utime(half, (half.stat().st_mtime - 40 * 86400,) * 2)
    run(PROGRAM.replace("more(3.0)", "half(3.0)"), tmp_path)  # uses it
    run(PROGRAM.replace("x / 2", "x / 4"), tmp_path)  # writes others
    assert half in files(tmp_path)


def test_closures_kept_by_other_processes_are_not_confused(tmp_path):
    program = """
import numpy as np
from numba import types
from dysta_gym.compiled.functions import address_of, compiled
from dysta_gym.compiled.records import invoke

floats = types.float64[::1]

def times(factor):
    def call(x):
        x[0] *= factor
    return compiled(types.void(floats))(call)

@compiled(types.void(types.intp, floats))
def run(rule, x):
    invoke(rule, (x,))

rules = [times(factor) for factor in FACTORS]
for rule in rules:
    rule.compile()
addresses = [address_of(rule) for rule in rules]
found = np.ones((2 * len(rules), 1))
for address, x in zip(addresses + addresses, found):
    run(address, x)
print(found.ravel().tolist())
"""
    for factors in ([2], [3]):
        out, err = run(program.replace("FACTORS", str(factors)), tmp_path)
        assert (out, err) == (f"{[float(factors[0])] * 2}\n", f"{SAID}and is kept for later runs\n")
    assert run(program.replace("FACTORS", "[2, 3]"), tmp_path) == (
        "[2.0, 3.0, 2.0, 3.0]\n",
        "",
    )


def test_without_compilation(refused, monkeypatch):
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    with refused("NUMBA_DISABLE_JIT", "1"):
        compiled(types.float64(types.float64))(lambda x: x)(1.0)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """``kept(function, *arguments)``: its value, and whether it was found on disk."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))

    def call(function, *arguments):
        value = function(*arguments)
        return value, bool(function.stats.cache_hits)

    return call


HELPERS = """
import enum
import math
import numpy as np
from typing import NamedTuple
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable
from dysta_gym.compiled.functions import compiled

NUMBER = 1.0
TABLE = np.array([1.0, 2.0])
PAIR = (1.0, (2, True))

class Colour(enum.IntEnum):
    RED = 1

class Pair(NamedTuple):
    left: float
    right: float

@intrinsic
def one(context):
    def codegen(context, builder, signature, arguments):
        return context.get_constant(types.float64, 1.0)
    return types.float64(), codegen

def stands(x):
    return x

@overload(stands)
def _stands(x):
    return lambda x: x * 1.0

@register_jitable
def plain(x):
    return x + 0.0

@njit
def deepest(x, more=0.5):
    return x + more

@compiled("float64(float64)", inline=True)
def deep(x):
    return plain(deepest(x)) + NUMBER
"""

PUBLIC = """
@compiled("float64(float64)")
def public(x):
    pair = Pair(x, 2.0 * x)
    x = helpers.deep(x) + TABLE[1] + PAIR[1][0] + Colour.RED.value + one() + stands(x) + pair.left
    return x + helpers.NUMBER + np.sum(TABLE) - math.log(1.0) - np.log(1.0)
"""


def public(text):
    helpers = ModuleType("queue")  # what is called as a module of Python's own is not taken for it
    exec(text, vars(helpers))
    namespace = {**vars(helpers), "helpers": helpers}
    exec(PUBLIC, namespace)
    return namespace["public"]


def test_any_change_of_what_a_function_is_made_of_is_noticed(kept):
    value, found = kept(public(HELPERS), 1.0)
    assert not found
    assert kept(public("# moved by a line\n" + HELPERS), 1.0) == (value, True)
    edits = {
        "NUMBER = 1.0": ("NUMBER = 2.0", 2.0),  # read by a helper, and by way of its module
        "[1.0, 2.0]": ("[1.0, 4.0]", 4.0),
        "(2, True)": ("(3, True)", 1.0),
        "RED = 1": ("RED = 3", 2.0),
        "float64, 1.0)": ("float64, 5.0)", 4.0),
        "x * 1.0": ("x * 3.0", 2.0),
        "x + 0.0": ("x + 7.0", 7.0),
        "more=0.5": ("more=1.5", 1.0),
        "x + more": ("x - more", -1.0),
        "plain(deepest(x)) +": ("plain(deepest(x)) + 9.0 +", 9.0),
        "left: float\n    right: float": ("right: float\n    left: float", 1.0),
    }
    for old, (new, difference) in edits.items():
        assert HELPERS.count(old) == 1
        changed = HELPERS.replace(old, new)
        assert kept(public(changed), 1.0) == (value + difference, False), new
        assert kept(public(changed), 1.0) == (value + difference, True), new


def test_a_constant_changed_after_it_was_compiled_in(kept):
    namespace = {"compiled": compiled, "NUMBER": 1.0}
    exec('@compiled("float64()")\ndef inner(): return NUMBER', namespace)
    outer = '@compiled("float64()")\ndef outer(): return inner()'
    assert kept(namespace["inner"]) == (1.0, False)
    namespace["NUMBER"] = 2.0
    exec(outer, namespace)
    assert kept(namespace["outer"]) == (1.0, False)  # Numba keeps to the first
    exec('@compiled("float64()")\ndef inner(): return NUMBER', namespace)
    exec(outer, namespace)
    assert kept(namespace["outer"]) == (2.0, False)


HELPER = """
from numba import njit
from numba.extending import register_jitable
from dysta_gym.compiled.functions import compiled

@DECORATOR
def helper(x): return NUMBER * x

@njit
def early(x): return helper(x)

@compiled("float64(float64)")
def one(x): return helper(x)

@compiled("float64(float64)")
def other(x): return helper(x) + 1.0
"""


@pytest.mark.parametrize(
    "decorator",
    ["njit", "njit('float64(float64)')", "register_jitable", "compiled(None, inline=True)"],
)
@pytest.mark.parametrize("user", ["early", "one"])
def test_a_helper_compiled_before_its_constant_changed(kept, decorator, user):
    def helpers(number):
        namespace = {"NUMBER": number}
        exec(HELPER.replace("DECORATOR", decorator), namespace)
        return namespace

    for _ in range(2):  # neither finds what the other one made
        stale = helpers(1.0)
        assert stale[user](3.0) == 3.0
        stale["NUMBER"] = 2.0
        # Numba keeps to the first, but where it has another code for this caller, or none yet.
        assert kept(stale["other"], 3.0) in ((4.0, False), (7.0, False), (7.0, True))
        fresh = helpers(2.0)
        found = kept(fresh["other"], 3.0)
        assert found[0] == 7.0
    assert found[1] == ("(" not in decorator or "None" in decorator)
    again = helpers(2.0)
    assert kept(again["one"], 3.0)[0] == 6.0
    assert kept(again["other"], 3.0) == found  # it is no matter who had the helper compiled


def test_a_helper_that_numba_keeps_itself(kept, tmp_path):
    (tmp_path / "mine.py").write_text(HELPER.replace("DECORATOR", "njit(cache=True)"))
    namespace = {"NUMBER": 1.0, "__file__": str(tmp_path / "mine.py")}
    exec(compile((tmp_path / "mine.py").read_text(), tmp_path / "mine.py", "exec"), namespace)
    assert kept(namespace["one"], 3.0) == (3.0, False)
    assert not list(tmp_path.rglob("*.compiled"))


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _device(path):
    path.unlink()
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero


def _linked(path):
    path.symlink_to(path.rename(path.with_suffix(".other")))


def _zeros(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes say nothing on this system")
@pytest.mark.parametrize(
    "plant",
    [
        _pipe,
        _device,
        _linked,
        _zeros,
        lambda path: path.chmod(0o666),
        lambda path: path.chmod(0o620),
        lambda path: os.chown(path, 54321, -1),
        lambda path: os.truncate(path, 65 * 2**20),
    ],
    ids=["pipe", "device", "link", "zeros", "all write", "group writes", "another's", "huge"],
)
def test_a_file_that_others_may_have_written_is_replaced(kept, tmp_path, plant):
    def half():
        return compiled("float64(float64)")(lambda x: x / 2)

    before = os.umask(0)
    try:
        assert kept(half(), 3.0) == (1.5, False)
        assert kept(half(), 3.0) == (1.5, True)
        (path,) = files(tmp_path)
        try:
            plant(path)
        except PermissionError:
            pytest.skip("takes the rights of root")
        assert kept(half(), 3.0) == (1.5, False)
        assert path.lstat().st_mode == stat.S_IFREG | 0o600
        assert path.parent.stat().st_mode == stat.S_IFDIR | 0o700
        assert kept(half(), 3.0) == (1.5, True)
    finally:
        os.umask(before)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes say nothing on this system")
def test_a_folder_that_others_can_write_into_is_not_used(tmp_path):
    run(PROGRAM, tmp_path)
    kept = files(tmp_path)
    place = kept[0].parent
    place.chmod(0o770)
    for _ in range(2):
        assert run(PROGRAM, tmp_path) == (
            "2.5\n",
            f"{SAID}every time, for {place} belongs to another user, or others may write into it: "
            "set NUMBA_CACHE_DIR\n",
        )
    run(PROGRAM.replace("half(x) + 1", "half(x) + 2"), tmp_path)
    assert files(tmp_path) == kept
    place.chmod(0o700)
    assert run(PROGRAM, tmp_path) == ("2.5\n", "")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes say nothing on this system")
def test_a_folder_that_others_can_put_another_in_the_place_of_is_not_used(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    said = ("2.5\n", f"{SAID}and is kept for later runs\n")
    assert run(PROGRAM, tmp_path, XDG_CACHE_HOME=str(base / "cache")) == said
    assert run(PROGRAM, tmp_path, XDG_CACHE_HOME=str(base / "cache")) == ("2.5\n", "")
    base.chmod(0o777)  # where anybody may rename what is in it
    out, err = run(PROGRAM, tmp_path, XDG_CACHE_HOME=str(base / "cache"))
    assert out == "2.5\n" and f"lies in {base}, in which others may replace it" in err
    base.chmod(0o1777)  # as /tmp
    assert run(PROGRAM, tmp_path, XDG_CACHE_HOME=str(base / "cache")) == ("2.5\n", "")
    link = tmp_path / "link"
    link.symlink_to(base / "cache")
    assert run(PROGRAM, tmp_path, XDG_CACHE_HOME=str(link)) == ("2.5\n", "")
    base.chmod(0o777)  # a link does not hide where it leads to
    assert "every time" in run(PROGRAM, tmp_path, XDG_CACHE_HOME=str(link))[1]
    base.chmod(0o755)
    try:
        os.chown(link, 54321, -1, follow_symlinks=False)
    except PermissionError:
        pytest.skip("takes the rights of root")
    assert (
        f"by {link}, a link of another user" in run(PROGRAM, tmp_path, XDG_CACHE_HOME=str(link))[1]
    )


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes say nothing on this system")
def test_a_folder_that_is_replaced_while_it_is_looked_at_is_not_read(kept, tmp_path, monkeypatch):
    def half():
        return compiled("float64(float64)")(lambda x: x / 2)

    assert kept(half(), 3.0) == (1.5, False)
    place = tmp_path / "dysta-gym"
    other = tmp_path / "other"
    real, seen = cache.open_own, []

    def replaced(path, folder=None):
        # Another folder stands there by now, with a file of the same name.
        if not seen:
            place.rename(other)
            place.mkdir()
            (place / path.name).write_bytes(b"evil")
        file = real(path, folder)
        seen.append(os.fstat(file.fileno()).st_ino == (other / path.name).stat().st_ino)
        return file

    monkeypatch.setattr(cache, "open_own", replaced)
    assert kept(half(), 3.0) == (1.5, True)
    assert seen == [True]


def test_options_and_types_are_part_of_it(kept):
    def total(x):
        out = 0.0
        for i in numba.prange(x.size):
            out += x[i]
        return out

    floats = types.float64[::1]
    seen = set()
    for signature in (types.float64(floats), types.float64(types.Array(types.float64, 1, "A"))):
        for options in ({}, {"inline": True}):
            for found in (False, True):
                function = compiled(signature, **options)(total)
                assert kept(function, np.arange(4.0)) == (6.0, found), (signature, options)
            seen.add(function.digest)
    assert len(seen) == 4
    function = compiled(types.float64(floats), cache=False)(total)
    assert kept(function, np.arange(4.0)) == (6.0, False)


def test_what_is_another_in_each_process_is_not_kept(kept, tmp_path):
    address = numba.cfunc("float64(float64)")(lambda x: x + 1)

    def call(x):
        return address(x)

    for _ in range(2):
        assert kept(compiled("float64(float64)")(call), 1.0) == (2.0, False)
    assert files(tmp_path) == []


def test_compiled_when_first_used_for_its_one_signature(kept):
    def half(x):
        return x[0] / 2

    function = compiled(types.float64(types.float64[::1]))(half)
    assert not function.signatures
    for _ in range(2):
        with pytest.raises(TypeError, match="No matching definition"):
            function(np.ones(4)[::2])
        assert function(np.ones(2)) == 0.5
    assert len(function.signatures) == 1
    number = compiled("float64(float64)")(lambda x: x / 2)
    assert number(1) == number(1) == 0.5


def test_a_function_that_calls_itself(kept):
    namespace = {"compiled": compiled}
    exec(
        "@compiled('int64(int64)')\ndef factorial(n): return 1 if n < 2 else n * factorial(n - 1)",
        namespace,
    )
    assert kept(namespace["factorial"], 5) == (120, False)


def test_first_used_by_many_threads(kept):
    for _ in range(3):
        function = compiled("float64(float64)")(lambda x: x + 1)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(function, range(32))) == [x + 1.0 for x in range(32)]


@compiled("float64(float64)")
def square(x):
    return x * x


def test_copies(kept):
    assert copy.deepcopy(square) is square
    assert pickle.loads(pickle.dumps(square)) is square
    assert square(3.0) == 9.0
    assert pickle.loads(pickle.dumps(square))(3.0) == 9.0


def test_written_at_a_prompt(tmp_path):
    out, _ = run(
        """
import json
from dysta_gym.compiled.functions import compiled
namespace = {"compiled": compiled}
exec("@compiled('float64(float64)')\\ndef more(x): return x + 1", namespace)
print(json.dumps([namespace["more"](1.0), compiled("float64(float64)")(lambda x: x - 1)(1.0)]))
""",
        tmp_path,
    )
    assert json.loads(out) == [2.0, 0.0]


@pytest.mark.parametrize("known", [threads._YIELDS, ("no_such_function",), ()])
def test_a_core_is_yielded_where_the_system_can(monkeypatch, known):
    monkeypatch.setattr(threads, "_YIELDS", known)

    @compiled(types.int64(types.int64), cache=False)
    def wait(number):
        threads.yield_core()
        return number

    assert wait(3) == 3
