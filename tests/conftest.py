"""What holds for the whole run of the tests."""

from functools import cache

from torch.onnx._internal.exporter import _registration

# torch reads the source of each of its 500 translations anew at every export, always with the same result;
# that is a third of the time of a small model's export, and hundreds are exported here.
_registration.onnxscript_apis.get_torchlib_ops = cache(_registration.onnxscript_apis.get_torchlib_ops)
