"""Which number holds in which step."""

from __future__ import annotations

import pytest

from gpt2zh.config.stages import Stages


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("128:1000steps,256:500steps", ((128, 1000), (256, 500))),
        (" 64 : 1 step ", ((64, 1),)),
        ("256:5Steps, 128:5steps", ((256, 5), (128, 5))),
        ("none", ()),
    ],
)
def test_every_form_is_read_and_written_back(text: str, stages: tuple) -> None:
    found = Stages.parse(text)
    assert found.stages == stages and bool(found) == bool(stages)
    assert Stages.parse(str(found)) == found == Stages.parse(found)
    assert hash(Stages.parse(str(found))) == hash(found)


@pytest.mark.parametrize("text", ["", "128", "128:1000", 7690, "steps", "128:1000steps,", "128:1h"])
def test_other_forms_are_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="write 128:1000steps,256:500steps") as caught:
        Stages.parse(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("text", ["0:10steps", "64:0steps"])
def test_stages_of_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        Stages.parse(text)


def test_the_number_is_a_function_of_the_step() -> None:
    found = Stages.parse("8:3steps,16:2steps")
    assert [found.at(step, then=32) for step in range(1, 8)] == [8, 8, 8, 16, 16, 32, 32]
    assert found.steps == 5
    assert Stages().at(1, then=32) == 32


def test_what_is_left_of_the_stages_after_some_steps() -> None:
    found = Stages.parse("8:3steps,16:2steps")
    assert [list(found.after(step)) for step in (0, 1, 3, 4, 5, 6)] == [
        [(8, 3), (16, 2)],
        [(8, 2), (16, 2)],
        [(16, 2)],
        [(16, 1)],
        [],
        [],
    ]
