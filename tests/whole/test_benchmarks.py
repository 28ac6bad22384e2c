"""The benchmarks: peers solve the same fields as torchdiffeq, and the page shows the stored results."""

import sys
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import torch
from support.paths import ROOT


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "").parent == ROOT / "benchmarks":
            del sys.modules[name]


def test_the_pages_show_the_stored_results():
    import report

    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        assert report.filled(page, text) == text
        with pytest.raises(ValueError, match=f"{page.name} has no marks <!-- begin "):
            report.filled(page, "# nothing here")


def test_a_missed_target_is_reported():
    import report

    assert report.verdict(1.2, 1.5) == "1.20 (at most 1.5: reached)"
    assert report.verdict(1.6, 1.5) == "1.60 (at most 1.5: **missed**)"
    assert report.verdict(19.0, 20, at_least=True, digits=1) == "19.0 (at least 20: **missed**)"
    assert report.verdict(None, 1.5) == "not measured"


def _slow(milliseconds):
    """A call that keeps the processor busy."""

    def call():
        end = process_time() + milliseconds / 1e3
        while process_time() < end:
            pass

    return call


def _spins():
    """Rows of a form, native code and two peers, of which the faster one takes other steps."""
    import speed
    from peers import Peer

    ways = {"adaptive": speed.Own(_slow(4), 14, 2, floor=_slow(2)), "native": speed.Own(_slow(2), 14, 2)}
    peers = {"torchdiffeq": Peer(_slow(8), evaluations=14), "diffrax": Peer(_slow(1), 3, 20), "SciPy": "not installed"}
    return ways, peers, {row["way"]: row for row in speed._rows(ways, peers, seconds=0, turns=(3, 3))}


def test_the_best_form_may_be_native_code():
    _, _, rows = _spins()
    assert [way for way, row in rows.items() if row.get("best")] == ["native"]
    assert rows["adaptive"]["over_floor"] == pytest.approx(2, rel=0.3)
    assert "over_floor" not in rows["native"]
    assert rows["torchdiffeq"]["over_best"] == pytest.approx(4, rel=0.3)
    assert rows["SciPy"]["missing"] == "not installed"
    assert [way for way, row in rows.items() if row.get("other_steps")] == ["diffrax"]


def test_without_native_code_its_row_says_why():
    import speed

    ways, peers, _ = _spins()
    rows = list(speed._rows(ways | {"native": "no C compiler"}, peers, seconds=0, turns=(3, 3)))
    assert [row["missing"] for row in rows if row["way"] == "native"] == ["no C compiler"]
    assert {row["best_form"] for row in rows if "best_form" in row} == {"adaptive"}


def test_a_peer_that_is_ahead_is_named(monkeypatch):
    import report_speed

    rows = [{"part": "spiral", "batch": 256, "load": 1, **row} for row in _spins()[2].values()]
    monkeypatch.setattr(report_speed, "read", lambda claim: {"rows": rows, "machine": {"cores": 1}})
    (line,) = report_speed.behind().splitlines()[2:]
    assert line.startswith("| spiral MLP 2-64-64-2, batch 256 | diffrax | 3, of odelet 2 | native | **0.")
    assert line.endswith("**\\* |")
    least, marked, *_, beside, largest = report_speed.targets().splitlines()[2:]
    assert "1 rows" in least and "reached" in least and "**missed**" in marked
    assert "**missed**" in beside and "not measured" in largest
    rows[:] = [row for row in rows if row["way"] != "diffrax"]
    assert report_speed.behind().startswith("No peer is ahead")


def test_layers_in_numpy_are_those_of_torch():
    from jax_layers import layers_in
    from solved import Layers

    slope = Layers(2, 8, 3, 2, power=3).double()
    y = torch.randn(5, 2, dtype=torch.float64)
    with torch.no_grad():
        np.testing.assert_allclose(layers_in(np, slope, np.asarray)(y.numpy()), slope(None, y), rtol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "digits", "latent", "flow", "unet", "guided-50", "graph", "cde"])
def test_models_in_jax_are_those_of_torch(name):
    """The three parts of a model are compared one by one: before the solve, the field, after the solve."""
    jax = pytest.importorskip("jax")
    from in_jax import in_jax
    from workloads import WORKLOADS

    model = WORKLOADS[name].build()
    x = WORKLOADS[name].inputs(2 if WORKLOADS[name].open else WORKLOADS[name].batches[0])
    before, field, after = in_jax(model, jax)
    with torch.no_grad():
        state = model.before(torch.from_numpy(x))
        slope = model.field(torch.tensor(0.3), state)
        path = tuple(torch.stack([part, 2 * part]) for part in state) if name == "flow" else torch.stack([state, slope])
        output = model.after(path)
    state, slope, path = (_as_in_jax(jax, part, of_images=name in ("digits", "unet")) for part in (state, slope, path))
    _close(jax, before(x), state)
    _close(jax, field(0.3, state), slope)
    _close(jax, after(path), output)


def _as_in_jax(jax, tensors, *, of_images):
    """Tensors as arrays; the channels of images come last."""
    arrays = jax.tree.map(lambda part: part.detach().numpy(), tensors)
    return jax.tree.map(lambda part: np.moveaxis(part, -3, -1), arrays) if of_images else arrays


def _close(jax, ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_spiral_has_learned_its_field():
    from solved import spiral

    y = torch.rand(100, 2, generator=torch.Generator().manual_seed(5)) * 4 - 2
    true = y**3 @ torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    with torch.no_grad():
        assert (spiral().field(None, y) - true).square().mean().sqrt() < 0.2  # slopes of the field are up to 16


def test_peers_give_the_answers_of_torchdiffeq():
    from peers import PEERS, Missing
    from workloads import WORKLOADS

    workload = WORKLOADS["latent"]
    model, x = workload.build(), workload.inputs(2)
    expected = PEERS["torchdiffeq"](model, x)
    for name in ("torchode", "diffrax", "SciPy"):
        try:
            peer = PEERS[name](model, x)
        except Missing as error:
            assert "not installed" in str(error)
            continue
        np.testing.assert_allclose(peer.call(), expected.call(), atol=0.02)
        assert abs(peer.evaluations - expected.evaluations) <= 30
