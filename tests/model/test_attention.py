"""Attention while training: whole graphs, no mask, and documents apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from gpt2zh.model.attention import causal_attention, document_mask, plain_attention
from gpt2zh.model.loss import SummedLoss

T, V, START = 24, 128, 7


def new_model(dropout: float = 0.0, attention: str = "sdpa") -> GPT2LMHeadModel:
    torch.manual_seed(0)
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=16, n_positions=T, vocab_size=V, attn_implementation=attention
    )
    config.update(drops)
    return GPT2LMHeadModel(config)


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(8, V, (3, T), generator=torch.Generator().manual_seed(1))


class Graphs:
    """A compiler that keeps the graphs it is given and runs them as they are."""

    def __init__(self) -> None:
        self.found: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, example: Any) -> torch.fx.GraphModule:
        self.found.append(graph)
        return graph

    def attentions(self) -> list[dict[str, Any]]:
        parts = [m for graph in self.found for m in graph.modules() if hasattr(m, "graph")]
        nodes = [node for part in parts for node in part.graph.nodes]
        return [dict(n.kwargs) for n in nodes if "scaled_dot_product" in str(n.target)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["plain", "dropout", "recomputed"])
def test_compiled_it_is_one_graph_whose_attention_is_causal_without_a_mask(
    ids: torch.Tensor, kind: str, dtype: torch.dtype
) -> None:
    torch._dynamo.reset()
    model = new_model(dropout=0.1 if kind == "dropout" else 0.0).to(dtype)
    if kind == "recomputed":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    graphs = Graphs()
    loss = SummedLoss(model)
    loss.compile(backend=graphs, fullgraph=True, dynamic=False)
    loss(ids, ids).backward()
    assert len(graphs.found) == 1
    found = graphs.attentions()
    assert len(found) == 2  # layers
    assert all(a["is_causal"] and a["attn_mask"] is None for a in found)


@pytest.mark.slow
def test_without_our_attention_transformers_makes_a_mask_when_compiled(ids: torch.Tensor) -> None:
    """When this fails, transformers has mended what `model/attention.py` works around."""
    torch._dynamo.reset()
    graphs = Graphs()
    model = new_model()
    torch.compile(model.transformer, backend=graphs, fullgraph=True)(ids, use_cache=False)
    assert not any(a["is_causal"] for a in graphs.attentions())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_it_gives_what_transformers_gives(ids: torch.Tensor, attention: str) -> None:
    theirs, ours = new_model(attention=attention).eval(), SummedLoss(new_model()).model.eval()
    assert ours.config._attn_implementation == "gpt2zh_causal"
    tolerance = {"rtol": 0, "atol": 0} if attention == "sdpa" else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, **tolerance)


def test_a_saved_model_is_a_plain_one(ids: torch.Tensor, tmp_path: Path) -> None:
    loss = SummedLoss(new_model())
    logits = loss.model.eval()(ids).logits
    loss.model.save_pretrained(tmp_path)
    assert "gpt2zh" not in (tmp_path / "config.json").read_text("utf-8")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(loaded) is GPT2LMHeadModel
    assert loaded.config._attn_implementation == "sdpa"
    assert torch.equal(loaded(ids).logits, logits)


def test_generating_with_a_cache_is_refused_and_possible_within_plain_attention(
    ids: torch.Tensor,
) -> None:
    plain, training = new_model().eval(), SummedLoss(new_model()).model.eval()
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones(3, 12, dtype=torch.int64)
    mask[1, :5] = 0  # a shorter prompt, padded on the left
    with pytest.raises(ValueError, match="plain_attention"):
        training.generate(ids[:, :12], attention_mask=mask, **settings)
    with plain_attention(training):
        found = training.generate(ids[:, :12], attention_mask=mask, **settings)
    assert torch.equal(found, plain.generate(ids[:, :12], attention_mask=mask, **settings))
    assert training.config._attn_implementation == "gpt2zh_causal"


def test_the_scale_is_that_of_the_caller() -> None:
    query, key, value = torch.randn(3, 1, 2, 4, 8)
    one, _ = causal_attention(torch.nn.Identity(), query, key, value, None, scaling=0.1)
    other, _ = causal_attention(torch.nn.Identity(), query * 0.1, key, value, None, scaling=1.0)
    torch.testing.assert_close(one, other)


def packed(documents: list[list[int]]) -> torch.Tensor:
    return torch.tensor([token for document in documents for token in document])[None]


def test_apart_each_document_has_the_loss_that_it_has_alone() -> None:
    """The token that starts a document is the first of it, as in generation."""
    documents = [[START, 20, 21, 22, 23], [START, 30], [START, 40, 41, 42, 43, 44, 45]]
    row = packed(documents)
    together = SummedLoss(new_model(), document_start=START)
    labels = torch.where(row == START, -100, row)  # what a document says of the next one's start
    alone = SummedLoss(new_model())
    expected = sum(alone(one, one) for one in (packed([d]) for d in documents))
    torch.testing.assert_close(together(row, labels), expected)
    assert abs(SummedLoss(new_model())(row, labels) - expected) > 1e-3  # not so without


def test_what_comes_before_the_first_start_is_a_document_too() -> None:
    row = torch.tensor([[50, 51, START, 60, 61]])
    mask, positions = document_mask(row, START)
    assert positions.tolist() == [[0, 1, 0, 1, 2]]
    assert mask.shape == (1, 1, 5, 5)
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]


@pytest.mark.slow
def test_documents_apart_compile_to_one_graph_as_well(ids: torch.Tensor) -> None:
    torch._dynamo.reset()
    ids[:, ::9] = START
    graphs = Graphs()
    loss = SummedLoss(new_model(), document_start=START)
    eager = loss(ids, ids)
    loss.compile(backend=graphs, fullgraph=True, dynamic=False)
    assert loss(ids, ids) == eager
    assert len(graphs.found) == 1
    assert all(a["attn_mask"] is not None and not a["is_causal"] for a in graphs.attentions())
