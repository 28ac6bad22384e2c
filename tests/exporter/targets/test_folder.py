"""An export replaces an artifact in one step, deletes nothing of the user's, and leaves nothing half-written."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from support.artifacts import affine_card, write_affine

from odelet.artifact.folder import check
from odelet.errors import InputError, OdeletError
from odelet_export import export
from odelet_export.errors import OutputError
from odelet_export.targets import exchange
from odelet_export.targets.folder import staging

RENAMES = ("exchange", "two renames")


@pytest.fixture(params=RENAMES)
def renames(request, monkeypatch):
    """How an artifact is replaced: as this system does it, or as one without an exchange."""
    if request.param == "two renames":
        monkeypatch.setattr(exchange, "_function", lambda: None)
    return request.param


def failed_of(out):
    return out.with_name(f"{out.name}.failed")


def stage(out, text="new"):
    """Stage an artifact that holds no more than a text."""
    with staging(out, failed=failed_of(out)) as folder:
        (folder / "odelet.json").write_text("{}")
        (folder / "weights.bin").write_text(text)


def text_of(out):
    return (out / "weights.bin").read_text()


class Different(Exception):
    """As a ParityError."""

    keep = True


def stage_differing(out):
    with pytest.raises(Different), staging(out, failed=failed_of(out)) as folder:
        (folder / "odelet.json").write_text('{"parity": {"passed": false}}')
        raise Different


class TestReplacing:
    def test_this_system_exchanges(self, tmp_path):
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / "text").write_text(name)
        if not exchange.exchange(tmp_path / "a", tmp_path / "b"):
            pytest.skip("the file system of the tests has no exchange")
        assert [(tmp_path / name / "text").read_text() for name in "ab"] == ["b", "a"]
        with pytest.raises(FileNotFoundError):
            exchange.exchange(tmp_path / "a", tmp_path / "nowhere")

    def test_the_new_artifact_takes_the_name(self, tmp_path, renames):
        out = tmp_path / "deep" / "down" / "out"
        stage(out, "old")
        assert text_of(out) == "old"
        stage(out)
        assert text_of(out) == "new"
        assert os.listdir(out.parent) == ["out"]

    def test_a_reader_never_sees_neither(self, tmp_path):
        out = tmp_path / "out"
        stage(out, "0")
        if exchange._function() is None:
            pytest.skip("the system has no exchange")
        seen, done = [], Event()

        def read():
            while not done.is_set():
                seen.append((out / "odelet.json").exists() and (out / "weights.bin").exists())

        reader = Thread(target=read)
        reader.start()
        for number in range(40):
            stage(out, str(number))
        done.set()
        reader.join()
        assert len(seen) > 100
        assert text_of(out) == "39"
        assert False not in seen

    def test_a_load_meanwhile_gives_the_old_artifact_or_the_new_one(self, tmp_path):
        if exchange._function() is None:
            pytest.skip("the system has no exchange")
        out, done, loaded = tmp_path / "out", Event(), []
        cards = [affine_card(versions={"torch": version}) for version in ("1", "2")]
        write_affine(out, cards[0])

        def replace():
            for number in range(15):
                with staging(out, failed=failed_of(out)) as folder:
                    write_affine(folder, cards[1 - number % 2])
            done.set()

        with ThreadPoolExecutor(1) as pool:
            replacing = pool.submit(replace)
            while not done.is_set():
                loaded.append(check(out).card.versions["torch"])
            replacing.result()
        assert {*loaded} == {"1", "2"}

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "I/O error")])
    @pytest.mark.parametrize("number", [1, 2])
    def test_the_old_artifact_comes_back(self, tmp_path, monkeypatch, error, number):
        monkeypatch.setattr(exchange, "_function", lambda: None)
        out, rename, calls = tmp_path / "out", Path.rename, []
        stage(out, "old")

        def broken(self, target):
            calls.append(target)
            if len(calls) == number:
                raise error
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", broken)
        with pytest.raises((KeyboardInterrupt, OutputError)):
            stage(out)
        assert len(calls) == number + (number == 2)
        assert text_of(out) == "old"
        assert os.listdir(tmp_path) == ["out"]

    def test_the_old_artifact_is_kept_even_where_it_cannot_come_back(self, tmp_path, monkeypatch):
        monkeypatch.setattr(exchange, "_function", lambda: None)
        out, rename = tmp_path / "out", Path.rename
        stage(out, "old")

        def broken(self, target):
            if target == out:
                raise OSError(errno.EIO, "I/O error")
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", broken)
            with pytest.raises(OutputError, match=r"cannot be written \(I/O error\)"):
                stage(out)
            assert not out.exists()
        with pytest.raises(RuntimeError), staging(out, failed=failed_of(out)):  # the next export finds it
            assert text_of(out) == "old"
            raise RuntimeError
        assert text_of(out) == "old"
        assert os.listdir(tmp_path) == ["out"]

    def test_an_export_that_fails_leaves_nothing(self, tmp_path, renames):
        out = tmp_path / "made" / "out"
        with pytest.raises(RuntimeError), staging(out, failed=failed_of(out)) as folder:
            (folder / "odelet.json").write_text("{}")
            raise RuntimeError
        assert os.listdir(tmp_path) == []

    def test_exports_to_one_place_at_one_time(self, tmp_path, renames):
        out = tmp_path / "out"
        with staging(out, failed=failed_of(out)) as folder:
            (folder / "odelet.json").write_text("{}")
            (folder / "weights.bin").write_text("slow")
            stage(out, "quick")
            assert text_of(out) == "quick"
        assert text_of(out) == "slow"
        assert os.listdir(tmp_path) == ["out"]


class TestWhatIsTheUsers:
    @pytest.mark.parametrize("name", ["notes.txt", "parity.txt", ".gitignore", "model.onnx.bak", "plots/"])
    def test_a_folder_with_other_files_is_not_replaced(self, tmp_path, name):
        out = write_affine(tmp_path / "out")
        (out / name).mkdir() if name.endswith("/") else (out / name).write_text("mine")
        before = sorted(os.listdir(out))
        with pytest.raises(InputError, match=rf"holds '{name.rstrip('/')}' besides the files of an artifact"):
            stage(out)
        assert sorted(os.listdir(out)) == before

    def test_a_folder_with_a_name_of_an_artifact_is_not_replaced(self, tmp_path):
        out = tmp_path / "out"
        stage(out, "old")
        (out / "samples.npz").mkdir()
        with pytest.raises(InputError, match=r"holds 'samples.npz' besides"):
            stage(out)

    def test_files_that_come_during_an_export_are_not_replaced(self, tmp_path):
        out = tmp_path / "out"
        with (
            pytest.raises(InputError, match="is not an artifact"),
            staging(out, failed=failed_of(out)),
        ):
            out.mkdir()
            (out / "thesis.tex").write_text("all of it")
        assert os.listdir(out) == ["thesis.tex"]
        assert os.listdir(tmp_path) == ["out"]

    def test_what_the_card_lists_is_the_artifacts(self, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        for name in ("other.bin", "model.onnx", "parity.md", ".DS_Store"):
            (out / name).write_text("")
        (out / "odelet.json").write_text('{"files": {"other.bin": {}, "model.onnx": {}}}')
        stage(out)
        assert text_of(out) == "new"

    def test_a_damaged_artifact_can_be_made_again(self, tmp_path):
        out = write_affine(tmp_path / "out")
        (out / "odelet.json").write_text("{")
        (out / "segment_0.onnx").write_text("")
        stage(out)
        assert text_of(out) == "new"

    @pytest.mark.parametrize(
        "content", [{}, {"thesis.tex": "all of it"}, {"odelet.json": '{"parity": {"passed": true}}'}]
    )
    def test_only_a_failed_artifact_is_replaced_by_a_failed_one(self, tmp_path, content):
        out = tmp_path / "out"
        failed_of(out).mkdir()
        for name, text in content.items():
            (failed_of(out) / name).write_text(text)
        if not content:
            return stage_differing(out)
        with pytest.raises(InputError, match=r"it is not such an artifact of an earlier export"):
            stage(out)  # before any work
        assert os.listdir(tmp_path) == ["out.failed"]
        assert os.listdir(failed_of(out)) == [*content]
        return None

    def test_notes_beside_a_failed_artifact_stay(self, tmp_path):
        out = tmp_path / "out"
        stage_differing(out)
        stage_differing(out)
        assert os.listdir(tmp_path) == ["out.failed"]
        (failed_of(out) / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match=r"out.failed' holds 'notes.txt' besides"):
            stage(out)

    def test_a_report_says_that_an_artifact_failed(self, tmp_path):
        out = tmp_path / "out"
        failed_of(out).mkdir()
        (failed_of(out) / "parity.json").write_text(json.dumps({"passed": False}))
        stage_differing(out)
        assert os.listdir(failed_of(out)) == ["odelet.json"]


class TestLinks:
    def test_a_link_stays_a_link(self, tmp_path, renames):
        disk = tmp_path / "disk"
        stage(disk / "version", "old")
        (tmp_path / "out").symlink_to("disk/version")
        stage(tmp_path / "out")
        assert os.readlink(tmp_path / "out") == "disk/version"
        assert text_of(disk / "version") == "new"
        assert os.listdir(disk) == ["version"]
        stage_differing(tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == ["disk", "out", "out.failed"]

    def test_a_link_to_nothing_is_filled(self, tmp_path):
        (tmp_path / "out").symlink_to("disk/version")
        stage(tmp_path / "out")
        assert (tmp_path / "out").is_symlink()
        assert text_of(tmp_path / "disk" / "version") == "new"

    @pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
    def test_what_failed_goes_to_the_disk_of_the_link(self, tmp_path):
        disk = Path("/dev/shm") / f"odelet-test-{os.getpid()}"
        if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("/dev/shm is no other file system")
        (tmp_path / "out").symlink_to(disk)
        try:
            stage_differing(tmp_path / "out")
            assert sorted(os.listdir(tmp_path)) == ["out", "out.failed"]
            assert not disk.exists()
        finally:
            assert not [name for name in os.listdir("/dev/shm") if name.startswith(".odelet-")]


KILLED = """
import os, signal, sys
from pathlib import Path
from odelet_export.targets import exchange
from odelet_export.targets.folder import staging

