"""What a machine can train on, found without torch."""

from __future__ import annotations

from pathlib import Path

from gpt2zh.plan.machine import CPU_FLOPS, Machine, find_card, find_machine


def add_gpu(root: Path, number: int, model: str) -> Path:
    folder = root / "proc/driver/nvidia/gpus" / f"0000:0{number}:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 189\n")
    return folder / "information"


def test_the_card_of_a_machine_is_found_without_torch(tmp_path: Path) -> None:
    assert find_card(tmp_path) is None
    file = add_gpu(tmp_path, 1, "NVIDIA GeForce RTX 4090")
    found = find_card(tmp_path)
    assert found is not None and found.name == "RTX 4090"
    file.write_text("Model: \t\t Unknown\n")
    assert find_card(tmp_path) is None


def test_gpus_are_counted_unless_they_are_hidden(tmp_path: Path) -> None:
    assert find_machine(tmp_path, {}).gpus == 0
    add_gpu(tmp_path, 1, "Something new")
    add_gpu(tmp_path, 2, "Something new")
    found = find_machine(tmp_path, {})
    assert found.gpus == 2 and found.card is None
    for env in ({"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "-1"}):
        assert find_machine(tmp_path, env).gpus == 0
    assert find_machine(tmp_path, {"DS_ACCELERATOR": "cpu"}).gpus == 0


def test_a_machine_whose_driver_shows_only_devices_has_gpus(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert find_machine(tmp_path, {}).gpus == 2


def test_all_cores_compute() -> None:
    assert Machine(0, None, 4).cpu_flops == 4 * CPU_FLOPS
