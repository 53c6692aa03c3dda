#!/usr/bin/env bash
# Prepare, pretrain, stop, resume and write, on a small corpus. `make demo` runs this script.
# OUT sets the folder for the results, STEPS the optimizer steps, RANKS the number of processes.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${OUT:-demo/out}
steps=${STEPS:-1200}
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
if [ "$gpus" -gt 0 ]; then
    ranks=${RANKS:-$((gpus < 2 ? gpus : 2))} # a step has eight rows: more ranks gain nothing
    places=(--num_gpus "$ranks")
else
    ranks=${RANKS:-2}
    places=(--num_accelerators "$ranks")
    export DS_ACCELERATOR=cpu
fi

say() { printf '\n== %s\n' "$*"; }
pretrain() {
    deepspeed --quiet "${places[@]}" launcher/pretrain.py --config configs/demo.yaml \
        --data "$out/shards" --output "$out/run" --deepspeed_config ds_configs/zero1.json \
        --train.steps "$steps" "$@"
}

rm -rf "$out/tokenizer" "$out/shards" "$out/run"
say "1/5 prepare: CSV folders to packed rows"
# A corpus of a few pages needs a small vocabulary of its own. For a real one, leave out --tokenizer:
# then the builtin tokenizer is used.
python -m data_tools train-tokenizer --input 'demo/corpus/**/*.csv' --output "$out/tokenizer" \
    --alphabet corpus --vocab-size 2304
python -m data_tools prepare --input 'demo/corpus/**/*.csv' --output "$out/shards" \
    --tokenizer "$out/tokenizer" --row-length 128 --validation-fraction 0.05

say "2/5 pretrain a tiny GPT-2 on $ranks ranks, and stop half-way"
code=0
pretrain --stop-after "$((steps / 2))steps" || code=$?
[ "$code" -eq 75 ] # the exit code of a run that stopped because it was asked to

say "3/5 run the same command again: it continues"
pretrain

last=$(ls -d "$out"/run/checkpoint-* | sort -V | tail -n 1)
say "4/5 write text with the model"
gpt2zh generate --model "$last" --prompt 从前，山里有 小满 甲： --max-new-tokens 60 \
    --temperature 0.7 --seed 1

say "5/5 the results"
echo "checkpoint   $last"
echo "curves       .venv/bin/tensorboard --logdir $(printf %q "$out/run/tensorboard")"
echo "write more   .venv/bin/gpt2zh generate --model $(printf %q "$last") --prompt 从前，山里有"
