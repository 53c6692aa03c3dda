"""Start two ranks, one of which gets no more memory from a phase on, and print their exit codes.

A process of its own: one that has run other tests has freed memory that the kernel cannot refuse.
"""

import json
import sys
from pathlib import Path

from tiny_runs import go

from tests.faults.fault import Fault
from tests.faults.tiny import arguments

if __name__ == "__main__":
    shards, folder = Path(sys.argv[1]), Path(sys.argv[2])
    codes = {}
    for name, phase in json.loads(sys.argv[3]).items():
        run = folder / name
        fault = Fault("no memory", rank=1, in_writer=False, at=1, phase=phase)
        more = ("--model.width=256", "--model.layers=4", "--train.micro_batch=4")
        ended = go(arguments(shards, run, {"stage": 1}, *more, steps=3), run, fault)
        codes[name] = ended.codes
    print(json.dumps(codes))
