"""Check settings, folder, disk and database, and say how to fix what is wrong. Changes nothing."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from rollguard.app.parts import notifiers_of, redact_of
from rollguard.cli import watching
from rollguard.cli.doctor_improvers import improvers
from rollguard.cli.doctor_tools import tools
from rollguard.cli.findings import Finding, Health, broken, few, ok, warning
from rollguard.errors import RollguardError
from rollguard.model.formatting import counted
from rollguard.model.rollback import Rollback
from rollguard.model.watcher import WatcherState
from rollguard.record import Spool, refused_beside
from rollguard.sandbox import Isolation, layers
from rollguard.settings import Settings
from rollguard.store import Checkup, ExecutionStore
from rollguard.store.schema.migrate import VERSION_TABLE

_CLOCK_OFF = timedelta(seconds=5)
_LONG_CALL, _FEW_CALLS = timedelta(minutes=1), 3
_CLOCK_WRONG = timedelta(seconds=60)
_DISK_LOW = 100 * 1024 * 1024
_DISK_FULL = 5 * 1024 * 1024


def examine(settings: Settings, now: datetime) -> list[Finding]:
    """Check everything that the settings name, and return the findings, the worst first."""
    began = time.monotonic()
    findings = [*_settings(settings), *_folder(settings.tools_dir), *_spool(settings.tools_dir)]
    findings += [*_sandbox(settings), *improvers(settings)]
    try:
        findings += _files(settings)
        findings += _database(settings, now, lambda: now + timedelta(seconds=time.monotonic() - began))
    except RollguardError as error:
        findings.append(
            broken("database", str(error), "check `database` in the settings, and that it is there and may be used")
        )
    order = [Health.BROKEN, Health.WARNING, Health.OK]
    return sorted(findings, key=lambda finding: order.index(finding.health))


# --- settings, folder, disk ------------------------------------------------------------------------------------------


def _settings(settings: Settings) -> Iterator[Finding]:
    if settings.file is None:
        yield ok("settings", "they come from the environment alone; there is no rollguard.toml")
    else:
        yield ok("settings", f"{settings.file.name} is read, from {settings.file.parent}")
    for name, actuator in settings.actuators.items():
        if actuator.kind == "command" and shutil.which(actuator.command[0]) is None:
            says = f"{name} is put in its place by {actuator.command[0]}, and there is no such program"
            yield broken("settings", says, f"correct command under [tools.{name}.actuator], or install the program")
    try:
        notifiers_of(settings)
        redact_of(settings)
    except RollguardError as error:
        yield broken("settings", str(error), "correct it, or what it names: no command that notifies or records begins")


def _folder(path: Path) -> Iterator[Finding]:
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        says = f"the folder of tools, {path}, {problem}"
        yield broken("folder", says, "create it, or correct tools_dir in rollguard.toml")
        return
    try:
        with tempfile.TemporaryFile(dir=path):
            yield ok("folder", f"{path} can be written")
    except OSError as error:
        says = f"{path} cannot be written ({error.strerror}), so nothing in it can be rolled back"
        yield broken("folder", says, "let the user that runs Rollguard write to it, or free space on its disk")
    yield from _disk(path)


def _disk(path: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(path).free
    says = f"{free // 1024**2:,} MiB are free on the disk of {path}"
    fix = "free some space: a rollback writes a file, and so does every execution that cannot be stored"
    if free < _DISK_LOW:
        yield Finding("disk", Health.BROKEN if free < _DISK_FULL else Health.WARNING, says, fix)
    else:
        yield ok("disk", says)


def _spool(folder: Path) -> Iterator[Finding]:
    spool = folder / ".rollguard" / "spool.jsonl"
    if waiting := Spool(spool).size:
        says = f"executions wait in {spool} ({waiting:,} bytes) until the database is available"
        yield warning("spool", says, "rollguard watch stores them, and so does the next call that reaches the database")
    if Spool(refused_beside(spool)).pending:
        says = f"executions that the database refused were moved to {refused_beside(spool)}"
        yield warning("spool", says, "find out why (each line is one execution), then move the file away")


def _files(settings: Settings) -> Iterator[Finding]:
    """Yield which files of Rollguard's own others may read, and which files of tools others may change."""
    state = settings.tools_dir / ".rollguard"
    own = [*_database_files(settings), state, *(state.glob("*") if state.is_dir() else ())]
    own += [settings.file] if settings.file is not None and _holds_secrets(settings) else []
    open_to_others = _with(own, settings.file_access.refused)
    if open_to_others:
        says = f"others than their owner may read or write {few(open_to_others)}"
        fix = f"chmod go= {shlex.join(map(str, open_to_others))}; or allow it with file_access in rollguard.toml"
        yield warning("files", says, fix)
    packages = [init.parent for init in settings.tools_dir.glob("*/__init__.py")]
    tools = [file for file in settings.tools_dir.glob("*.py") if file.is_file()]
    tools += [file for package in packages for file in package.rglob("*.py") if file.is_file()]
    changed_by_others = _with(tools, settings.file_access.refused & 0o022)
    if changed_by_others:
        says = f"others than their owner may change the code of {few(changed_by_others)}"
        yield warning("files", says, f"chmod go-w {shlex.join(map(str, changed_by_others))}")
    if not open_to_others and not changed_by_others:
        read = f"of {counted(len(tools), 'file')} of tools, {len(_with(tools, 0o044))} may be read by others"
        who = {"owner": "their owner alone", "group": "their group", "umask": "those whom the umask leaves"}
        yield ok("files", f"Rollguard's own files may be read by {who[settings.file_access]}; {read}")


