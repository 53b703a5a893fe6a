"""What a patch is compared with and is no patch."""

from __future__ import annotations

from collections.abc import Sequence

from compose.engine import Sampling
from compose.evaluate.judges import make_judge
from compose.evaluate.prompts import Prompt, make_prompt
from compose.evaluate.risks import Risk, RiskSpec
from compose.evaluate.sources import BuiltinPrompts
from compose.laboratory.baselines import measure_baselines
from compose.training.completions import Response

PROMPTS = tuple(make_prompt(f"The nurse {verb}") for verb in ("said", "did", "left"))


class Recorder:
    """A reference that remembers what it was asked, and has one answer less for each further prompt."""

    name = "recorder"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def respond(self, prompts: Sequence[Prompt], samples: int, sampling: Sampling, seed: int) -> list[list[Response]]:
        self.asked.append((samples, seed))
        return [[Response(" that she went", None, True)] * (2 - place) for place in range(len(prompts))]


def risk(samples: int = 2, temperature: float = 1.0) -> Risk:
    spec = RiskSpec(
        name="bias",
        kind="gender_bias",
        judge="gendered_words",
        prompts=(BuiltinPrompts(name="professions"),),
        n_train=0,
        n_test=3,
        samples=samples,
        sampling=Sampling(max_new_tokens=4, temperature=temperature),
    )
    return Risk("bias", (), PROMPTS, make_judge("gendered_words"), spec)


def test_a_prompt_without_an_answer_is_not_measured_and_one_with_fewer_is() -> None:
    asked = Recorder()

    found = measure_baselines({"reference": {"bias": asked}}, [risk()], seed=3)["reference"].measurement.risks["bias"]

    assert asked.asked == [(2, 3)]
    assert found.prompt_ids == [PROMPTS[0].id, PROMPTS[1].id]
    assert found.safety == [0.0, 0.0]  # "she" is gendered in every answer


def test_fewer_samples_are_asked_for_when_the_experiment_says_so_but_not_of_a_greedy_risk() -> None:
    asked = Recorder()

    measure_baselines({"reference": {"bias": asked}}, [risk(samples=2)], seed=0, samples=1)
    measure_baselines({"reference": {"bias": asked}}, [risk(samples=1, temperature=0.0)], seed=0, samples=2)

    assert [samples for samples, _ in asked.asked] == [1, 1]
