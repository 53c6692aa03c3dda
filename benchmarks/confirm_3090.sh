#!/usr/bin/env bash
# Measure how fast gpt2zh is on your RTX 3090 (or any single GPU), compared with transformers' Trainer.
#   bash benchmarks/confirm_3090.sh [options of python -m benchmarks.throughput]
# It needs the GPU for itself for about an hour (an estimate), gcc and Python's headers for
# torch.compile, and 10 GB for temporary files (TMPDIR sets their folder). It installs what is missing
# in .venv, prints a table, and writes throughput-CARD.json here. Please report both in an issue.
set -euo pipefail
cd "$(dirname "$0")/.."

make install
python=.venv/bin/python
if ! card=$("$python" -c 'import torch; print(torch.cuda.get_device_name().replace(" ", "-"))' 2>/dev/null); then
    echo "error: torch finds no GPU on this machine; run this script on one with a GPU" >&2
    exit 1
fi
exec "$python" -m benchmarks.throughput --ladder --json "throughput-$card.json" "$@"
