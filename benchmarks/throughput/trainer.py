"""transformers' Trainer, as people use it, with a clock in it.

Two things differ from a usual run: rows and learning rate are those of the other arms. Both cost
no time.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)

from benchmarks.throughput.bare import load_model
from benchmarks.throughput.clock import StepClock
from benchmarks.throughput.job import Job
from benchmarks.throughput.recipes import Recipe
from gpt2zh.train.schedule import learning_rate


class TimedTrainer(Trainer):
    """A Trainer that notes where its steps begin, and keeps the losses of all steps."""

    def __init__(self, *, job: Job, clock: StepClock, **arguments: Any) -> None:
        """Take the arguments of a Trainer."""
        super().__init__(**arguments)
        self.job, self.clock = job, clock
        self.nats: list[torch.Tensor] = []

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return range(len(self.train_dataset))  # they are in the order of all arms

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Follow the learning rate of all arms."""
        job = self.job

        def fraction(done: int) -> float:
            rate = learning_rate(done + 1, steps=job.total_steps, config=job.optimizer)
            return rate / job.lr

        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, fraction)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_batch_samples(self, *arguments: Any, **options: Any) -> Any:
        """Read all micro-batches of a step: the step begins."""
        self.clock.step_begins()
        with self.clock.waiting():
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


def train(
    job: Job, recipe: Recipe, clock: StepClock, device: torch.device
) -> tuple[GPT2LMHeadModel, dict[int, float]]:
    """Train all steps.

    Returns:
        The model with fp32 weights and no autocast, and the loss by step.
    """
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(f"{job.shards}/tokenizer")
    rows = job.all_rows()
    with tempfile.TemporaryDirectory() as output:
        options = arguments(job, recipe, output, on_gpu=device.type == "cuda")
        if recipe.compile and recipe.precision != "fp32":
            # They switch TF32 on by torch's new flags alone; parts of the compiler read the old
            # ones and fail when the two differ (pytorch issue 166387). This sets both.
            torch.set_float32_matmul_precision("high")
        trainer = TimedTrainer(
            job=job,
            clock=clock,
            model=load_model(job, recipe),
            args=options,
            # Lists of Python numbers in the end, as a data set that was tokenized by `map`.
            train_dataset=Dataset.from_dict({"input_ids": rows.tolist()}),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        )
        trainer.train()
    # Autocast was put around its forward pass in place (accelerate's prepare_model).
    trainer.model.__dict__.pop("forward", None)
    nats = torch.stack(trainer.nats).double().reshape(job.total_steps, -1).sum(dim=1).cpu()
    targets = (rows[:, 1:] != tokenizer.pad_token_id).reshape(job.total_steps, -1).sum(axis=1)
    return trainer.model, dict(enumerate((nats / torch.from_numpy(targets)).tolist(), start=1))


def arguments(job: Job, recipe: Recipe, output: str, *, on_gpu: bool) -> TrainingArguments:
    """Return the seed's arguments, or the best ones; AdamW's numbers are those of all arms."""
    optimizer, is_best = job.optimizer, recipe.fused_adamw
    return TrainingArguments(
        output_dir=output,
        per_device_train_batch_size=int(recipe.micro_batch),
        gradient_accumulation_steps=job.global_batch // int(recipe.micro_batch),
        max_steps=job.total_steps,
        learning_rate=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        adam_beta1=optimizer.beta1,
        adam_beta2=optimizer.beta2,
        adam_epsilon=optimizer.eps,
        max_grad_norm=optimizer.max_grad_norm,
        optim="adamw_torch_fused" if is_best else "adamw_torch",
        fp16=recipe.precision == "fp16",
        bf16=recipe.precision == "bf16",
        tf32=recipe.precision != "fp32" if on_gpu and is_best else None,
        torch_compile=recipe.compile,
        dataloader_num_workers=job.workers if is_best else 0,
        logging_nan_inf_filter=not is_best,  # reads every loss, and so waits for the GPU
        logging_steps=2000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        seed=job.seed,
    )
