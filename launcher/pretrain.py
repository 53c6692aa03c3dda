"""Pretrain: deepspeed launcher/pretrain.py --config FILE --data SHARDS --output RUN [...]."""

import signal
import sys

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of an import that Ctrl-C ends
    from gpt2zh.acts.pretrain import main

    sys.exit(main())