out, where = Path(sys.argv[1]), sys.argv[2]
rename = Path.rename

def deadly(self, target):
    if self.name == "out" and target == out:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

if where == "between the renames":
    exchange._function = lambda: None
    Path.rename = deadly
with staging(out, failed=out.with_name("out.failed")) as folder:
    (folder / "odelet.json").write_text("{}")
    if where == "at work":
        os.kill(os.getpid(), signal.SIGKILL)
"""


class TestLeftovers:
    @pytest.mark.parametrize("where", ["at work", "between the renames"])
    def test_those_of_a_killed_export_are_removed_by_the_next(self, tmp_path, where):
        out = tmp_path / "out"
        stage(out, "old")
        ended = subprocess.run([sys.executable, "-c", KILLED, out, where], capture_output=True)
        assert ended.returncode == -9, ended.stderr.decode()
        assert len(os.listdir(tmp_path)) == (1 if where == "between the renames" else 2)
        stage(tmp_path / "another")
        assert any(name.startswith(".odelet-out.") for name in os.listdir(tmp_path))
        with staging(out, failed=failed_of(out)) as folder:
            assert text_of(out) == "old"  # it has come back
            assert [path.name for path in tmp_path.glob(".odelet-*")] == [folder.parent.name]
            (folder / "odelet.json").write_text("{}")
        assert sorted(os.listdir(tmp_path)) == ["another", "out"]

    def test_folders_that_only_look_alike_stay(self, tmp_path):
        names = [".odelet-out.b.12345678", ".odelet-out.123", ".odelet-out.backup-1"]
        for name in names:
            (tmp_path / name).mkdir()
        (tmp_path / ".odelet-out.abcdefgh").symlink_to(tmp_path)
        stage(tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == sorted([*names, ".odelet-out.abcdefgh", "out"])


def circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    return tmp_path / "a"


def below_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file" / "out"


def full_disk(tmp_path, monkeypatch):
    def full(self, *args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    return tmp_path / "out"


def not_permitted(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    return tmp_path / "out"


def locked_artifact(tmp_path, monkeypatch):
    stage(tmp_path / "out", "old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    return tmp_path / "out"


# What the file system does not take: the place, made in a folder, and the message.
REFUSED = {
    "a name that is too long": (lambda tmp_path: tmp_path / ("n" * 300), OutputError, "File name too long"),
    "no room for .failed": (lambda tmp_path: tmp_path / ("n" * 252), OutputError, "failed: .*File name too long"),
    "a path that is too long": (lambda tmp_path: tmp_path.joinpath(*["n" * 99] * 60), OutputError, "too long"),
    "a null byte": (lambda tmp_path: tmp_path / "a\0b", OutputError, "cannot be the name of a folder"),
    "no name on this system": (lambda tmp_path: tmp_path / "\ud800", OutputError, "cannot be the name of a folder"),
    "links in a circle": (circle, OutputError, "symbolic links"),
    "below links in a circle": (lambda tmp_path: circle(tmp_path) / "out", OutputError, "symbolic links"),
    "below a file": (below_a_file, OutputError, "Not a directory"),
    "a file": (lambda tmp_path: below_a_file(tmp_path).parent, InputError, "is a file, and a folder is to be written"),
    "a folder of the system": (
        lambda tmp_path: Path("/proc/odelet"),
        OutputError,
        "/proc/odelet: it cannot be written",
    ),
    "a mounted disk": (lambda tmp_path: Path("/proc"), InputError, "is a mounted disk"),
    "nothing": (lambda tmp_path: Path(), InputError, "a folder of its own"),
    "the root": (lambda tmp_path: Path("/"), InputError, "a folder of its own"),
    "a folder above": (lambda tmp_path: tmp_path / "..", InputError, "a folder of its own"),
    "a full disk": (full_disk, OutputError, "No space left on device"),
    "no permission": (not_permitted, OutputError, "Permission denied"),
    "an artifact that is locked": (locked_artifact, OutputError, "without permission to write"),
}


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, make, kind, message):
    with monkeypatch.context() as patch:
        out = make(tmp_path, patch) if make.__code__.co_argcount == 2 else make(tmp_path)
        before = sorted(os.listdir(tmp_path))
        with (
            pytest.raises(OdeletError, match=message) as refused,
            staging(out, failed=out.parent / f"{out.name}.failed"),
        ):
            raise AssertionError("the work began")
    assert type(refused.value) is kind
    assert sorted(os.listdir(tmp_path)) == before


def test_long_names_have_their_own_leftovers(tmp_path):
    out = tmp_path / ("n" * 240)
    stage(out)
    assert text_of(out) == "new"
    assert os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize("out", ["", ".", "/", ".."])
def test_an_artifact_has_a_folder_of_its_own(out):
    with pytest.raises(InputError, match="give the artifact a folder of its own"):
        export(lambda x: x, (torch.ones(2),), out)
