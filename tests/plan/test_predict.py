"""The table of other ZeRO settings: where its seconds come from."""

from __future__ import annotations

import dataclasses
import math

import pytest
from plans import MODEL, setup_of

from gpt2zh.config.profiles import candidates, profile
from gpt2zh.cost.cards import Card, card_named
from gpt2zh.cost.computing import speed
from gpt2zh.cost.traffic import count_traffic
from gpt2zh.plan.predict import NETWORK_SHARE, Cluster, list_choices, predict_seconds
from gpt2zh.plan.setup import Setup, setting_of


def card(name: str = "RTX 3090") -> Card:
    found = card_named(name)
    assert found is not None
    return found


def seconds(planned: Setup, cluster: Cluster) -> float:
    setting = setting_of(planned.config, planned.resolved, ranks=planned.ranks, on_gpu=True)
    found = predict_seconds(planned, setting, cluster)
    assert found is not None
    return found


def computing(planned: Setup, *, is_compiled: bool = True) -> float:
    """Seconds in which a rank computes its share of a step."""
    alone = speed(card(), MODEL, planned.vocabulary, is_compiled=is_compiled).expected
    return planned.tokens_per_step / planned.ranks / alone


def test_the_slowest_link_of_the_ring_is_its_rate() -> None:
    link = card().link_rate
    assert Cluster(card(), 1, 8, 100).rate == math.inf
    assert Cluster(card(), 8, 8, 1).rate == link
    slow = Cluster(card(), 9, 8, 10)
    assert slow.machines == 2 and slow.rate == NETWORK_SHARE * 10e9 / 8
    assert Cluster(card(), 16, 8, 8000).rate == link
    assert Cluster(card(), 4, 1, 8000).rate == NETWORK_SHARE * 8000e9 / 8  # no link within


def test_a_rank_alone_only_computes() -> None:
    alone = setup_of(1, profile(1))
    cluster = Cluster(card(), 1, 8, 100)
    assert seconds(alone, cluster) == pytest.approx(computing(alone))
    again = setup_of(1, profile(1), activation_checkpointing=True)
    assert seconds(again, cluster) == pytest.approx(4 / 3 * computing(alone))
    eager = setup_of(1, profile(1), compile="never")
    assert seconds(eager, cluster) == pytest.approx(computing(alone, is_compiled=False))


def test_ranks_also_send_what_traffic_counts() -> None:
    two = setup_of(2, profile(1))
    setting = setting_of(two.config, two.resolved, ranks=2, on_gpu=True)
    found = count_traffic(MODEL, two.vocabulary, setting)
    assert not found.is_overlapped
    for network in (1, 10):
        cluster = Cluster(card(), 2, 1, network)
        sending = found.sent(2) / cluster.rate
        assert seconds(two, cluster) == pytest.approx(computing(two) + sending)


def test_gradients_travel_within_the_backward_pass_as_far_as_they_fit() -> None:
    apart, overlapped = (
        setup_of(2, {"zero_optimization": {"stage": 2, "overlap_comm": overlap}})
        for overlap in (False, True)
    )
    for network, hidden in ((0.001, None), (1000, 0.0)):
        cluster = Cluster(card(), 2, 1, network)
        setting = setting_of(overlapped.config, overlapped.resolved, ranks=2, on_gpu=True)
        found = count_traffic(MODEL, overlapped.vocabulary, setting)
        gradients = sum(part.sent(2) for part in found.gradients) * found.reductions / cluster.rate
        backward = 2 / 3 * computing(overlapped)
        gain = seconds(apart, cluster) - seconds(overlapped, cluster)
        assert gain == pytest.approx(backward if hidden is None else gradients)


def test_the_plan_comes_first_and_only_what_fits_has_a_speed() -> None:
    planned = setup_of(2, {"zero_optimization": {"stage": 0}})
    choices = list(list_choices(planned, Cluster(card(), 2, 8, 100)))
    assert [choice.is_planned for choice in choices] == [True] + [False] * (len(choices) - 1)
    assert len(choices) == 2 * (1 + len(candidates(2)))
    assert choices[0].name == "ZeRO 0" and not choices[0].recompute
    for choice in choices:
        assert (choice.seconds is None) == ("host" in choice.name)
    tiny = dataclasses.replace(card(), memory=2**30)
    small = list(list_choices(planned, Cluster(tiny, 2, 8, 100)))
    assert {(choice.seconds, choice.most_rows) for choice in small} == {(None, 0)}


def test_the_host_is_not_predicted() -> None:
    away = setup_of(2, profile(2, offload=True))
    setting = setting_of(away.config, away.resolved, ranks=2, on_gpu=True)
    assert predict_seconds(away, setting, Cluster(card(), 2, 8, 100)) is None
