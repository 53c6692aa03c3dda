"""Which length the sequences have in which step."""

from __future__ import annotations

import pytest

from gpt2zh.config.curriculum import Curriculum


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
    found = Curriculum.parse(text)
    assert found.stages == stages
    assert Curriculum.parse(str(found)) == found == Curriculum.parse(found)
    assert hash(Curriculum.parse(str(found))) == hash(found)


@pytest.mark.parametrize("text", ["", "128", "128:1000", 7690, "steps", "128:1000steps,", "128:1h"])
def test_other_forms_are_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="write 128:1000steps,256:500steps") as caught:
        Curriculum.parse(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("text", ["1:10steps", "0:10steps", "64:0steps"])
def test_lengths_and_steps_that_train_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at least 2 tokens"):
        Curriculum.parse(text)


def test_the_length_is_a_function_of_the_step() -> None:
    found = Curriculum.parse("8:3steps,16:2steps")
    assert [found.length_at(step, context=32) for step in range(1, 8)] == [8, 8, 8, 16, 16, 32, 32]
    assert found.steps == 5
    assert Curriculum().length_at(1, context=32) == 32
