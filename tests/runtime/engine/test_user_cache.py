"""What odelet keeps for later processes in the cache of the user."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from odelet.engine import user_cache
from odelet.engine.user_cache import cache_root, cores, library_folder, remember, remembered

KEY = {"artifact": "a" * 64, "sizes": {"batch": 64}}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    place = tmp_path / "cache" / "odelet"
    monkeypatch.setattr(user_cache, "cache_root", lambda: place)
    return place


def test_a_value_is_found_under_its_whole_key_alone(root):
    assert remembered("threads", KEY) is None
    remember("threads", KEY, {"threads": 2})
    remember("threads", {**KEY, "sizes": {"batch": 128}}, {"threads": 4})
    assert remembered("threads", KEY) == {"threads": 2}
    assert remembered("threads", {**KEY, "sizes": {"batch": 128}}) == {"threads": 4}
    assert remembered("threads", {**KEY, "artifact": "b" * 64}) is None
    assert remembered("other", KEY) is None
    remember("threads", KEY, {"threads": 8})
    assert remembered("threads", KEY) == {"threads": 8}
    assert [path.suffix for path in (root / "threads").iterdir()] == [".json", ".json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"7", b"{}", b'{"key": {}, "value": 3}', b"[" * 10**5]
)
def test_a_damaged_file_is_as_if_it_were_not_there_and_is_replaced(content, root):
    remember("threads", KEY, 3)
    (file,) = (root / "threads").iterdir()
    file.write_bytes(content)
    assert remembered("threads", KEY) is None
    remember("threads", KEY, 4)
    assert remembered("threads", KEY) == 4


def test_a_place_that_cannot_be_written_or_found_is_no_error(root, monkeypatch):
    root.parent.mkdir()
    root.write_text("a file where the folder should be")
    remember("threads", KEY, 3)
    assert remembered("threads", KEY) is None

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(user_cache, "cache_root", homeless)
    remember("threads", KEY, 3)
    assert remembered("threads", KEY) is None


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_behind(root, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        remember("threads", KEY, 3)
    assert [*(root / "threads").iterdir()] == [] and remembered("threads", KEY) is None


def test_a_reader_beside_many_writers_finds_a_whole_value():
    def work(number):
        if number % 2:
            return remembered("threads", KEY)
        remember("threads", KEY, [number] * 2000)
        return None

    with ThreadPoolExecutor(8) as pool:
        found = [value for value in pool.map(work, range(400)) if value is not None]
    assert found and all(len(value) == 2000 and len(set(value)) == 1 for value in found)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the variable is that of Linux")
def test_the_folder_is_that_of_the_system(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_root() == Path("/elsewhere/odelet")
    assert library_folder("a" * 64).parent == Path("/elsewhere/odelet/native")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_root() == Path.home() / ".cache" / "odelet"


def test_cores_are_those_on_which_the_process_may_run(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def test_a_file_says_what_it_is_for(root):
    remember("threads", KEY, 3)
    (file,) = (root / "threads").iterdir()
    assert json.loads(file.read_text()) == {"key": KEY, "value": 3}
