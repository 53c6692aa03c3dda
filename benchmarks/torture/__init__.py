"""Seeded faults in tiny training runs, whose ends must equal those of undisturbed ones."""

import os

from gpt2zh.ranks.logs import quiet_libraries

# Before torch and deepspeed are imported.
os.environ.update(DS_ACCELERATOR="cpu", CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
quiet_libraries()
