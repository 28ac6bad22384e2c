"""An iteration that does not converge in torch either is told as a fault of the model, not of odelet."""

import pytest
import torch

from odelet_export import ParityError, export, mark


@pytest.mark.filterwarnings("ignore:mark. the iteration did not converge")
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_an_iteration_without_an_end_is_the_models_fault(tmp_path, form, per_sample):
    def chaotic(x):
        return mark(lambda z: torch.cos(3 * z) + x, torch.zeros_like(x), max_iters=20, per_sample=per_sample)

    with pytest.raises(ParityError, match="does not converge in torch either; change the model") as caught:
        export(chaotic, (torch.tensor([[0.1], [2.0]]),), tmp_path / "out", form=form, samples=1)
    assert "the fault is odelet's" not in str(caught.value)
