"""Train a small checkpoint with our own launcher, and answer the questions about it ourselves."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt2zh.data.batch import batch_of
from gpt2zh.data.tensors import as_tensors
from gpt2zh.evaluation.perplexity import evaluate
from gpt2zh.generation.generate import generate
from gpt2zh.generation.sampling import SamplingConfig
from gpt2zh.model.load import load_pretrained
from gpt2zh.model.loss import SummedLoss
from tests.compat.environments import QUICK

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
PROMPTS = ["从前，有", "从前，山里有一个人，他每天", "Hello, 世界！", "春风吹过来"]
TEXTS = [*PROMPTS, "", "  空格 \n\n 和换行\t", "😀 龘 é", "2024年10月1日 3.14"]
MESSAGES = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！"}]
TEMPLATE = (
    "{% for m in messages %}{{ bos_token }}{{ m['role'] }}：{{ m['content'] }}"
    "{{ eos_token }}{% endfor %}"
)
NEW_TOKENS = 12


def demo_texts() -> list[str]:
    """Return the documents of the demo corpus."""
    texts = []
    for path in sorted((ROOT / "demo" / "corpus").rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            texts += [row["content"] for row in csv.DictReader(file)]
    return texts


def write_vocabulary(path: Path) -> Path:
    """Write a BERT vocab.txt of the characters of the demo corpus."""
    characters = sorted({c for text in demo_texts() for c in text.lower() if not c.isspace()})
    pieces = [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *pieces]
    path.write_text("\n".join(words) + "\n", "utf-8")
    return path


def train(folder: Path, tokenizer: str, *, steps: int) -> Path:
    """Prepare the demo corpus and train a small model on it; return the checkpoint."""
    checkpoint = folder / "run" / f"checkpoint-{steps}"
    if checkpoint.is_dir():
        return checkpoint
    shards = folder / "shards"
    corpus = str(ROOT / "demo" / "corpus" / "**" / "*.csv")
    prepare = ["data_tools", "prepare", "--input", corpus, "--output", str(shards)]
    prepare += ["--tokenizer", tokenizer, "--row-length", "128"]
    pretrain = ["gpt2zh.acts.pretrain", "--config", str(ROOT / "configs" / "demo.yaml")]
    pretrain += ["--data", str(shards), "--output", str(folder / "run")]
    pretrain += ["--train.steps", str(steps), "--model.width", "64", "--checkpoint.every", "never"]
    pretrain += ["--validation.every", "never", "--validation.sample-tokens", "0"]
    for command in (prepare, pretrain):
        if command is prepare and shards.is_dir():
            continue
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=QUICK | os.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            done.check_returncode()
    return checkpoint


def ask(checkpoint: Path) -> dict[str, Any]:
    """Return the questions about a checkpoint."""
    return {
        "checkpoint": str(checkpoint.resolve()),
        "texts": TEXTS,
        "prompts": PROMPTS,
        "long": "山水" * 100,
        "template": TEMPLATE,
        "messages": MESSAGES,
        "new_tokens": NEW_TOKENS,
    }


@torch.no_grad()
def answer(checkpoint: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Return our answers and the logits of the prompts, (T, V) joined along T."""
    model, tokenizer = load_pretrained(checkpoint, dtype=torch.float32, device=CPU)
    context, start = model.config.n_positions, model.config.document_start_token_id
    greedy = SamplingConfig(temperature=0, max_new_tokens=NEW_TOKENS)
    prompts = tokenizer.encode_batch(PROMPTS)
    tensors = [torch.tensor([ids]) for ids in prompts]
    logits = torch.cat([model(x).logits[0] for x in tensors]).numpy()
    alone = [generate(model, [ids], greedy)[0].ids for ids in prompts]
    together = [row.ids for row in generate(model, prompts, greedy)]
    long = tokenizer.encode("山水" * 100)[-(context - NEW_TOKENS) :]
    after_long = tokenizer.decode(generate(model, [long], greedy)[0].ids)
    empty = generate(model, [[start]], greedy)[0].ids
    chat = [
        id_
        for message in MESSAGES
        for id_ in (
            start,
            *tokenizer.encode(f"{message['role']}：{message['content']}"),
            tokenizer.eos_id,
        )
    ]
    loss = SummedLoss(model)  # from here on the model has the attention of training
    answers = {
        "token ids": tokenizer.encode_batch(TEXTS),
        "loss of a prompt": [float(loss(x, x.clone())) / (x.shape[1] - 1) for x in tensors],
        "greedy": alone,
        "greedy, padded batch": together,
        "greedy, no prompt": empty,
        "pipeline, long prompt": after_long,
        "pipeline, no prompt": tokenizer.decode(empty),
        "chat template": chat,
        "chat template, saved again": chat,
        "maximum length": context,
    }
    return answers, logits


def write_documents(checkpoint: Path, path: Path) -> float:
    """Write documents for lm-eval, and return our bits per byte of them.

    Each is a row of its own: the start of a document, its tokens, and no eos, as lm-eval has them.
    """
    model, tokenizer = load_pretrained(checkpoint, dtype=torch.float32, device=CPU)
    encoded = [(text, tokenizer.encode(text)) for text in demo_texts()]
    short = [(text, ids) for text, ids in encoded if len(ids) < model.config.n_positions][:24]
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text, _ in short]
    path.write_text("".join(lines), "utf-8")
    start, pad = model.config.document_start_token_id, tokenizer.pad_id
    batches = (
        as_tensors(batch_of(np.array([[start, *ids]]), pad_id=pad, numbers=np.arange(1)), CPU)
        for _, ids in short
    )
    score = evaluate(
        SummedLoss(model),
        batches,
        device=CPU,
        tokens=sum(len(ids) for _, ids in short),
        characters=sum(len(text) for text, _ in short),
    )
    return score.nats / math.log(2) / sum(len(text.encode()) for text, _ in short)
