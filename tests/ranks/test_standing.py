"""What one rank sees of the others, through torch's own store."""

from __future__ import annotations

import platform

import pytest
from torch.distributed import HashStore

from gpt2zh.ranks.standing import Board
from gpt2zh.ranks.world import World


class CountingStore(HashStore):
    """Counts requests, each of which is a message over the network in a run."""

    requests = 0

    def check(self, keys: list[str]) -> bool:
        self.requests += 1
        return super().check(keys)

    def get(self, key: str) -> bytes:
        self.requests += 1
        return super().get(key)

    def multi_get(self, keys: list[str]) -> list[bytes]:
        self.requests += 1
        return super().multi_get(keys)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def boards(store: CountingStore, ranks: int = 2) -> list[Board]:
    return [Board(store, World(rank, ranks)) for rank in range(ranks)]


def publish(board: Board, marks: int, *, notes: int = 0) -> None:
    board.publish(phase=f"phase {marks}", step=7, marks=marks, notes=notes)


def test_a_rank_shows_the_others_where_it_is(store: CountingStore) -> None:
    one, other = boards(store)
    publish(other, 3, notes=2)
    one.read_all()
    seen = one.standings[1]
    assert (seen.marks, seen.notes, seen.beats) == (3, 2, 1)
    assert seen.place == f" on {platform.node()}" and seen.activity == "while phase 3 (step 7)"


def test_a_rank_that_was_never_heard_is_starting_somewhere(store: CountingStore) -> None:
    one, _ = boards(store)
    one.read_all()
    assert one.standings[1].place == "" and one.mine is one.standings[0]
    assert one.standings[1].activity == "while starting (step 0)"


# What a rank publishes after its third mark: is it alive, and has it moved?
NEWS = {
    "nothing": (None, False, False),
    "the same again": ({"marks": 3}, True, False),
    "a mark": ({"marks": 4}, True, True),
    "a note of its writer": ({"marks": 3, "notes": 1}, True, True),
}


@pytest.mark.parametrize("news", NEWS)
def test_only_marks_and_notes_are_progress_and_any_word_is_a_sign_of_life(
    store: CountingStore, news: str
) -> None:
    published, is_alive, has_moved = NEWS[news]
    one, other = boards(store)
    publish(other, 3)
    one.read_all()
    seen = one.standings[1]
    seen.heard_at = seen.changed_at = one.mine.heard_at = 0.0  # long ago
    if published is not None:
        publish(other, **published)
    one.read_all()
    assert (seen.heard_at > 0, seen.changed_at > 0) == (is_alive, has_moved)
    assert one.mine.heard_at > 0  # a rank never takes itself for dead
    one.reset()
    assert seen.heard_at == seen.changed_at > 0


def test_once_all_have_published_a_look_at_all_is_one_request(store: CountingStore) -> None:
    one, two, three = boards(store, 3)
    publish(one, 1)
    publish(three, 1)
    one.read_all()
    assert [standing.beats for standing in one.standings] == [1, -1, 1]
    publish(two, 1)
    one.read_all()
    store.requests = 0
    one.read_all()
    assert store.requests == 1


def test_a_key_that_nobody_has_set_is_not_waited_for(store: CountingStore) -> None:
    one, other = boards(store)
    assert one.get("crash/1") is None
    other.put("crash/1", "MemoryError")
    assert one.get("crash/1") == "MemoryError"
