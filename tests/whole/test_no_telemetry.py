"""Loading and running an artifact opens no socket, starts no process, writes no file and runs no code from it.

Python tells an audit hook of all of these, in whatever library they happen. What a library does below Python cannot be
seen there, so the sockets and the children of the process are counted, too. A hook stays until its process ends;
therefore the test is a program of its own.
"""

import json
import subprocess
import sys

from support.paths import ROOT

PROGRAM = r"""
import json, os, sys
from pathlib import Path
from collections import Counter

seen, listening = Counter(), False
ACTS = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.", "urllib.",
        "http.", "ftplib.", "smtplib.", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink",
        "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.", "tempfile.", "pickle.", "code.__new__")
CODE = ("exec", "import", "marshal.")  # "compile" is also what numpy does to read a header as a literal
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def hook(event, args):
    if not listening:
        return
    if event == "open" and (args[2] or 0) & WRITES:
        seen[f"open {args[0]} to write"] += 1
    elif event.startswith(ACTS) or (warm and event.startswith(CODE)):
        seen[f"{event} {str(args)[:80]}"] += 1

def sockets():
    links = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    return sum("socket:" in os.readlink(link) for link in links if os.path.lexists(link))

def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

sys.addaudithook(hook)
acts = {"socket": lambda: __import__("socket").socket(), "file": lambda: open(sys.argv[2], "w"),
        "process": lambda: os.system("true"), "code": lambda: eval("1 + 1")}
before = sockets(), children()
for warm in (False, True):  # what is imported when it is first needed runs code, and is not of the artifact
    listening = True
    import odelet
    from odelet.artifact.samples import samples_of
    for path in sorted(Path(sys.argv[1]).glob("*/odelet.json")):
        model = odelet.load(path.parent)
        inputs = samples_of(model.card, path.parent)[0][0]
        model(**inputs)
        model.solve(**inputs)
        assert odelet.verify(path.parent).passed
        if model.card.form in ("adaptive", "rolled"):
            odelet.load(path.parent / "model.onnx")(**inputs)
        try:
            model()
        except odelet.InputError:
            pass
    if warm:
        for name in sys.argv[3].split():
            acts[name]()
    listening = False
seen.update({"a socket is open": 1} if (sockets(), children()) != before else {})
print(json.dumps(seen))
"""


def events(tmp_path, acts=""):
    """What the program did besides reading. acts: what it does in addition, as words."""
    # Without -B, Python itself writes what it has compiled of odelet's modules.
    command = [sys.executable, "-B", "-c", PROGRAM, str(ROOT / "tests" / "whole" / "artifacts-0.1")]
    done = subprocess.run([*command, str(tmp_path / "file"), acts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_load_call_solve_and_verify_only_read(tmp_path):
    assert events(tmp_path) == {}


def test_the_hook_would_see_it(tmp_path):
    seen = " ".join(events(tmp_path, "socket file process code"))
    assert all(event in seen for event in ("socket.__new__", "to write", "os.system", "exec"))


def test_telemetry_of_the_engine_is_switched_off():
    """Microsoft's builds of ONNX Runtime for Windows have some, on until a program says otherwise."""
    program = """
import onnxruntime
calls = []
onnxruntime.disable_telemetry_events = lambda: calls.append(1)
import odelet.engine.session
assert calls
"""
    subprocess.run([sys.executable, "-c", program], check=True)
