#!/usr/bin/env bash
# How fast gpt2zh is on your RTX 3090 (or any one GPU), compared with transformers' Trainer: one command.
#   bash benchmarks/confirm_3090.sh [options of python -m benchmarks.throughput]
# It needs the GPU alone for an hour and a half (by estimate), gcc and Python's headers for
# torch.compile, and 10 GB for temporary files (TMPDIR names where). What is missing in .venv is
# installed. The table and throughput-CARD.json, which it writes here, are worth an issue.
set -euo pipefail
cd "$(dirname "$0")/.."

make install
python=.venv/bin/python
if ! card=$("$python" -c 'import torch; print(torch.cuda.get_device_name().replace(" ", "-"))' 2>/dev/null); then
    echo "error: torch finds no GPU here" >&2
    exit 1
fi
exec "$python" -m benchmarks.throughput --ladder --json "throughput-$card.json" "$@"
