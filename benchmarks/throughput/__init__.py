"""How fast training is: gpt2zh, transformers' Trainer and a bare loop on one device."""
