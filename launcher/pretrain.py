"""Pretrain: deepspeed launcher/pretrain.py --config FILE --data SHARDS --output RUN [...]."""

import sys

from gpt2zh.acts.pretrain import main

if __name__ == "__main__":
    sys.exit(main())
