"""Score documents with lm-eval's rolling log-likelihood, offline; runs where lm-eval is installed.

    PYTHON tests/compat/rolling.py CHECKPOINT DOCUMENTS.jsonl FOLDER

FOLDER gets rolling.json with the bits per byte.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_EVALUATE_OFFLINE"] = "1"

import lm_eval
from lm_eval.tasks import TaskManager

TASK = """
task: rolling
dataset_path: json
dataset_kwargs:
  data_files:
    test: {documents}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: bits_per_byte
"""


def bits_per_byte(checkpoint: str, documents: Path, folder: Path) -> float:
    """Return lm-eval's bits per byte over all documents."""
    tasks = folder / "tasks"
    tasks.mkdir(exist_ok=True)
    (tasks / "rolling.yaml").write_text(TASK.format(documents=documents.resolve()), "utf-8")
    os.environ["HF_DATASETS_CACHE"] = str((folder / "cache").resolve())
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={checkpoint},dtype=float32",
        tasks=["rolling"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        device="cpu",
        batch_size=1,
        bootstrap_iters=0,
    )
    return float(results["results"]["rolling"]["bits_per_byte,none"])


if __name__ == "__main__":
    target = Path(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    found = bits_per_byte(sys.argv[1], Path(sys.argv[2]), target)
    (target / "rolling.json").write_text(json.dumps(found), "utf-8")
