"""The models that TRL trains: PEFT's prompt-tuning and LoRA models, with their scoring forward run on the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftConfig, PeftModelForCausalLM, PromptTuningConfig, TaskType
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from compose.engine.layout import Tree
from compose.engine.score import tree_logits
from compose.engine.sharing import prefix_cache, why_not_shared
from compose.training.anchors import Anchor, base_logprobs, divergence, trees_of

ROWS_IN_CACHE = 8
"""Rows of logits that a CPU scores at a time: at 50,000 words they stay in its cache from one reading to the next."""


class SharedScoringModel(PeftModelForCausalLM):  # type: ignore[misc]  # peft ships no types
    """A PEFT model whose scoring forward runs on the engine: prompts once, and no position without a label.

    TRL's trainers call `forward(..., labels=..., fused_lm_head=True)` and read per-token log-probabilities; that call
    is answered here, so losses, callbacks, checkpoints and distributed wrappers stay TRL's. Every other call, and a
    base that cannot share a prefix exactly, takes PEFT's own path.

    Args:
        base: The model that PEFT wraps.
        config: What PEFT adds to it.
        behind: Gives the prefix that stands in front of every row, as it is now; None for no prefix.
        unpatched: The frozen base that anchors are compared with; None where `base` still is one.

    Attributes:
        anchors: Texts that the next scoring call compares with the base, in the same pass as its rows.
        anchor_divergence: Their mean KL(base || patched), differentiable; None when the last call had no anchors.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        config: PeftConfig,
        behind: Callable[[], Float[Tensor, "tokens dim"] | None],
        unpatched: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(base, config)
        self.anchors: Sequence[Anchor] = ()
        self.anchor_divergence: Float[Tensor, ""] | None = None
        self.behind = behind
        frozen: PreTrainedModel = self.get_base_model() if unpatched is None else unpatched
        self.unpatched: Callable[[], PreTrainedModel] = lambda: (
            frozen
        )  # itself an attribute, it would be saved as a part

    def train(self, mode: bool = True) -> SharedScoringModel:
        """Set the mode of the wrapper only: dropout in the frozen base would make shared and plain paths differ."""
        super().train(mode)
        self.base_model.eval()
        return self

    def forward(self, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        """Return per-token log-probabilities of the labels when TRL asks for them, else PEFT's output."""
        base = self.get_base_model()
        if not fused_lm_head:
            return super().forward(*args, **kwargs)
        cache = prefix_cache(base, [self.behind()])
        anchors = trees_of(self.anchors)
        if why_not_shared(base) is not None:
            scored = super().forward(*args, fused_lm_head=True, **kwargs)
            self._compare(tree_logits(base, cache, anchors)[0] if anchors else None)
            return scored
        ids, labels = kwargs["input_ids"], kwargs["labels"]
        starts, ends = _spans(labels, kwargs.get("attention_mask"))
        trees = _trees(ids, starts, ends)
        logits, layout = tree_logits(base, cache, [*trees, *anchors])
        n_anchored = sum(len(one.text_ids) for one in self.anchors)
        own, behind_anchors = logits.split([len(logits) - n_anchored, n_anchored])
        self._compare(behind_anchors if anchors else None)
        order = _row_order(labels.shape[0], len(trees))
        return _per_token(own, layout.targets[: len(own)], order, labels, list(zip(starts, ends, strict=True)))

    def _compare(self, patched: Float[Tensor, "scored vocab"] | None) -> None:
        """Keep the divergence of the anchors' logits from the base's."""
        self.anchor_divergence = None
        if patched is not None:
            self.anchor_divergence = divergence(patched, base_logprobs(self.unpatched(), self.anchors), self.anchors)


class SharedPrefixModel(SharedScoringModel):
    """PEFT's prompt-tuning model: the prefix is what is trained, and every row of a batch shares it."""

    def __init__(self, base: PreTrainedModel, prefix: Float[Tensor, "tokens dim"], frozen_tokens: int = 0) -> None:
        """Wrap `base` with `prefix`; its first `frozen_tokens` rows get no gradient."""
        config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=prefix.shape[0])
        super().__init__(base, config, self.prefix_parameter)
        weight = self.prefix_parameter()
        with torch.no_grad():
            weight.copy_(prefix)
        if frozen_tokens:
            keep = torch.ones(prefix.shape[0], 1)
            keep[:frozen_tokens] = 0
            weight.register_hook(lambda gradient: gradient * keep.to(gradient))

    def prefix_parameter(self) -> torch.nn.Parameter:
        """Return the trained embeddings, [tokens, dim]."""
        parameter: torch.nn.Parameter = self.prompt_encoder["default"].embedding.weight
        return parameter


class LoraScoringModel(SharedScoringModel):
    """A LoRA model (Hu et al. 2021, 2106.09685), scored as a patch is, with no prefix in front.

    Args:
        model: A copy of the base of its own: PEFT puts its layers into it.
        config: Rank, scale and layers.
        unpatched: The base that the copy was made of.
    """

    def __init__(self, model: PreTrainedModel, config: LoraConfig, unpatched: PreTrainedModel) -> None:
        super().__init__(model, config, lambda: None, unpatched)


