"""Files: whole or not at all, where they are asked for, and nothing else touched."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from dysta_gym import files
from dysta_gym.companions import write_csv
from dysta_gym.files import (
    NotOwn,
    is_scratch,
    open_own,
    replacing,
    visible,
    write_text,
)
from dysta_gym.provenance import KEY, provenance

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


def write(path, text="new"):
    with replacing(path) as scratch:
        assert scratch.name == Path(path).name and not scratch.exists()
        scratch.write_text(text)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_others_get_and_a_replaced_one_keeps_its_own(tmp_path, umask):
    (tmp_path / "own.csv").write_text("old")
    (tmp_path / "own.csv").chmod(0o640)
    before = os.umask(umask)
    try:
        write(tmp_path / "new.csv")
        (tmp_path / "plain.csv").write_text("")
        write(tmp_path / "own.csv")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new.csv") == mode(tmp_path / "plain.csv") == 0o666 & ~umask
    assert mode(tmp_path / "own.csv") == 0o640
    assert (tmp_path / "own.csv").read_text() == "new"


@pytest.mark.parametrize("fault", [ValueError("no"), KeyboardInterrupt()])
def test_what_fails_leaves_everything_as_it_was(tmp_path, fault):
    (tmp_path / "file.csv").write_text("old")
    with pytest.raises(type(fault)), replacing(tmp_path / "file.csv") as scratch:
        scratch.write_text("half")
        raise fault
    assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]
    assert (tmp_path / "file.csv").read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("through", [True, False])
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, refused, through):
    path = Path("/dev/full") if through else tmp_path / "file.csv"
    with refused(repr(str(path)), "cannot be written", "No space left"), replacing(path) as scratch:
        if through:
            scratch.write_text("too much")
        else:
            scratch.symlink_to("/dev/full")
            scratch.write_text("too much")
    assert list(tmp_path.iterdir()) == [] and Path("/dev/full").is_char_device()


def test_a_folder_is_no_file(tmp_path, refused):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "below"):
        with refused(repr(str(path)), "cannot be written"):
            write(path)


@posix
def test_a_link_goes_on_to_point_where_it_does(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    (tmp_path / "second.csv").symlink_to(tmp_path / "link.csv")
    (tmp_path / "dangling.csv").symlink_to("folder/made.csv")
    write(tmp_path / "second.csv")
    write(tmp_path / "dangling.csv")
    assert (tmp_path / "second.csv").readlink() == tmp_path / "link.csv"
    assert str((tmp_path / "link.csv").readlink()) == "real.csv"
    assert str((tmp_path / "dangling.csv").readlink()) == "folder/made.csv"
    assert (tmp_path / "real.csv").read_text() == "new"
    assert (tmp_path / "folder" / "made.csv").read_text() == "new"


@posix
def test_a_link_to_itself_is_refused(tmp_path, refused):
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with refused("loop.csv", "cannot be written"):
        write(tmp_path / "loop.csv")


@posix
def test_what_is_no_regular_file_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write(pipe, "through a pipe")
    reader.join(10)
    assert read == ["through a pipe"] and pipe.is_fifo()
    write(os.devnull)
    assert Path(os.devnull).is_char_device()
    (tmp_path / "null").symlink_to(os.devnull)
    write(tmp_path / "null")
    assert Path(os.devnull).is_char_device() and (tmp_path / "null").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["null", "pipe"]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("piped", [True, False])
def test_standard_output_is_a_file_too(tmp_path, name, piped):
    if not Path(name).exists():
        pytest.skip(f"needs {name}")
    program = f"""
from dysta_gym.files import replacing
print("before")
with replacing({name!r}) as scratch:
    scratch.write_text("written\\n")
print("after")
"""
    out = tmp_path / "out"
    with out.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE if piped else file, text=True, timeout=60, check=True,
        )  # fmt: skip
    assert (done.stdout if piped else out.read_text()) == "before\nwritten\nafter\n"
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_is_on_the_disk_before_it_is_in_its_place(tmp_path, monkeypatch):
    did = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (did.append(stat.S_IFMT(os.fstat(file).st_mode)),
                                                   sync(file)))  # fmt: skip
    monkeypatch.setattr(Path, "replace", lambda *paths: (did.append("replace"), replace(*paths)))
    write(tmp_path / "file.csv")
    assert did == [stat.S_IFREG, "replace", stat.S_IFDIR]


@pytest.mark.parametrize("refusals", [0, 1, 2, 3])
def test_a_file_that_somebody_has_open_is_replaced_once_it_is_closed(
    tmp_path, monkeypatch, refused, refusals
):
    """As Windows has it."""
    replace, tries = Path.replace, []

    def refuse(*paths):
        tries.append(paths)
        if len(tries) <= refusals:
            raise PermissionError(13, "Access is denied")
        return replace(*paths)

    path = tmp_path / "file.csv"
    path.write_text("old")
    monkeypatch.setattr(files, "_PAUSES_S", (0.001, 0.001))
    monkeypatch.setattr(Path, "replace", refuse)
    if refusals <= 2:
        write(path)
    else:
        with refused(str(path), "cannot be written", "Access is denied"):
            write(path)
    assert path.read_text() == ("new" if refusals <= 2 else "old")
    assert len(tries) == min(refusals, 2) + 1
    assert list(tmp_path.iterdir()) == [path]


def test_texts_and_tables_have_the_same_bytes_on_every_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")  # what Pandas ends lines with, unless told
    write_text(tmp_path / "page.md", "a\n\ud800\u20ac\n")
    table = pd.DataFrame({"a": ["\u20ac", "\ud800"]}, dtype=object)
    table.attrs[KEY] = provenance([])
    write_csv(table, tmp_path / "table.csv")
    assert (tmp_path / "page.md").read_bytes() == b"a\n\\ud800\xe2\x82\xac\n"
    assert (tmp_path / "table.csv").read_bytes() == b"a\n\xe2\x82\xac\n\\ud800\n"


# --- what killed processes leave -----------------------------------------------------------------


def killed(path):
    """A process that was killed while it wrote a file: what it left."""
    program = f"""
