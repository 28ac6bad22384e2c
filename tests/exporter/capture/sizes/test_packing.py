"""Packed sequences as padded ones: recurrent layers over rows that end at their lengths, against torch's own."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from odelet_export.capture.sizes.packing import packed, packed_layers, recurrent, refuse_other_functions, unpacked
from odelet_export.model.axes import in_order, resize
from odelet_intercept.errors import CaptureError

LAYERS = {
    "gru": lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "lstm projected": lambda: nn.LSTM(3, 4, proj_size=2, bias=False),
    "rnn_tanh": lambda: nn.RNN(3, 4, bidirectional=True),
    "rnn_relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("total", [None, 9])
def test_layers_end_at_the_lengths_as_torchs_do(name, total):
    layer, x, lengths = LAYERS[name]().eval(), torch.randn(7, 3, 3), torch.tensor([7, 4, 1])
    with torch.no_grad():
        rows, state = layer(pack_padded_sequence(x, lengths))
        expected, _ = pad_packed_sequence(rows, total_length=total, padding_value=-2.0)
        data, counts = packed((x, lengths, False), {}, None)()
        start = [torch.zeros_like(part) for part in (state if isinstance(state, tuple) else (state,))]
        start = start if name.startswith("lstm") else start[0]
        ways, settings = layer.bidirectional, (layer.bias, layer.num_layers, 0.0, False)
        output, *ends = recurrent(name.split()[0])(
            (data, counts, start, layer._flat_weights, *settings, ways), {}, None
        )()
        found, ended = unpacked((output, counts, False, -2.0, counts.shape[0] if total is None else total), {}, None)()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(tuple(ends), state if isinstance(state, tuple) else (state,))
    assert ended is lengths


def test_the_cell_of_an_lstm_keeps_its_state_for_long():
    layer, x, lengths = nn.LSTM(3, 4), torch.randn(400, 2, 3), torch.tensor([400, 3])
    with torch.no_grad():
        _, (_, cell) = layer(pack_padded_sequence(x, lengths))
        data, counts = packed((x, lengths, False), {}, None)()
        zeros = (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
        call = (data, counts, zeros, layer._flat_weights, True, 1, 0.0, False, False)
        _, _, found = recurrent("lstm")(call, {}, None)()
    torch.testing.assert_close(found, cell)


@pytest.mark.parametrize("lengths", [[5, 2], [2, 0], [2, 3]], ids=["too long", "empty", "rising"])
def test_lengths_that_torch_refuses_are_refused(lengths):
    with pytest.raises(RuntimeError, match="from 1 to 4, and in decreasing order"):
        packed((torch.randn(4, 2, 3), torch.tensor(lengths), False), {}, None)()


def test_other_functions_of_packed_rows_are_refused():
    data, counts = packed((torch.randn(4, 2, 3), torch.tensor([4, 2]), False), {}, None)()
    for name, x in (("mean", data), ("sum", counts)):
        with pytest.raises(CaptureError, match=f"{name} of the rows of a packed sequence"):
            refuse_other_functions(name, [x])
    with pytest.raises(CaptureError, match="a function of the rows"):
        unpacked((data * 2, counts, False, 0.0, 4), {}, None)
    with pytest.raises(CaptureError, match="dropout between layers"):
        recurrent("gru")((data, counts, None, (), True, 2, 0.5, True, False), {}, None)


def test_layers_check_the_start_against_the_rows_of_the_batch():
    layer, expected = nn.GRU(3, 4, bidirectional=True), (2, 2, 4)
    _, counts = packed((torch.randn(4, 2, 3), torch.tensor([4, 2]), False), {}, None)()
    with packed_layers():
        assert layer.get_expected_hidden_size(torch.zeros(8, 3), counts) == expected
        assert layer.get_expected_hidden_size(torch.zeros(4, 2, 3), None) == expected


def test_lengths_in_falling_order_stay_in_order_in_other_sizes():
    lengths = torch.tensor([6, 4, 4, 1])
    assert [resize(lengths, {0: size}).tolist() for size in (2, 5)] == [[6, 4], [6, 6, 4, 4, 1]]
    rising, mixed, equal = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), torch.ones(3, dtype=torch.int64)
    assert [in_order(x, 0) for x in (lengths, rising, mixed, equal, lengths.double())] == [-1, 1, 0, 0, 0]
