"""Scenarios: how tools are called and how they fail, before and after a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollguard.errors import InvalidInput

Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Traffic(_Part):
    """`[traffic]`: when the tools are called.

    Attributes:
        calls_per_hour: mean number of calls of one tool; they come at random times.
        daily: how strong the daily rhythm is: 0 is none, 1 means no calls at midnight and twice as many at noon.
        baseline_days: days with calls before the deployment.
        watched_hours: hours for which the deployment is monitored.
    """

    calls_per_hour: float = Field(default=60.0, gt=0, le=100_000)
    daily: Rate = 0.0
    baseline_days: float = Field(default=2.0, ge=0, le=365)
    watched_hours: int = Field(default=24, ge=1, le=8760)


class Success(_Part):
    """`[success]`: how often a call succeeds.

    Attributes:
        before: success rate before the deployment.
        after: success rate from the change on; by default as before.
        changes_after_hours: hours from the deployment to the change.
    """

    before: Rate = 0.95
    after: Rate | None = None
    changes_after_hours: float = Field(default=0.0, ge=0, le=8760)


class Durations(_Part):
    """`[durations]`: how long a call takes, with a log-normal distribution.

    Attributes:
        median_ms: the median, in milliseconds.
        spread: standard deviation of the logarithm.
        factor_after: factor by which durations change with the deployment.
    """

    median_ms: float = Field(default=50.0, gt=0, le=86_400_000)
    spread: float = Field(default=0.6, ge=0, le=5)
    factor_after: float = Field(default=1.0, gt=0, le=10_000)


class Outage(_Part):
    """`[outage]`: a service that every version of every tool needs fails.

    Attributes:
        after_hours: when it begins, in hours after the deployment; negative is before it.
        minutes: how long it lasts.
        success: upper limit of the success rate during the outage.
    """

    after_hours: float = Field(ge=-8760, le=8760)
    minutes: float = Field(gt=0, le=525_600)
    success: Rate = 0.0


class Retries(_Part):
    """`[retries]`: callers try again after a failure.

    Attributes:
        times: most retries of one call.
        after_seconds: seconds to wait before each retry.
        fails_again: probability that a retry fails.
        request_ids: whether calls name their request, so that it counts once, with its last outcome.
    """

    times: int = Field(default=2, ge=1, le=100)
    after_seconds: float = Field(default=1.0, ge=0, le=3600)
    fails_again: Rate = 0.9
    request_ids: bool = True


class Scenario(_Part):
    """How tools are called and how they fail.

    Attributes:
        about: its purpose, in one line.
        seed: the same seed gives the same calls.
        tools: number of tools, all alike and deployed at the same time.
        changed_tools: number of tools, the first ones, whose new version differs from the old; by default all.
        errors: types of errors, with their relative frequencies.
    """

    about: str = ""
    seed: int = 1
    tools: int = Field(default=20, ge=1, le=10_000)
    changed_tools: int | None = Field(default=None, ge=1, le=10_000)
    traffic: Traffic = Traffic()
    success: Success = Success()
    durations: Durations = Durations()
    errors: Mapping[str, Positive] = Field(default_factory=lambda: {"ToolError": 1.0}, min_length=1)
    outage: Outage | None = None
    retries: Retries | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str) -> Self:
        """Return the scenario that a file's tables describe.

        Raises:
            InvalidInput: a key is unknown or a value invalid; the message names the source and the key.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                raise InvalidInput(f"{source}: {key}: unknown key; {_known(first['loc'][:-1])}") from error
            problem = f"{first['msg'][0].lower()}{first['msg'][1:]}"
            raise InvalidInput(f"{source}: {key}: {first['input']!r}: {problem}") from error

    def of_tool(self, tool: int) -> Self:
        """Return the scenario of one tool, counted from 0."""
        return self if self.changed_tools is None or tool < self.changed_tools else self.unchanged()

    def unchanged(self) -> Self:
        """Return the scenario with new versions that are as good and as fast as the old ones."""
        success = self.success.model_copy(update={"after": None})
        durations = self.durations.model_copy(update={"factor_after": 1.0})
        return self.model_copy(update={"success": success, "durations": durations})

    @property
    def worse_from(self) -> float | None:
        """Return from how many hours after the deployment on a rollback is right; None if it never is."""
        rates = self.success
        return rates.changes_after_hours if rates.after is not None and rates.after < rates.before else None


def _known(table: tuple[int | str, ...]) -> str:
    parts: dict[str, type[BaseModel]] = {
        "traffic": Traffic,
        "success": Success,
        "durations": Durations,
        "outage": Outage,
        "retries": Retries,
    }
    model = parts.get(str(table[0]), Scenario) if table else Scenario
    return f"the known ones are {', '.join(model.model_fields)}"