def _spans(labels: Tensor, attention_mask: Tensor | None) -> tuple[list[int], list[int]]:
    """Return where each row's completion starts and ends; its first token can never be predicted."""
    width = labels.shape[1]
    labelled = labels != -100
    starts = torch.where(labelled.any(-1), labelled.int().argmax(-1), width).clamp(min=1)
    ends = torch.full_like(starts, width) if attention_mask is None else attention_mask.sum(-1).to(starts)
    return starts.tolist(), ends.tolist()


def _trees(ids: Tensor, starts: Sequence[int], ends: Sequence[int]) -> list[Tree]:
    """Return one tree a pair when the second half repeats the first half's prompts (DPO), else one a row."""
    rows = ids.tolist()
    prompts = [tuple(row[:start]) for row, start in zip(rows, starts, strict=True)]
    completions = [tuple(row[start:end]) for row, start, end in zip(rows, starts, ends, strict=True)]
    half = len(rows) // 2
    if len(rows) % 2 == 0 and prompts[:half] == prompts[half:]:
        return [Tree(prompts[i], (completions[i], completions[half + i])) for i in range(half)]
    return [Tree(prompt, (completion,)) for prompt, completion in zip(prompts, completions, strict=True)]


class _TokenScores(torch.autograd.Function):
    """Log-probabilities of the targets, with what TRL reports beside them, from one pass of exponentials.

    A softmax is most of the work after the head: log-softmax for the loss, again for the entropy, and an
    exponential in the backward pass each read the whole vocabulary once more. Here the probabilities serve all three.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Float[Tensor, "scored vocab"], targets: Int[Tensor, " scored"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log-probabilities, entropies, mean logits, and whether the target is the likeliest; [scored] each."""
        probabilities = torch.empty_like(logits)
        rows = ROWS_IN_CACHE if logits.device.type == "cpu" else max(1, len(logits))
        parts = [
            _scores(*piece)
            for piece in zip(logits.split(rows), targets.split(rows), probabilities.split(rows), strict=True)
        ]
        logprobs, entropy, mean, top1 = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.save_for_backward(probabilities, targets)
        ctx.mark_non_differentiable(entropy, mean, top1)
        return logprobs, entropy, mean, top1

    @staticmethod
    def backward(
        ctx: Any, grad: Float[Tensor, " scored"], *_: Tensor | None
    ) -> tuple[Float[Tensor, "scored vocab"], None]:
        """Return the gradient in the logits: (one-hot of the target - probabilities) * grad."""
        probabilities, targets = ctx.saved_tensors
        gradient = probabilities * -grad[:, None]
        gradient.scatter_add_(-1, targets[:, None], grad[:, None])
        return gradient, None


def _scores(
    logits: Float[Tensor, "rows vocab"], targets: Int[Tensor, " rows"], probabilities: Float[Tensor, "rows vocab"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fill `probabilities`; return what `_TokenScores` returns for these rows."""
    torch.softmax(logits, dim=-1, out=probabilities)
    likeliest = logits.argmax(-1, keepdim=True)
    # log sum exp, read off where the probability is largest: it cannot have vanished there.
    normaliser = (logits.gather(-1, likeliest) - probabilities.gather(-1, likeliest).log()).squeeze(-1)
    logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normaliser
    entropy = normaliser - torch.linalg.vecdot(probabilities, logits)
    return logprobs, entropy, logits.mean(-1), likeliest.squeeze(-1) == targets


def _per_token(
    logits: Float[Tensor, "scored vocab"],
    targets: Int[Tensor, " scored"],
    order: Sequence[int],
    labels: Tensor,
    spans: Sequence[tuple[int, int]],
) -> FusedCausalLMOutput:
    """Return TRL's fused output, [rows, S - 1] each, zero where there is no label; `order` is the scored rows'."""
    logits = logits.float()
    logprobs, entropy, mean, top1 = _TokenScores.apply(logits, targets)  # type: ignore[no-untyped-call]
    n_rows, width = labels.shape
    flat = [row * (width - 1) + column - 1 for row in order for column in range(*spans[row])]
    index = torch.tensor(flat, dtype=torch.long, device=logits.device)
    mask = (labels[:, 1:] != -100).to(logits.device)

    def spread(values: Tensor) -> Tensor:
        empty = torch.zeros(n_rows * (width - 1), dtype=values.dtype, device=values.device)
        return empty.scatter(0, index, values).view(n_rows, width - 1) * mask

    log_probs = spread(logprobs)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / mask.sum().clamp(min=1),
        log_probs=log_probs,
        entropy=spread(entropy),
        mean_logits=spread(mean),
        is_top1=spread(top1),
        label_mask=mask,
    )


def _row_order(n_rows: int, n_trees: int) -> list[int]:
    """Return the batch rows in the order in which their trees list the branches."""
    if n_trees == n_rows:
        return list(range(n_rows))
    return [row for i in range(n_trees) for row in (i, n_trees + i)]
