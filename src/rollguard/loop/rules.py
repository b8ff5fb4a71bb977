"""The rules of the autonomous loop: `[loop]` of `rollguard.toml`, and its presets."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rollguard.errors import InvalidSetting

PRESETS: dict[str, dict[str, float]] = {
    "development": {
        "check_interval_seconds": 60.0,
        "maintenance_interval_hours": 1.0,
        "min_executions_for_analysis": 3,
        "improvement_threshold": 0.8,
    },
    "production": {
        "check_interval_seconds": 1_800.0,
        "maintenance_interval_hours": 24.0,
        "min_executions_for_analysis": 50,
        "improvement_threshold": 0.7,
    },
    "aggressive": {
        "check_interval_seconds": 300.0,
        "maintenance_interval_hours": 6.0,
        "min_executions_for_analysis": 5,
        "improvement_threshold": 0.75,
    },
}
"""What each preset sets. Health, verification and notification keep their 300 seconds in every one."""

HEALTH_SECONDS = 300.0


class ApprovalRules(BaseModel):
    """`[loop.approval]`: who approves a proposal. Without a setting, a person approves each.

    Attributes:
        approvals: how many people have to approve.
        approvers: who may; empty is everybody.
        hours: how long a proposal can be approved and deployed.
        automatic: the strategies of rehearsals that passed whose proposals are approved without a person.
        max_automatic_per_day: how many in 24 hours.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    approvals: int = Field(default=1, ge=1, le=20)
    approvers: tuple[str, ...] = ()
    hours: float = Field(default=72.0, gt=0, le=8_760)
    automatic: tuple[Literal["shadow", "replay"], ...] = ()
    max_automatic_per_day: int = Field(default=3, ge=0, le=1_000)

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.approvers and len(set(self.approvers)) < self.approvals:
            raise ValueError(f"{self.approvals} approvals cannot come from {len(set(self.approvers))} approvers")
        return self


class LoopRules(BaseModel):
    """`[loop]`: what the loop improves, how often, and what it may cost.

    Attributes:
        improve: whether it improves tools; False only monitors.
        preset: development, production or aggressive: the defaults of the next four.
        check_interval_seconds: time between the starts of two cycles of improvement.
        maintenance_interval_hours: time between two runs of maintenance.
        min_executions_for_analysis: a tool with fewer recent calls is left alone.
        improvement_threshold: a tool is weak if its success rate is certainly below this.
        tools: only these tools are improved; empty is every tool.
        max_tries: proposals in one attempt.
        max_attempts_per_tool: attempts for one tool in 24 hours.
        max_attempts_per_cause: attempts for one cause that failed, in 30 days.
        max_attempts_per_day: attempts in 24 hours.
        max_tokens_per_attempt, max_tokens_per_day: tokens after which no proposal is asked for.
        back_off_hours: how long a cause is left alone after an attempt that failed; twice as long after each.
        approval: who approves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    improve: bool = False
    preset: Literal["development", "production", "aggressive"] | None = None
    check_interval_seconds: float = Field(default=300.0, ge=1, le=86_400)
    maintenance_interval_hours: float = Field(default=24.0, gt=0, le=8_760)
    min_executions_for_analysis: int = Field(default=10, ge=1, le=1_000_000)
    improvement_threshold: float = Field(default=0.7, gt=0, le=1)
    tools: tuple[str, ...] = ()
    max_tries: int = Field(default=3, ge=1, le=20)
    max_attempts_per_tool: int = Field(default=3, ge=1, le=100)
    max_attempts_per_cause: int = Field(default=3, ge=1, le=100)
    max_attempts_per_day: int = Field(default=20, ge=1, le=10_000)
    max_tokens_per_attempt: int = Field(default=200_000, ge=1)
    max_tokens_per_day: int = Field(default=1_000_000, ge=1)
    back_off_hours: float = Field(default=6.0, gt=0, le=168)
    approval: ApprovalRules = Field(default_factory=ApprovalRules)

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, dict) else None
        return {**PRESETS.get(preset, {}), **values} if isinstance(preset, str) else values


def checked_rules(**values: Any) -> LoopRules:
    """Return rules from arguments.

    Raises:
        InvalidSetting: one is invalid.
    """
    try:
        return LoopRules(**values)
    except ValidationError as error:
        raise InvalidSetting.of(error.errors()[0], LoopRules.model_fields) from error
