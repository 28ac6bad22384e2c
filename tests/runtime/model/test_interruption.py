"""Ctrl-C, or a signal whose handler raises, ends a call; what is not the main thread is left as it is."""

import asyncio
import signal
import subprocess
import sys
import threading
from contextvars import ContextVar
from functools import partial
from time import perf_counter

import numpy as np
import pytest
from support.endless import FOREVER, X, write_driven, write_loop

import odelet
from odelet import InputError, Status
from odelet.model.interruption import interruptible, is_work_left

# A program that says when it is in the call, so that the test can interrupt it there.
WATCHED = """
import sys, threading, time
def tell():
    while not any(thread.name == "odelet call" for thread in threading.enumerate()):
        time.sleep(0.01)
    time.sleep(0.3)
    print("in the call", flush=True)
threading.Thread(target=tell, daemon=True).start()
"""
COMMAND = WATCHED + "from odelet.cli import main; main(sys.argv[1:])"
CALL = (
    WATCHED
    + """
import numpy as np, odelet
model = odelet.load(sys.argv[1], interruptible=True)
x = np.zeros(3, np.float32)
try:
    model(x, 2**63 - 1)
except KeyboardInterrupt:
    print("interrupted", model(x, 1).tolist(), flush=True)
"""
)


FORK = """
import os, sys
import numpy as np, odelet
model, x = odelet.load(sys.argv[1]), np.zeros(3, np.float32)
assert model.solve(x, 2**63 - 1, deadline=0.05).status is odelet.Status.DEADLINE
child = os.fork()
assert model.solve(x, 2**63 - 1, deadline=0.05).status is odelet.Status.DEADLINE
if not child:
    os._exit(0)  # ONNX Runtime does not get through the ordered exit of a forked process
print(os.waitpid(child, 0)[1])
"""


class GivenUpError(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_loop(tmp_path_factory.mktemp("endless") / "out")


@pytest.fixture
def alarm():
    """Make a signal come after some seconds, whose handler raises GivenUpError."""

    def give_up(*_):
        raise GivenUpError

    before = signal.signal(signal.SIGALRM, give_up)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupted(program, *args):
    """Run a program, interrupt it in its call, and return (exit code, stdout, stderr, seconds that it took to end)."""
    command = [sys.executable, "-c", program, *map(str, args)]
    # A process that was started in the background ignores SIGINT, and so would those that it starts.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=default) as process:
        try:
            assert process.stdout.readline() == "in the call\n", process.stderr.read()
            start = perf_counter()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
        return process.returncode, out, err, perf_counter() - start


@pytest.mark.parametrize("command", ["run", "verify", "bench"])
def test_ctrl_c_ends_a_command(command, folder, tmp_path):
    np.savez(tmp_path / "x.npz", x=X, turns=np.array(FOREVER))
    options = ("--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz") if command == "run" else ()
    code, out, err, seconds = interrupted(COMMAND, command, folder, *options)
    assert (code, out, err) == (130, "", "odelet: interrupted\n")
    assert seconds < 2  # about 0.4, most of it the exit of Python; this machine may be busy
    assert not (tmp_path / "y.npz").exists()


def test_ctrl_c_ends_a_call_and_leaves_the_model_as_it_was(folder):
    code, out, err, seconds = interrupted(CALL, folder)
    assert (code, out, err) == (0, "interrupted [1.0, 1.0, 1.0]\n", "")
    assert seconds < 2


def test_a_forked_process_has_its_own_deadlines(folder):
    done = subprocess.run([sys.executable, "-c", FORK, folder], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("slow", ["segment_0.onnx", "solve_0_field.onnx", "solve_0_step.onnx", "segment_1.onnx"])
def test_every_graph_of_a_driven_solve_can_be_interrupted(tmp_path, alarm, slow):
    model = odelet.load(write_driven(tmp_path / "out", slow=slow), interruptible=True)
    alarm(0.2)
    with pytest.raises(GivenUpError):
        model(np.ones((2, 3), np.float32), deadline=60)
    assert not is_work_left()


def test_a_handler_that_raises_ends_calls_streams_and_solves(folder, alarm):
    model = odelet.load(folder, interruptible=True)
    stream = model.stream(carry={"x": "y"}, x=X)
    for call in (model, model.solve, stream, stream.solve):
        alarm(0.1)
        with pytest.raises(GivenUpError):
            call(turns=FOREVER, **({} if call in (stream, stream.solve) else {"x": X}))
    assert stream.steps == 0
    assert np.array_equal(stream(turns=1), np.cos(X))
    assert not is_work_left()


def test_a_long_solve_that_is_read_in_segments_can_be_interrupted(tmp_path, alarm):
    x = np.ones((2, 3), np.float32)
    plain = odelet.load(write_driven(tmp_path / "plain", times_given=True))
    same = odelet.load(tmp_path / "plain", interruptible=True)
    first, second = plain.stream(x=x), same.stream(x=x)
    for times in ([0.0, 0.5], [1.0, 2.0]):
        assert np.array_equal(first(t=times), second(t=times))
    slow = write_driven(tmp_path / "slow", slow="solve_0_step.onnx", times_given=True)
    stream = odelet.load(slow, interruptible=True).stream(x=x)
    alarm(0.1)
    with pytest.raises(GivenUpError):
        stream(t=[0.0, 0.5])
    with pytest.raises(InputError, match="a call was interrupted"):
        stream(t=[0.5])


def test_an_interruptible_call_is_otherwise_like_any_other(folder):
    plain, model = odelet.load(folder), odelet.load(folder, interruptible=True)
    assert np.array_equal(model(X, 7), plain(X, 7))
    assert model.solve(X, 7).stats == plain.solve(X, 7).stats
    assert model.solve(X, FOREVER, deadline=0.1).status is Status.DEADLINE
    with pytest.raises(InputError, match="missing input 'turns'"):
        model(X)
    assert odelet.load(folder, interruptible=True)(X, 1, deadline=5).shape == X.shape


def test_work_has_the_context_of_its_caller_and_its_own_error():
    place = ContextVar("place", default="none")
    place.set("here")
    assert interruptible(place.get) == "here"
    assert interruptible(threading.current_thread) is not threading.main_thread()
    error = ValueError("of the work")
    with pytest.raises(ValueError, match="of the work") as raised:
        interruptible(lambda: (_ for _ in ()).throw(error))
    assert raised.value is error


def test_another_thread_does_its_own_work():
    found = []
    thread = threading.Thread(target=lambda: found.append(interruptible(threading.current_thread)))
    thread.start()
    thread.join()
    assert found == [thread]


def test_the_event_loop_of_asyncio_is_left_as_it_is():
    async def call():
        return interruptible(threading.current_thread)

    async def call_aside():
        return await asyncio.to_thread(interruptible, threading.current_thread)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # Here asyncio has its own handler of Ctrl-C, which cancels the task.
        assert asyncio.run(call()) is threading.main_thread()
        assert asyncio.run(call_aside()).name.startswith("asyncio")
        # As in a notebook: Ctrl-C raises KeyboardInterrupt in what runs, though it runs in an event loop.
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(call()).name == "odelet call"
        loop.close()
    finally:
        signal.signal(signal.SIGINT, before)
