"""transformers' Trainer, as people use it, with a clock in it.

Its rows and its learning rate are those of the other arms, which costs no time.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments

from benchmarks.throughput.bare import Trained, load_model
from benchmarks.throughput.clock import StepClock
from benchmarks.throughput.job import OPTIMIZER, SEED, Job
from benchmarks.throughput.recipes import Recipe
from gpt2zh.data.manifest import TOKENIZER_DIR
from gpt2zh.model.shape import IGNORED
from gpt2zh.train.schedule import learning_rate


class TimedTrainer(Trainer):
    """A Trainer that notes where its steps begin, and keeps the losses of all steps."""

    def __init__(self, clock: StepClock, **arguments: Any) -> None:
        """Take a clock and the arguments of a Trainer."""
        super().__init__(**arguments)
        self.clock = clock
        self.nats: list[torch.Tensor] = []

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return range(len(self.train_dataset))  # they are in the order of all arms

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Follow the learning rate of all arms."""
        rate = partial(learning_rate, steps=num_training_steps, config=OPTIMIZER)
        self.lr_scheduler = LambdaLR(self.optimizer, lambda done: rate(done + 1) / OPTIMIZER.lr)
        return self.lr_scheduler

    def get_batch_samples(self, *arguments: Any, **options: Any) -> Any:
        """Read all micro-batches of a step: the step begins."""
        self.clock.step_begins()
        return super().get_batch_samples(*arguments, **options)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Run forward and backward of a micro-batch; return its share of the step's loss.

        The Trainer divides by all tokens of a GPT-2's rows, although the first of each row is not
        a target (its `_loss_shifts_labels` is false, for GPT-2 names no `loss_type`; 5.23). So its
        losses and gradients are smaller than a mean by 1 / T, and we keep nats instead.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.nats.append(loss * num_items_in_batch)
        return loss


def train(job: Job, recipe: Recipe, clock: StepClock, device: torch.device) -> Trained:
    """Train all steps."""
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(job.shards / TOKENIZER_DIR)
    data = job.data()
    batch = data.make_batch(data.order(0, job.total_steps * job.global_batch), step=1)
    if recipe.compile and recipe.precision != "fp32":
        # It switches TF32 on by torch's new flags alone; parts of the compiler read the old ones
        # and fail when the two differ (pytorch issue 166387). This sets both.
        torch.set_float32_matmul_precision("high")
    with tempfile.TemporaryDirectory() as output:
        trainer = TimedTrainer(
            clock,
            model=load_model(job, recipe),
            args=arguments(job, recipe, output, on_gpu=device.type == "cuda"),
            # Lists of Python numbers in the end, as a data set that was tokenized by `map`.
            train_dataset=Dataset.from_dict({"input_ids": batch.input_ids.tolist()}),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        )
        trainer.train()
    # Autocast was put around its forward pass in place (accelerate's prepare_model).
    trainer.model.__dict__.pop("forward", None)
    nats = torch.stack(trainer.nats).double().reshape(job.total_steps, -1).sum(dim=1).cpu()
    targets = (batch.labels[:, 1:] != IGNORED).reshape(job.total_steps, -1).sum(axis=1)
    return trainer.model, dict(enumerate((nats / torch.from_numpy(targets)).tolist(), start=1))


def arguments(job: Job, recipe: Recipe, output: str, *, on_gpu: bool) -> TrainingArguments:
    """Return the seed's arguments, or the best ones; AdamW's numbers are those of all arms."""
    is_best = not recipe.is_seed
    return TrainingArguments(
        output_dir=output,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=job.global_batch // recipe.micro_batch,
        max_steps=job.total_steps,
        learning_rate=OPTIMIZER.lr,
        weight_decay=OPTIMIZER.weight_decay,
        adam_beta1=OPTIMIZER.beta1,
        adam_beta2=OPTIMIZER.beta2,
        adam_epsilon=OPTIMIZER.eps,
        max_grad_norm=OPTIMIZER.max_grad_norm,
        optim="adamw_torch_fused" if is_best else "adamw_torch",
        fp16=recipe.precision == "fp16",
        bf16=recipe.precision == "bf16",
        tf32=recipe.precision != "fp32" if on_gpu and is_best else None,
        torch_compile=recipe.compile,
        dataloader_num_workers=min(4, len(os.sched_getaffinity(0))) if is_best else 0,
        logging_nan_inf_filter=not is_best,  # reads every loss, and so waits for the GPU
        logging_steps=2000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        seed=SEED,
    )
