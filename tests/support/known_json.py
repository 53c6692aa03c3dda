"""DeepSpeed JSONs of the shapes that well-known projects have, written for these tests."""

from __future__ import annotations

from typing import Any

BATCH = dict.fromkeys(
    ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto"
)
AUTO_BATCH = BATCH | {"gradient_clipping": "auto"}
SCALE = {"loss_scale": 0, "loss_scale_window": 1000, "hysteresis": 2, "min_loss_scale": 1}
HALF = {"fp16": {"enabled": "auto", "initial_scale_power": 16, **SCALE}}
HALVES = HALF | {"bf16": {"enabled": "auto"}}
ADAMW = {"type": "AdamW", "params": dict.fromkeys(("lr", "betas", "eps", "weight_decay"), "auto")}
WARMUP = dict.fromkeys(("warmup_min_lr", "warmup_max_lr", "warmup_num_steps"), "auto")
CPU = {"device": "cpu", "pin_memory": True}
QUIET = {"steps_per_print": 2000, "wall_clock_breakdown": False}
ZERO_2 = {
    "stage": 2,
    "allgather_partitions": True,
    "allgather_bucket_size": 2e8,
    "overlap_comm": True,
    "reduce_scatter": True,
    "reduce_bucket_size": 2e8,
    "contiguous_gradients": True,
}
ZERO_3 = {
    "stage": 3,
    "overlap_comm": True,
    "contiguous_gradients": True,
    "sub_group_size": 1e9,
    "reduce_bucket_size": "auto",
    "stage3_prefetch_bucket_size": "auto",
    "stage3_param_persistence_threshold": "auto",
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
    "stage3_gather_16bit_weights_on_model_save": True,
}
FACTORY = {
    **AUTO_BATCH,
    **HALVES,
    "zero_allow_untested_optimizer": True,
    "comms_config": {"verbose": False},
    "monitor_config": {"enabled": True, "csv_monitor": {"enabled": False}},
}

