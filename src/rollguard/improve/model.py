"""`ModelImprover`: a model writes the repair, by any provider that pydantic-ai knows. It needs the extra `model`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from rollguard.errors import ImproverFailed
from rollguard.improve.brief import Brief
from rollguard.improve.brief_text import instructions, material
from rollguard.improve.in_time import InTime
from rollguard.improve.problems import problems_of
from rollguard.improve.proposal import Proposal
from rollguard.model.redaction import REDACTED

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.models import Model
    from pydantic_ai.usage import RunUsage

_NO_KEY = (
    "none"  # what an endpoint without keys is sent; without it the client would take a key that is not meant for it
)
_GRACE = 5.0  # seconds in which a run that is late may end


class Repair(BaseModel):
    """The repaired tool."""

    source: str = Field(description="The whole source of the repaired tool; empty if you have no repair to propose.")
    reason: str = Field(description="What you changed and why, in one or two sentences.")


@dataclass(frozen=True, slots=True)
class _Answer:
    repair: Repair
    model: str
    tokens: int
    cost: float | None


class ModelImprover:
    """Asks a model for the repaired source. It gets the brief and no tools.

    Args:
        model: as pydantic-ai names it, such as `openai:gpt-5`; with `base_url` the endpoint's own name; or a `Model`.
        name: names it in versions and reports.
        base_url: an endpoint that speaks OpenAI's protocol.
        key: the key; without it the provider's own variable of the environment has it.
        attempts: how often the model is asked in all, if it answers nonsense.
        max_tokens: the longest answer, in tokens.
        timeout: seconds for all of it.
    """

    def __init__(
        self,
        model: str | Model,
        *,
        name: str = "model",
        base_url: str = "",
        key: str = "",
        attempts: int = 2,
        max_tokens: int = 16_384,
        timeout: float = 900.0,
    ) -> None:
        self.name, self._model, self._base_url, self._key = name, model, base_url, key
        self._attempts, self._max_tokens, self._timeout = attempts, max_tokens, timeout
        self._in_time: InTime[_Answer] = InTime(timeout + _GRACE)

    def propose(self, brief: Brief) -> Proposal | None:
        """Return what the model proposes; None if it says that it has no repair.

        Raises:
            ImproverFailed: the extra is not installed, the endpoint does not answer, the answers are no tool, or it
                took too long. It says what was spent.
        """
        texts = instructions(brief), material(brief)
        began = time.monotonic()
        answer = self._in_time.call(lambda: asyncio.run(self._asked(brief, *texts)))
        if not answer.repair.source.strip():
            return None
        return Proposal(
            answer.repair.source.encode("utf-8", "surrogatepass"),
            self.name,
            answer.repair.reason,
            model=answer.model,
            prompt_sha256=hashlib.sha256("\n\n".join(texts).encode()).hexdigest(),
            tokens=answer.tokens,
            cost=answer.cost,
            seconds=time.monotonic() - began,
        )

    async def _asked(self, brief: Brief, instructed: str, given: str) -> _Answer:
        try:
            from pydantic_ai.usage import RunUsage, UsageLimits
        except ImportError as error:
            raise ImproverFailed(
                "a model needs more packages; install them with: pip install rollguard[model]"
            ) from error
        usage = RunUsage()
        try:
            agent = self._agent(brief, instructed)
            async with agent:
                result = await agent.run(
                    given,
                    usage=usage,
                    usage_limits=UsageLimits(request_limit=self._attempts),
                    timeout=self._timeout,
                )
        except Exception as error:  # a provider's package raises what it likes, and tokens were spent
            spent = _tokens(usage)
            raise ImproverFailed(f"{self._short(error)} ({spent:,} tokens)", tokens=spent, cost=_cost(usage)) from error
        model = result.response.model_name or str(self._model)
        return _Answer(result.output, model, _tokens(usage), _cost(usage))

    def _short(self, error: BaseException) -> str:
        """Return an error's text without the key, which an endpoint may repeat."""
        model = self._model if isinstance(self._model, str) else self._model.model_name
        first = next(iter(str(error).splitlines()), "")  # what follows is the answer, piece by piece
        said = f"{model}: {type(error).__name__}: {first}"
        return said.replace(self._key, REDACTED) if self._key else said

    def _agent(self, brief: Brief, instructed: str) -> Agent[Any, Repair]:
        from pydantic_ai import Agent, ModelRetry

        agent = Agent(
            self._chosen(),
            output_type=Repair,
            instructions=instructed,
            retries=self._attempts - 1,
            model_settings={
                "max_tokens": self._max_tokens,
                "timeout": self._timeout,
                "max_retries": self._attempts - 1,
            },
        )

        @agent.output_validator
        def is_a_tool(repair: Repair) -> Repair:
            """Have the model answer again if its source is no candidate."""
            source = brief.restored(repair.source.encode("utf-8", "surrogatepass"))
            if repair.source.strip() and (problems := list(problems_of(source, brief))):
                raise ModelRetry(brief.masked(f"That source is no candidate: {'; '.join(problems)}."))
            return repair

        return agent

    def _chosen(self) -> Model:
        from pydantic_ai.models import infer_model
        from pydantic_ai.providers import Provider, infer_provider, infer_provider_class

        def provider(name: str) -> Provider[Any]:
            # Every provider with a key takes it by this name; one that has none says so.
            return infer_provider_class(name)(api_key=self._key) if self._key else infer_provider(name)  # type: ignore[call-arg]

        if not self._base_url or not isinstance(self._model, str):
            return infer_model(self._model, provider)
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        return OpenAIChatModel(self._model, provider=OpenAIProvider(self._base_url, self._key or _NO_KEY))


def _tokens(usage: RunUsage) -> int:
    return usage.input_tokens + usage.output_tokens


def _cost(usage: RunUsage) -> float | None:
    return None if usage.cost is None else float(usage.cost)
