"""Sizes that the memory of ZeRO depends on: of the parameters, their buckets and their sums."""

from __future__ import annotations

from collections.abc import Sequence

from gpt2zh.config.schema import ModelConfig
from gpt2zh.cost.gathers import Limits, count_most_held
from gpt2zh.cost.setting import Setting
from gpt2zh.cost.weights import Weight, find_owners, weights_of
from gpt2zh.model import shape

FP32 = 4
"""Bytes of a number in fp32."""


class RankSizes:
    """Sizes of one rank, in parameters or bytes."""

    def __init__(self, model: ModelConfig, vocabulary: int, setting: Setting) -> None:
        """Take the shape of the model and how it is trained.

        Args:
            model: The shape.
            vocabulary: Rows of the embedding, padded.
            setting: How it is trained.
        """
        self.setting, self.ranks = setting, setting.ranks
        self.width, self.sum_width = setting.width, setting.sum_width
        self._weights = weights_of(model, vocabulary)
        self._sizes = [weight.elements for weight in self._weights.all]
        self._square = model.width**2
        self.count, self.largest = sum(self._sizes), max(self._sizes)
        self.muon_groups = self._weights.muon_groups(setting.optimizer)
        # In another type than the gradients (zero/stage_1_and_2.py, use_grad_accum_attribute).
        self.is_summed_apart = self.sum_width != self.width
        self.is_accumulated = setting.accumulation > 1

    @property
    def moments(self) -> float:
        """Bytes of AdamW's two moments, or Muon's one."""
        by_muon = sum(weight.elements for group in self.muon_groups for weight in group)
        return 2 * FP32 * self.count - FP32 * by_muon

    @property
    def reduced(self) -> int:
        """Parameters that are reduced at a time; one larger than a bucket is reduced alone."""
        return max(min(self.setting.bucket, self.count), self.largest)

    @property
    def small(self) -> int:
        """Parameters in tensors that fit into a bucket."""
        return sum(size for size in self._sizes if size <= self.setting.bucket)

    @property
    def bucket_elements(self) -> int:
        """Elements of the buckets; with overlap_comm one is filled while the other is sent."""
        return self.setting.bucket * (2 if self.setting.zero.get("overlap_comm") else 1)

    @property
    def flat_width(self) -> int:
        """Bytes of each sum that an update flattens, and casts if it is not in fp32."""
        return FP32 if self.sum_width == FP32 else self.sum_width + FP32

    @property
    def tied(self) -> int:
        """Bytes of the embedding's gradient, the last one: of head, of embedding, and their sum."""
        return 3 * self.width * self.largest

    @property
    def all_at_once(self) -> int:
        """Bytes of a compiled model's gradients, which all appear at the end of the backward pass.

        0 if the model is not compiled.
        """
        return self.width * self.count if self.setting.is_compiled else 0

    @property
    def second_gradients(self) -> int:
        """Bytes of `all_at_once` next to the gradients that they are added to."""
        return self.all_at_once if self.is_accumulated else 0

    def count_gathered(self) -> tuple[int, int]:
        """Return elements that ZeRO 3 gathers.

        Returns:
            Those of small tensors, which are released only for updates, and the most of other
            tensors at a time.
        """
        limits = Limits.of(self.setting.zero)
        forward, backward = self._weights.calls(recompute=self.setting.recompute)
        small = sum(size for size in self._sizes if size <= limits.persistent)
        return small, count_most_held([*forward, *backward], limits)

    def orthogonalize_bytes(self) -> float:
        """Return the bytes of copies while Muon orthogonalizes a group (train/muon.py)."""
        return max(map(self.orthogonalize_group_bytes, self.muon_groups), default=0.0)

    def orthogonalize_group_bytes(self, group: Sequence[Weight]) -> float:
        """Return the bytes of copies while Muon orthogonalizes one group.

        Matrices of one shape are orthogonalized together. Those that are split over ranks are first
        collected on each of these ranks. A GPU needs less, since it orthogonalizes in bf16.
        """
        ranks = self.ranks if self.setting.stage else 1
        found = list(find_owners(group, ranks))
        collected = sum(weight.elements for weight, owners in found if len(owners) > 1)
        most = 0.0
        for rank in range(ranks):
            mine = [weight.elements for weight, owners in found if rank in owners]
            for is_oblong in (False, True):
                elements = sum(size for size in mine if (size == 4 * self._square) == is_oblong)
                sides = 4 if is_oblong else 1
                most = max(most, shape.orthogonalize_bytes(elements, sides=sides))
        return FP32 * collected + most