TAKEN: dict[str, dict[str, Any]] = {
    "transformers, ZeRO 2": {
        **AUTO_BATCH, **HALVES, **QUIET, "optimizer": ADAMW,
        "scheduler": {"type": "WarmupLR", "params": WARMUP},
        "zero_optimization": ZERO_2 | {"offload_optimizer": CPU},
    },
    "LLaMA-Factory, ZeRO 0": FACTORY | {
        "zero_optimization": ZERO_2 | {"stage": 0, "round_robin_gradients": True},
    },
    "LLaMA-Factory, ZeRO 2, offload": FACTORY | {
        "zero_optimization": ZERO_2 | {"offload_optimizer": CPU, "round_robin_gradients": True},
    },
    "LLaMA-Factory, ZeRO 3, offload": FACTORY | {
        "zero_optimization": ZERO_3 | {"offload_optimizer": CPU, "offload_param": CPU},
    },
    "axolotl, ZeRO 1": {
        **BATCH, **HALVES, "optimizer": ADAMW, "wall_clock_breakdown": False,
        "fp16": {"enabled": "auto", "auto_cast": False, "initial_scale_power": 32, **SCALE},
        "zero_optimization": {"stage": 1, "overlap_comm": True},
    },
    "axolotl, ZeRO 3, bf16, offload": {
        **AUTO_BATCH, "bf16": {"enabled": True}, "wall_clock_breakdown": False,
        "zero_force_ds_cpu_optimizer": False, "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": 3, "offload_optimizer": CPU, "offload_param": CPU, "overlap_comm": True,
            "contiguous_gradients": True, "sub_group_size": 0, "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto", "stage3_param_persistence_threshold": "auto",
            "max_live_parameters": 0, "max_reuse_distance": 0,
            "gather_16bit_weights_on_model_save": True,
        },
    },
    "FastChat, ZeRO 2": {
        "zero_optimization": {
            "stage": 2, "offload_optimizer": {"device": "cpu"}, "contiguous_gradients": True,
            "overlap_comm": True,
        },
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    },
    "Chinese-LLaMA-Alpaca, ZeRO 2": {
        **AUTO_BATCH, **QUIET, "zero_optimization": ZERO_2,
        "fp16": {"enabled": "auto", **SCALE, "loss_scale_window": 100, "min_loss_scale": 1e-10},
    },
    "Open-Assistant, ZeRO 2": {
        **AUTO_BATCH, **HALF, **QUIET, "optimizer": ADAMW,
        "scheduler": {"type": "WarmupDecayLR", "params": WARMUP | {"total_num_steps": "auto"}},
        "zero_optimization": ZERO_2 | {"offload_optimizer": CPU},
    },
    "Open-Assistant, ZeRO 3, pretraining": {
        **AUTO_BATCH, **HALVES, **QUIET, "optimizer": ADAMW, "zero_optimization": ZERO_3,
        "scheduler": {"type": "WarmupLR", "params": WARMUP | {"warmup_type": "linear"}},
    },
    "transformers, ZeRO 3, offload": {
        **AUTO_BATCH, **HALF, **QUIET, "optimizer": ADAMW,
        "scheduler": {"type": "WarmupLR", "params": WARMUP},
        "zero_optimization": {
            **{key: value for key, value in ZERO_3.items() if "16bit" not in key},
            "offload_optimizer": CPU, "offload_param": CPU, "sub_group_size": 1e14,
            "stage3_gather_fp16_weights_on_model_save": True,
        },
    },
    "stanford_alpaca, ZeRO 3, offload": {
        **AUTO_BATCH, **QUIET, "bf16": {"enabled": "auto"}, "optimizer": ADAMW,
        "scheduler": {"type": "WarmupDecayLR", "params": WARMUP | {"total_num_steps": "auto"}},
        "zero_optimization": ZERO_3 | {"offload_optimizer": CPU, "offload_param": CPU},
    },
    "old ZeRO 2 with cpu_offload": {
        **BATCH, **HALF, **QUIET,
        "zero_optimization": ZERO_2 | {"cpu_offload": True, "cpu_offload_use_pin_memory": True},
        "activation_checkpointing": {"partition_activations": True},
    },
    "a tutorial's, with monitors": {
        **BATCH, **QUIET, "zero_optimization": {"stage": 1},
        "wandb": {"enabled": True, "project": "p"}, "tensorboard": {"enabled": True},
        "csv_monitor": {"enabled": True, "output_path": "logs"}, "dataloader_drop_last": True,
    },
}  # fmt: skip
"""Those that are taken as they are; where one enables bf16, with train.precision bf16."""

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "transformers, ZeRO 3, with numbers": (
        {
            "fp16": {"enabled": True, **SCALE}, **QUIET,
            "zero_optimization": ZERO_3 | {"offload_param": CPU},
            "optimizer": {
                "type": "AdamW",
                "params": {"lr": 3e-5, "betas": [0.8, 0.999], "eps": 1e-8, "weight_decay": 3e-7},
            },
            "scheduler": {
                "type": "WarmupLR",
                "params": {"warmup_min_lr": 0, "warmup_max_lr": 3e-5, "warmup_num_steps": 500},
            },
        },
        ["--train.precision fp16", "--optimizer.lr 3e-05", "--optimizer.beta1 0.8",
         "--optimizer.beta2 0.999", "--optimizer.weight_decay 3e-07",
         "--optimizer.schedule constant", "--optimizer.warmup_steps 500"],
    ),
    "Megatron-DeepSpeed": (
        {
            "train_batch_size": 256, "train_micro_batch_size_per_gpu": 32, "steps_per_print": 1,
            "zero_optimization": {"stage": 1}, "gradient_clipping": 1.0,
            "prescale_gradients": False, "fp16": {"enabled": True, **SCALE},
        },
        ["--train.global_batch 256", "--train.micro_batch 32", "--train.precision fp16"],
    ),
    "axolotl, with compile": (
        {**AUTO_BATCH, **HALVES, "compile": {"disable": False, "backend": "inductor"},
         "zero_optimization": {"stage": 2}},
        ["compile.disable", "compile.backend", "says DeepSpeed"],
    ),
    "LLaMA-Factory, fp8": (
        {
            "train_micro_batch_size_per_gpu": "auto", "gradient_clipping": 0.001,
            "zero_force_ds_cpu_optimizer": True, "fp16": {"enabled": False},
            "fp8": {"enabled": True}, "zero_optimization": ZERO_3, "steps_per_print": 10000000,
        },
        ["--optimizer.max_grad_norm 0.001"],
    ),
}  # fmt: skip
"""Those that are refused, each with what the one message must name."""
