"""The operators of ONNX that a graph may use: those that compute numbers from numbers, the same in each call.

The law here: the list is data, sorted, in this place alone; the exporter and the loader ask the same function.
"""

from __future__ import annotations

from odelet.artifact.proto import ModelFacts
from odelet.errors import ArtifactError

# The list is made of what odelet_export emits, of what torch's translation to ONNX emits (onnxscript's torchlib, the
# control flow of torch's exporter, `torch.onnx.ops`), and of nothing else. Left out of what torch emits: operators
# that draw random numbers (Bernoulli, Dropout, Multinomial, RandomNormalLike, RandomUniformLike), since draws are
# inputs of an artifact, and those of sequences (ConcatFromSequence, SequenceAt, SequenceEmpty, SequenceInsert,
# SequenceMap, SplitToSequence). Torch emits none of strings, optional values, maps or images.
# DynamicQuantizeLinear and MatMulInteger are of graphs whose products are in int8.
# tests/exporter/targets/test_operators.py derives the list again, and compares.
_LIST = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift
BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu Clip Col2Im Compress Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DFT DeformConv DepthToSpace DequantizeLinear Det Div
DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND
Gelu Gemm Greater GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish
Identity If InstanceNormalization IsInf IsNaN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
Loop MatMul MatMulInteger Max MaxPool MaxRoiPool Min Mish Mod Mul Neg NegativeLogLikelihoodLoss
NonMaxSuppression NonZero Not Or PRelu Pad Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceL1
ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize RoiAlign
RotaryEmbedding Round STFT Scan ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax
SoftmaxCrossEntropyLoss Softplus Split Sqrt Squeeze Sub Tan Tanh Tile TopK Transpose Trilu Unique Unsqueeze
Where Xor
"""
OPERATORS = frozenset(_LIST.split())

# In bytes. The longest texts of exports are equations of einsum, which have a letter for each axis of each operand.
LONGEST_TEXT = 512

# Operators whose kernels in ONNX Runtime take memory that no allocator counts, far more than their input or output:
# measured with 1.32, 8 bytes for each element and axis, 100 bytes for each element, and 32 for each sampled point.
UNCOUNTED = ("NonZero", "RoiAlign", "Unique")

_DOMAINS = ("", "ai.onnx")


def check_operators(name: str, facts: ModelFacts) -> None:
    """Raise ArtifactError for the first thing in a graph that is not of numbers. name: of the graph's file."""
    for domain, operator in sorted(facts.operators):
        if domain not in _DOMAINS:
            raise ArtifactError(
                f"{name}: it uses the operator {operator!r} of domain {domain!r}; only ONNX's own operators "
                "run everywhere: export the model again without it"
            )
    refused = sorted(operator for _, operator in facts.operators if operator not in OPERATORS)
    if refused:
        named = ", ".join(repr(operator[:40]) for operator in refused[:5])
        raise ArtifactError(
            f"{name}: it uses {named}, which odelet does not run; the operators of a graph compute numbers from "
            "numbers, the same in each call: export the model again without it"
        )
    for kind, example in facts.extras.items():
        raise ArtifactError(
            f"{name}: it has {kind} ({example[:40]!r}), which no export of odelet has; export the model again"
        )
    for (operator, attribute), size in facts.texts.items():
        if size > LONGEST_TEXT:
            raise ArtifactError(
                f"{name}: the attribute {attribute[:40]!r} of {operator!r} is a text of {size:,} bytes, of which "
                f"{LONGEST_TEXT} are allowed; export the model again with shorter ones"
            )
