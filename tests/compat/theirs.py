"""Answer the questions about a checkpoint with nothing but transformers; any version runs it.

    PYTHON tests/compat/theirs.py QUESTIONS.json FOLDER

FOLDER gets answers.json, the logits, and the checkpoint as transformers saves it again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline


@torch.no_grad()
def answer(questions: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the answers, and write what is too large for JSON."""
    checkpoint, new = questions["checkpoint"], questions["new_tokens"]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    prompts = questions["prompts"]

    def write(inputs: dict[str, torch.Tensor]) -> list[list[int]]:
        ids = model.generate(**inputs, max_new_tokens=new, do_sample=False)
        length = inputs["input_ids"].shape[1] if inputs else 1
        return [until(row[length:].tolist(), tokenizer.eos_token_id) for row in ids]

    inputs = [tokenizer(prompt, return_tensors="pt") for prompt in prompts]
    logits = [model(**one).logits[0] for one in inputs]
    np.save(folder / "logits.npy", torch.cat(logits).numpy())
    losses = [model(**one, labels=one["input_ids"]).loss for one in inputs]
    together = tokenizer(prompts, return_tensors="pt", padding=True)
    tokenizer.chat_template = questions["template"]
    tokenizer.save_pretrained(folder / "again")
    model.save_pretrained(folder / "again")
    again = AutoTokenizer.from_pretrained(folder / "again")
    chat = [
        one.apply_chat_template(questions["messages"], tokenize=True, return_dict=False)
        for one in (tokenizer, again)
    ]
    pipe = pipeline("text-generation", model=checkpoint)
    options = {"max_new_tokens": new, "do_sample": False, "return_full_text": False}
    long = pipe(questions["long"], handle_long_generation="hole", **options)
    return {
        "version": transformers.__version__,
        "token ids": [tokenizer(text)["input_ids"] for text in questions["texts"]],
        "loss of a prompt": [float(loss) for loss in losses],
        "greedy": [write(one)[0] for one in inputs],
        "greedy, padded batch": write(together),
        "greedy, no prompt": write({})[0],
        "pipeline, long prompt": long[0]["generated_text"],
        "pipeline, no prompt": pipe("", **options)[0]["generated_text"],
        "chat template": chat[0],
        "chat template, saved again": chat[1],
        "maximum length": tokenizer.model_max_length,
    }


def until(ids: list[int], end: int) -> list[int]:
    """Return the ids before the end of the text."""
    return ids[: ids.index(end)] if end in ids else ids


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    found = answer(json.loads(Path(sys.argv[1]).read_text("utf-8")), target)
    (target / "answers.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")