def _sandbox(settings: Settings) -> Iterator[Finding]:
    """Yield which layers hold. One that is missing is a problem only where the settings say that it is needed."""
    wanted = settings.sandbox
    try:
        found = layers()
    except RollguardError as error:
        yield warning("sandbox", str(error), "free processes or memory, then try again")
        return
    for layer in found:
        says = f"{layer.name}: {layer.why}"
        if layer.holds:
            yield ok("sandbox", says)
        elif wanted.isolation is not Isolation.REQUIRED:
            yield ok("sandbox", f'{says}; isolation = "{wanted.isolation}" permits that')
        elif "isolation" in wanted.model_fields_set:
            fix = 'run it where this layer is available, or set isolation = "best_effort" under [sandbox]'
            yield warning("sandbox", f"{says}; so no code that nobody has read is run", fix)
        else:
            yield ok("sandbox", f"{says}; so no code that nobody has read is run here")


def _database_files(settings: Settings) -> list[Path]:
    try:
        path = Checkup(settings.database, schema=settings.schema).database.path
    except RollguardError:  # reported by the check of the database
        return []
    return [] if path is None else [path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm")]


def _holds_secrets(settings: Settings) -> bool:
    actuators = any(actuator.url or actuator.secret.get_secret_value() for actuator in settings.actuators.values())
    return "@" in settings.database or bool(settings.notify.webhook_urls) or actuators


def _with(files: Iterable[Path], bits: int) -> list[Path]:
    found = []
    for file in files:
        with contextlib.suppress(OSError):  # it is not there, or was removed at this moment
            if file.stat().st_mode & bits:
                found.append(file)
    return sorted(found)


# --- the database ----------------------------------------------------------------------------------------------------


def _database(settings: Settings, now: datetime, clock: Callable[[], datetime]) -> list[Finding]:
    patience = settings.record.busy_timeout_seconds
    checkup = Checkup(settings.database, busy_timeout=patience, schema=settings.schema)
    try:
        if checkup.missing:
            says = f"there is no {checkup.database.path} yet"
            return [warning("database", says, "any other command creates it; or correct database in rollguard.toml")]
        findings = list(_schema(checkup))
        if any(finding.health is not Health.OK for finding in findings):
            return findings
        findings += _clock(checkup, clock)
        checkup.try_writing()
        if checkup.database.path is not None:
            findings += _disk(checkup.database.path.absolute().parent)
    finally:
        checkup.close()
    with ExecutionStore(settings.database, busy_timeout=patience, schema=settings.schema) as store:
        findings += tools(settings, store)
        findings += _rollbacks(store)
        findings += _watching(settings, store, now)
        findings += _running(store, now)
        findings += _notifications(store)
    return findings


def _schema(checkup: Checkup) -> Iterator[Finding]:
    present, known = checkup.schema()
    missing = checkup.missing_parts()
    if present == known and missing:
        says = f"{checkup.database} says that it has schema {present}, and lacks {', '.join(missing[:5])}"
        fix = "another program changed it, or its revision: restore a backup, or make what is missing again"
        yield broken("database", says + (" and more" if len(missing) > 5 else ""), fix)
    elif present is not None and present != known and not missing:
        says = f"{checkup.database} says that it has schema {present}, and has all of {known}"
        yield broken("database", says, f"UPDATE {VERSION_TABLE} SET version_num = '{known}', or restore a backup")
    elif present == known:
        yield ok("database", f"{checkup.database} answers, can be written, and has schema {present}")
    else:
        says = f"{checkup.database} has schema {present or 'none'}, and this Rollguard's is {known}"
        yield warning("database", says, "the next command brings it up to date")


def _clock(checkup: Checkup, ours: Callable[[], datetime]) -> Iterator[Finding]:
    before, theirs, after = ours(), checkup.clock(), ours()
    off = theirs - min(max(before, theirs), after)  # the time that the answer took is no difference of the clocks
    ahead = "ahead of" if off > timedelta() else "behind"
    says = f"the database's clock is {abs(off).total_seconds():.1f} s {ahead} ours"
    fix = "synchronise both machines by NTP: calls that name no version are counted by their time"
    if abs(off) < _CLOCK_OFF:
        yield ok("clock", says)
    else:
        yield Finding("clock", Health.BROKEN if abs(off) >= _CLOCK_WRONG else Health.WARNING, says, fix)


# --- what the store knows --------------------------------------------------------------------------------------------


def _rollbacks(store: ExecutionStore) -> Iterator[Finding]:
    unfinished = store.rollbacks.unfinished()
    for rollback in unfinished:
        yield _rollback(rollback)
    if not unfinished:
        yield ok("rollbacks", "none is under way or held back")


def _rollback(rollback: Rollback) -> Finding:
    what = f"{rollback.tool_name}: rollback {rollback.rollback_id} is {rollback.state}"
    if rollback.state in ("observed", "capped"):
        return warning(
            "rollbacks", f"{what}: {rollback.error}", "check whether that is right; you can still roll back by hand"
        )
    if rollback.error is None:
        watch = "rollguard watch carries it out at the start of its next cycle; is it running?"
        return warning("rollbacks", f"{what} and not finished", watch)
    tried = f"{what} after {rollback.attempts} attempts: {rollback.error}"
    return broken("rollbacks", tried, "fix the cause that it names; rollguard watch tries again")


def _watching(settings: Settings, store: ExecutionStore, now: datetime) -> Iterator[Finding]:
    interval = timedelta(seconds=settings.watch.check_interval_seconds)
    late = now - 2 * interval
    rows, who = store.reports.active_monitoring(), store.watchers.watching()
    for watcher in who.watchers:
        if watcher.state is not WatcherState.WATCHING:
            yield warning("watch", watching.says(watcher), "see whether it runs, and its log")
    nobody = watching.warning(who, interval)
    missed = [row["tool_name"] for row in rows if (row["latest_check_at"] or row["monitoring_started_at"]) < late]
    if missed:
        few = ", ".join(missed[:3]) + (", …" if len(missed) > 3 else "")
        says = f"{len(missed)} of {len(rows)} deployments were not checked for two intervals: {few}"
        yield broken("watch", says, "start: rollguard watch")
    elif nobody is not None:
        says = f"{_deployments(len(rows))} monitored, and no watcher is running"
        yield warning("watch", says, "start: rollguard watch; or run rollguard watch --once as a cron job")
    else:
        by = [watching.says(watcher) for watcher in who.watchers if watcher.state is WatcherState.WATCHING]
        yield ok("watch", "; ".join([f"{_deployments(len(rows))} monitored, and no check is overdue", *by]))


def _deployments(number: int) -> str:
    return f"{counted(number, 'deployment')} {'is' if number == 1 else 'are'}"


def _running(store: ExecutionStore, now: datetime) -> Iterator[Finding]:
    long = [call for call in store.in_flight.all() if now - call.began_at >= _LONG_CALL]
    for call in long[:_FEW_CALLS]:
        version = "" if call.version_number is None else f" version {call.version_number}"
        minutes = (now - call.began_at).total_seconds() / 60
        says = f"{call.tool_name}{version}: a call runs for {minutes:.0f} min in process {call.pid} on {call.host}"
        fix = "see what it waits for; with timeout_seconds in its section of rollguard.toml it counts as failed"
        yield warning("calls", says, fix)
    if len(long) > _FEW_CALLS:
        more = len(long) - _FEW_CALLS
        yield warning("calls", f"{more} more call{' runs' if more == 1 else 's run'} for long", "see: rollguard status")
    if not long:
        yield ok("calls", "none runs for more than a minute")


def _notifications(store: ExecutionStore) -> Iterator[Finding]:
    failing, error = store.outbox.failing()
    if failing:
        says = f"{counted(failing, 'notification')} could not be delivered to every channel: {error}"
        yield broken("notifications", says, "fix [notify] in rollguard.toml, or its receiver; they are sent again")
    else:
        yield ok("notifications", "every notification that was due was delivered")
