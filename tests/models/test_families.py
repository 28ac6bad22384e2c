"""The families: every member runs and can be trained, and the weights in the repository are what their cards say."""

import subprocess
import sys

import pytest
import torch

from odelet_models import FAMILIES, family, load_family
from odelet_models.family import Data, trained
from odelet_train import Settings, fit, load_checkpoint
from odelet_train.zoo import address, find, scored

MEMBERS = [(name, member) for name in FAMILIES for member in load_family(name).members]
USES = [(name, member, use) for name, member in MEMBERS for use in load_family(name).members[member].uses]
# Between two processors a score may differ by this share: a digit at the edge of a decision, a step more or less.
TOLERANCE = 0.02


def test_names_are_unique_in_the_zoo():
    members = [member for _, member in MEMBERS]
    assert len(set(members)) == len(members)
    assert all(find(member)[1] == member for member in members)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_a_first_member_that_solves(name):
    members = load_family(name).members
    assert not next(iter(members.values())).discrete


@pytest.mark.parametrize(("name", "member", "use"), USES)
def test_a_use_runs_at_any_batch_and_its_inputs_are_always_the_same(name, member, use):
    chosen = load_family(name).members[member].uses[use]
    module = chosen.module(load_family(name).trained(member)).eval()
    for batch in (1, 3):
        inputs, again = chosen.inputs(batch), chosen.inputs(batch)
        for value, same in zip(inputs, again, strict=True):
            torch.testing.assert_close(value, same, rtol=0, atol=0, equal_nan=True)
        with torch.no_grad():
            outputs = module(*inputs)
        for output in outputs if isinstance(outputs, tuple) else (outputs,):
            assert torch.isfinite(output).all()


def few(data: Data, rows: int) -> Data:
    return Data(train=tuple(x[:rows] for x in data.train), test=tuple(x[:rows] for x in data.test))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_two_epochs_lower_the_loss(name, member, tmp_path):
    chosen, rows = load_family(name).members[member], 64
    data = few(load_family(name).data(), rows).train

    def loss(network):
        torch.manual_seed(1)
        with torch.random.fork_rng(devices=[]):
            return float(chosen.loss(network, *data).detach())

    torch.manual_seed(0)
    before = loss(chosen.build().train())
    settings = Settings(**{**chosen.settings, "epochs": 2, "batch_size": 8})
    network = fit(chosen.build, data, tmp_path / "x.ckpt", loss=chosen.loss, settings=settings, progress=False)
    assert loss(network.train()) < before
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_trained_weights_are_what_their_card_says(name, member):
    chosen = load_family(name)
    state, card = load_checkpoint(family.WEIGHTS / f"{member}.json")
    network = chosen.trained(member)
    assert not network.training
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert card.parameters == sum(value.numel() for value in state.values())
    assert card.built_by == address(chosen.members[member])
    assert card.data["sha256"] == chosen.data().digest()
    assert card.metric == chosen.metric
    assert (family.WEIGHTS / card.weights).stat().st_size < 300_000
    assert scored(chosen, chosen.members[member], network) == pytest.approx(card.score, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_a_member_beats_the_baseline(name, member):
    chosen = load_family(name)
    score = load_checkpoint(family.WEIGHTS / f"{member}.json")[1].score
    baseline = chosen.baseline[1](chosen.data())
    assert score > baseline if chosen.higher else score < baseline


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="name='alexnet' is not a model family; choose one of odenet"):
        load_family("alexnet")
    with pytest.raises(ValueError, match="member='alexnet' is not in this family; choose one of odenet, resnet"):
        load_family("odenet").trained("alexnet")


def test_absent_weights_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(family, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors does not exist; .*`odelet train nothing -o"):
        trained(torch.nn.Identity, "nothing")


def test_listing_families_imports_no_torch():
    code = "import sys, odelet_models; assert odelet_models.FAMILIES; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        ((torch.zeros(3, 2), torch.zeros(2)), (torch.zeros(3, 2), torch.zeros(3)), "train has tensors of shapes"),
        ((torch.zeros(3),), (torch.zeros(0),), "test has tensors of shapes"),
        ((torch.zeros(3, 2),), (torch.zeros(3, 1),), "pass rows of the same kinds"),
    ],
)
def test_data_that_do_not_fit_are_refused(train, test, reason):
    with pytest.raises(ValueError, match=reason):
        Data(train=train, test=test)
