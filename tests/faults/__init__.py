"""Random faults in tiny training runs, which must end like runs without faults. Seeded."""

import os

from gpt2zh.ranks.logs import quiet_libraries

# Before torch and deepspeed are imported.
os.environ.update(DS_ACCELERATOR="cpu", CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
quiet_libraries()