import os, signal
from dysta_gym.files import replacing
with replacing({str(path)!r}) as scratch:
    scratch.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = (each for each in path.parent.iterdir() if is_scratch(each))
    return left


@posix
def test_what_a_killed_process_leaves_is_no_file_of_a_kind_and_is_swept(tmp_path):
    path = tmp_path / "results.v2.csv"
    left = killed(path)
    assert [each.name for each in left.iterdir()] == ["results.v2.csv"]
    assert list(tmp_path.glob("*.csv")) == [] == visible(tmp_path, "*.csv")
    assert not path.exists()
    for other in ("results.csv", "results.v2.csv.csv", "results.v2"):
        write(tmp_path / other)
        assert left.exists()  # it is not theirs
    write(path)
    assert not left.exists() and path.read_text() == "new"


@posix
def test_temporary_folders_of_the_dead_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    make = "from dysta_gym.files import temporary_folder as made\nimport os, tempfile\n"
    make += f"tempfile.tempdir = {str(tmp_path)!r}\nown = made()\nplace = own.__enter__()\n"
    make += "(place / 'a').write_text('')\nos.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", make], check=False)
    (left,) = tmp_path.iterdir()
    assert list(left.iterdir())
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a").write_text("")
    alive = left.name.replace(left.name.split("-")[3], str(os.getpid()))
    dead = left.name[:-8] + "abcdefgh"
    (tmp_path / dead).symlink_to("others")
    (tmp_path / alive).mkdir()
    with files.temporary_folder() as own:
        assert {each.name for each in tmp_path.iterdir()} == {own.name, "others", dead, alive}
    assert not own.exists() and (tmp_path / "others" / "a").exists()


@posix
def test_only_what_is_left_is_swept(tmp_path):
    path = tmp_path / "file.csv"
    with replacing(path) as scratch:
        scratch.write_text("slow")
        for _ in range(2):
            write(path)  # meanwhile, from the same process
        assert scratch.exists()
        mine = scratch.parent
        for name in ("file.csv", ".file.csv", ".file.csv.scratch", f"{mine.name}.npz"):
            assert not is_scratch(tmp_path / name)
        assert is_scratch(mine)
        (tmp_path / f"{mine.name}.npz").write_text("not ours")
        (tmp_path / ".file.csv.scratch").mkdir()
        long_ago = time.time() - 7200
        os.utime(mine, (long_ago, long_ago))
        write(path)
        assert not mine.exists()  # older than any block takes
        scratch.parent.mkdir()
        scratch.write_text("slow")
    assert path.read_text() == "slow"
    full = killed(path)
    (full / "something").write_text("of somebody")
    write(path)
    assert sorted(each.name for each in full.iterdir()) == ["file.csv", "something"]


@pytest.mark.parametrize("name", ["x" * 250 + ".csv", "ü" * 120 + ".csv", " ", "a\nb"])
def test_any_name_will_do(tmp_path, name):
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_hidden_files_are_not_seen(tmp_path):
    for name in (".a.csv", "b.csv", "a.csv", "c.npz"):
        (tmp_path / name).touch()
    assert [path.name for path in visible(tmp_path, "*.csv")] == ["a.csv", "b.csv"]


# --- what is run when it is read -----------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda path: path.chmod(0o620), "by others"),
        (lambda path: path.chmod(0o602), "by others"),
        (lambda path: path.symlink_to(path.rename(path.with_name("real"))), "link"),
        (lambda path: (path.unlink(), path.mkdir()), "regular"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "regular"),
        (lambda path: path.chmod(0o640), None),
    ],
)
def test_only_ones_own_file_is_opened(tmp_path, made, why):
    path = tmp_path / "file"
    path.write_text("mine")
    made(path)
    if why is None:
        with open_own(path) as file:
            assert file.read() == b"mine"
    else:
        with pytest.raises(NotOwn, match=why):
            open_own(path)
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "none")
