"""The parts of the system that find out why tools fail, improve and rehearse them, and the loop that runs them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from rollguard.app.parts import improvers_of

if TYPE_CHECKING:  # a command that only reads needs few of the parts, and starts sooner without the others
    from rollguard.improve import Briefer, Improvers
    from rollguard.investigate import Investigator
    from rollguard.loop.autonomous_loop import AutonomousLoop
    from rollguard.loop.improvement import Improvement
    from rollguard.monitor.deployment_monitor import DeploymentMonitor
    from rollguard.registry import ToolRegistry
    from rollguard.rehearse import Rehearser
    from rollguard.settings import Settings
    from rollguard.store import ExecutionStore


class Improving:
    """What `Rollguard` has beside monitoring; each part is made when it is first used."""

    settings: Settings
    store: ExecutionStore
    if TYPE_CHECKING:

        @property
        def registry(self) -> ToolRegistry: ...

        @property
        def monitor(self) -> DeploymentMonitor: ...

    @cached_property
    def loop(self) -> AutonomousLoop:
        """What lets the monitor check at each interval, and improves tools where `[loop] improve` is true."""
        return self.loop_of(improve=self.settings.loop.improve)

    def loop_of(self, *, improve: bool, dry_run: bool = False) -> AutonomousLoop:
        """Return a loop of this system that improves tools, or only monitors."""
        from rollguard.loop.autonomous_loop import AutonomousLoop

        rules = self.settings.loop
        return AutonomousLoop(
            self.monitor,
            check_interval_seconds=rules.check_interval_seconds,
            maintenance_interval_hours=rules.maintenance_interval_hours,
            min_executions_for_analysis=rules.min_executions_for_analysis,
            improvement_threshold=rules.improvement_threshold,
            improvement=self.improvement if improve else None,
            health_interval_seconds=self.settings.watch.check_interval_seconds,
            dry_run=dry_run,
        )

    @cached_property
    def improvement(self) -> Improvement:
        """The parts of an improvement, which the loop's stages work with."""
        from rollguard.loop.improvement import Improvement

        return Improvement(
            store=self.store,
            investigator=self.investigator,
            briefer=self.briefer,
            improver=self.improvers,
            rehearser=self.rehearser,
            registry=self.registry,
            monitor=self.monitor,
            rules=self.settings.loop,
        )

    @cached_property
    def rehearser(self) -> Rehearser:
        """What runs a candidate beside the live version on recorded calls."""
        from rollguard.rehearse import Rehearser
        from rollguard.rehearse.sandboxed import in_sandbox

        settings = self.settings
        return Rehearser(
            self.store,
            self.registry,
            rules=settings.rehearsals,
            failure_rules=settings.failure_rules,
            environment=settings.granted,
            run=in_sandbox(settings.sandbox.isolation, settings.sandbox.libraries),
        )

    @cached_property
    def investigator(self) -> Investigator:
        """What finds out why tools fail; it runs those that may be run, in the sandbox."""
        from rollguard.investigate import Investigator

        return Investigator(self.store, runner=self.rehearser.runner)

    @cached_property
    def briefer(self) -> Briefer:
        """What tells improvers about a tool: `guard.briefer.brief(tool_name)`."""
        from rollguard.improve import Briefer

        return Briefer(self.store, self.rehearser, self.investigator)

    @cached_property
    def improvers(self) -> Improvers:
        """What writes repairs, asked in turn; without the settings `[improve]` there is none."""
        from rollguard.improve import Improvers

        return Improvers(improvers_of(self.settings, self.store), redaction=self.store.redaction)
