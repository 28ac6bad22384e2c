#!/bin/sh
# From a torch model to answers, on the command line. Run it in the folder of the repository, with odelet installed.
set -eu
# [quickstart]
odelet export odelet_models.odenet:digits -w models/odelet_models/weights/odenet.safetensors \
    --input "x=float32[batch,64]:0..16" -o out/digits
odelet verify out/digits
odelet run out/digits --input examples/digits.csv --output out/logits.csv
odelet info out/digits
odelet bench out/digits
# [/quickstart]
