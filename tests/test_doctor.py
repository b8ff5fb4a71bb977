"""The doctor finds what is wrong before a rollback would, says what mends it, and changes nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from rollguard import Rollguard, Settings
from rollguard.cli import doctor
from rollguard.cli.doctor import examine
from rollguard.cli.findings import Finding, Health
from rollguard.model.event import Event, EventKind, Level
from rollguard.record import Spool, refused_beside
from rollguard.sandbox import Layer
from rollguard.settings import ActuatorSettings, NotifySettings, SandboxSettings
from rollguard.settings.sections import ImproveSettings
from rollguard.store import Checkup, Intention
from rollguard.store.database.engine import Database
from rollguard.store.schema import migrate, watchers
from tests.cli.conftest import Shell, empty, shell, shell_on  # noqa: F401 - fixtures
from tests.conftest import code
from tests.store.old_store import make_old_store

NOW = datetime.now(UTC)


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    return Settings(database=url, tools_dir=tmp_path / "tools", file=tmp_path / "rollguard.toml")


@pytest.fixture
def guard(settings: Settings) -> Iterator[Rollguard]:
    """Two versions of one tool, deployed and under watch."""
    with Rollguard(settings) as opened:
        opened.deploy("my_tool", code(1))
        opened.deploy("my_tool", code(2))
        opened.store.watchers.beat("w", host="web", pid=7, interval_seconds=300.0, checked=True, since=None)
        yield opened


def wrong(settings: Settings, now: datetime | None = None) -> list[Finding]:
    """What the doctor finds that is not in order."""
    return [finding for finding in examine(settings, now or datetime.now(UTC)) if finding.health is not Health.OK]


def only(settings: Settings) -> Finding:
    (finding,) = wrong(settings)
    assert finding.fix
    return finding


def test_everything_is_in_order(guard: Rollguard) -> None:
    """Of a sound installation nothing is said but that it is sound, for every check."""
    findings = examine(guard.settings, datetime.now(UTC))
    assert {finding.health for finding in findings} == {Health.OK}
    checks = {
        "settings",
        "folder",
        "disk",
        "database",
        "calls",
        "clock",
        "tools",
        "rollbacks",
        "watch",
        "notifications",
    }
    assert {finding.check for finding in findings} == checks | {"files", "sandbox"}


def test_files_that_are_not_what_is_live(guard: Rollguard) -> None:
    """A file that is gone, edited, in quarantine or cannot be loaded is named, with the version that should be live."""
    file = guard.registry.folder.file("my_tool")
    file.write_text(code(9))
    assert (only(guard.settings).health, "edited by hand" in only(guard.settings).says) == (Health.WARNING, True)
    file.write_text("def my_tool(:")
    assert {finding.health for finding in wrong(guard.settings)} == {Health.BROKEN, Health.WARNING}
    assert "is not served" in wrong(guard.settings)[0].says
    file.unlink()
    assert "version 2 is live, and its file is gone" in only(guard.settings).says
    file.mkdir()
    assert "is not a file" in only(guard.settings).says
    file.rmdir()
    guard.registry.restore("my_tool", 2)
    guard.monitor.roll_back("my_tool", reason="it deletes files", quarantine=True)
    guard.registry.close()  # which follows the rollback, and would put the file right
    file.write_text(code(2))
    assert "holds code that is in quarantine" in only(guard.settings).says
    assert only(guard.settings).health is Health.BROKEN


def gone(file: Path) -> None:
    file.unlink()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_dead_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere.py")


def the_version_before(file: Path) -> None:
    file.write_text(code(1))


def no_python(file: Path) -> None:
    file.write_text("def my_tool(:")


def an_edit(file: Path) -> None:
    file.write_text(code(9))


def typed(console: Shell, command: str, *, real: bool) -> str:
    """What the command prints: in a real shell, or taken apart as a shell does."""
    if not real:
        said = ""
        for part in command.split(" | "):
            program, *words = shlex.split(part)
            assert program == "rollguard"
            said = console.ok(*words, stdin=said).out
        return said
    command = command.replace("rollguard", f"{sys.executable} -m rollguard")
    done = subprocess.run(command, shell=True, cwd=console.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("damage", [gone, a_folder, a_dead_link, the_version_before, no_python, an_edit])
def test_what_mends_a_file_mends_it(shell_on: Shell, damage: Callable[[Path], None]) -> None:  # noqa: F811 - the fixture
    """The command that the doctor names, typed as it stands, puts the live version back into its file."""
    shell_on.deploy(1)
    shell_on.deploy(2)
    file = shell_on.folder / "tools" / "my_tool.py"
    damage(file)
    found = [finding for finding in shell_on.run("doctor", "--json").json if finding["health"] != "ok"]
    fix = found[0]["fix"]
    if "move away" in fix:
        file.rename(file.with_suffix(".away"))
    command = fix.rpartition("put it back with: ")[2]
    assert "Its file held something else, and holds it again" in typed(shell_on, command, real=damage is gone)
    assert file.read_text() == code(2)
    assert [f["check"] for f in shell_on.ok("doctor", "--json").json if f["health"] != "ok"] == ["watch"]


def test_an_edit_can_be_deployed_as_the_doctor_says(shell_on: Shell) -> None:  # noqa: F811 - the fixture
    """A file that was edited by hand becomes the live version, and is watched, by the other command that is named."""
    shell_on.deploy(1)
    an_edit(shell_on.folder / "tools" / "my_tool.py")
    (fix, _watch) = (f["fix"] for f in shell_on.ok("doctor", "--json").json if f["health"] == "warning")
    words = fix.partition("deploy it with: rollguard ")[2].partition(";")[0].split()
    assert shell_on.ok(*words, "--json").json["session_id"] is not None
    assert [f["check"] for f in shell_on.ok("doctor", "--json").json if f["health"] != "ok"] == ["watch"]


def test_a_folder_that_does_not_follow(guard: Rollguard) -> None:
    """With `follow = false` a file that holds another version may be meant, and is no more than a warning."""
    the_version_before(guard.registry.folder.file("my_tool"))
    assert (only(guard.settings).health, "follows within" in (only(guard.settings).fix or "")) == (Health.BROKEN, True)
    finding = only(replace(guard.settings, follow=False))
    assert (finding.health, "may be intended" in (finding.fix or "")) == (Health.WARNING, True)


def test_rollbacks_that_wait(guard: Rollguard) -> None:
    """A claim that nobody carries out, an attempt that failed, and what is held back are told apart."""
    session = guard.monitor.get_active_sessions()[0].session_id
    intention = Intention("my_tool", session, 2, None, "50 points", "threshold", "rollguard")
    claimed = guard.store.rollbacks.claim(intention, event_if_held=lambda _r: {}, now=NOW)
    assert "rollback 1 is claimed and not finished" in only(guard.settings).says
    guard.store.rollbacks.fail(claimed.rollback_id, "the disk is full", event=None, now=NOW)
    assert "rollback 1 is failed after 1 attempts: the disk is full" in only(guard.settings).says
    assert only(guard.settings).health is Health.BROKEN
    guard.monitor.cancel_monitoring(session)
    assert wrong(guard.settings) == []


def test_executions_that_wait(guard: Rollguard) -> None:
    """Executions in the spool, and those that the database refused, are pointed out."""
    spool = guard.registry.recorder.spool.path
    row = guard.store.executions.row(tool_name="t", success=True)
    Spool(spool).append(row)
    assert "wait in" in only(guard.settings).says
    spool.unlink()
    Spool(refused_beside(spool)).append(row)
    assert "were moved to" in only(guard.settings).says


def test_people_who_could_not_be_told(guard: Rollguard) -> None:
    """Events that a channel has refused are counted, with what went wrong."""
    event = Event(EventKind.SLOWDOWN, Level.WARNING, "my_tool", None, "t", (), NOW.isoformat())
    guard.store.outbox.add(event.to_dict(), NOW)
    (pending,) = guard.store.outbox.take_due(NOW)
    guard.store.outbox.retry(pending.notification_id, [], "webhook: 503", NOW + timedelta(hours=1))
    assert "1 notification could not be delivered to every channel: webhook: 503" in only(guard.settings).says


def test_nobody_watches_and_clocks_differ(guard: Rollguard) -> None:
    """Deployments that nobody checks, and a clock that is far off, are broken."""
    found = {finding.check: finding for finding in wrong(guard.settings, datetime.now(UTC) + timedelta(hours=1))}
    assert set(found) == {"watch", "clock"}
    assert found["watch"].fix == "start: rollguard watch"
    assert "behind ours" in found["clock"].says
    assert {finding.health for finding in found.values()} == {Health.BROKEN}


def test_watchers_that_are_gone_or_behind(guard: Rollguard) -> None:
    """Watchers are named, with since when and how far behind; without any of them it is said that there is none."""

    def aged(**columns: timedelta) -> None:
        (watcher,) = guard.store.watchers.all()
        with guard.store.database.write() as connection:
            connection.execute(sa.update(watchers).values({n: watcher.as_of - age for n, age in columns.items()}))

    said = next(finding for finding in examine(guard.settings, datetime.now(UTC)) if finding.check == "watch")
    assert "the watcher on web, process 7, runs for " in said.says
    assert " s, its latest cycle ended " in said.says
    aged(checked_at=timedelta(minutes=25))
    assert only(guard.settings).says == "the watcher on web, process 7, is behind: its next cycle is 20 min late"
    aged(seen_at=timedelta(minutes=2))
    silent, nobody = wrong(guard.settings)
    assert silent.says == "the watcher on web, process 7, is silent for 2 min"
    assert nobody.says == "1 deployment is monitored, and no watcher is running"


def test_a_database_that_is_slow_to_answer(guard: Rollguard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a database takes to answer is not taken for a clock that is off."""
    clock = Checkup.clock

    class Slow:
        passed = 0.0

        def monotonic(self) -> float:
            return self.passed

    slow = Slow()

    def answer(checkup: Checkup) -> datetime:
        slow.passed += 3_600.0
        return clock(checkup) + timedelta(hours=0.5)

    monkeypatch.setattr(Checkup, "clock", answer)
    monkeypatch.setattr("rollguard.cli.doctor.time", slow)
    assert wrong(guard.settings) == []


def test_a_folder_that_is_not_there(settings: Settings) -> None:
    """A missing folder, and a file in its place, are named; nothing is made by looking."""
    Rollguard(settings).close()
    shutil.rmtree(settings.tools_dir)
    assert "does not exist" in only(settings).says
    assert not settings.tools_dir.exists()
    settings.tools_dir.write_text("")
    assert "is not a folder" in only(settings).says


@pytest.mark.parametrize("revision", ["0003", "0013", "9999"])
def test_a_schema_of_another_time(settings: Settings, revision: str) -> None:
    """A revision that cannot be opened is broken, and so is one that the schema contradicts; no check changes it."""
    settings.tools_dir.mkdir()
    database = Database(settings.database)
    with database.write() as connection:
        connection.execute(sa.text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{revision}'"))
    finding = only(settings)
    assert f"has schema {revision}" in finding.says
    assert finding.health is Health.BROKEN
    assert migrate.current(database) == revision
    database.close()


def test_an_older_schema(new_url: Callable[[], str], tmp_path: Path) -> None:
    """A store that the next command migrates is a warning, and is not migrated by a check."""
    url = new_url()
    make_old_store(url)
    for file in tmp_path.glob("*.db"):
        file.chmod(0o600)  # as who may read it is another finding
    settings = Settings(database=url, tools_dir=tmp_path / "tools", file=tmp_path / "rollguard.toml")
    settings.tools_dir.mkdir()
    assert ("has schema 0012" in only(settings).says, only(settings).health) == (True, Health.WARNING)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("ALTER TABLE tool_actuations RENAME COLUMN last_error TO mine", "tool_actuations.last_error"),
        ("DROP VIEW tool_health_history", "tool_health_history"),
        ("DROP TRIGGER", "tool_executions_"),
    ],
)
def test_a_schema_whose_revision_lies(settings: Settings, change: str, says: str) -> None:
    """A database that lacks what its revision promises is broken, and what is missing is named."""
    settings.tools_dir.mkdir()
    database = Database(settings.database)
    with database.write() as connection:
        if change == "DROP TRIGGER":
            change += {
                "sqlite": " tool_executions_checked",
                "postgresql": " tool_executions_once ON tool_executions",
            }[database.dialect]
        connection.exec_driver_sql(change)
    database.close()
    assert f"lacks {says}" in only(settings).says
    assert only(settings).health is Health.BROKEN


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """A database that does not answer is reported; a check does not create a file that does not exist."""
    (tmp_path / "tools").mkdir()
    away = Settings(database="postgresql://u@127.0.0.1:1/d", tools_dir=tmp_path / "tools", file=tmp_path / "x.toml")
    assert (only(away).check, only(away).health) == ("database", Health.BROKEN)
    missing = Settings(database=f"sqlite:///{tmp_path}/no.db", tools_dir=tmp_path / "tools", file=tmp_path / "x.toml")
    assert (only(missing).check, only(missing).health) == ("database", Health.WARNING)
    assert not (tmp_path / "no.db").exists()
    (tmp_path / "no.db").touch(0o600)
    (tmp_path / "no.db").write_text("my notes " * 1000)
    assert "is not a SQLite database" in only(missing).says


def test_a_command_that_is_not_there(settings: Settings) -> None:
    """An actuator whose program cannot be found is broken, before it is needed."""
    Rollguard(settings).close()
    for program, found in ((sys.executable, 0), ("no-such-program", 1)):
        actuators = {"my_tool": ActuatorSettings(kind="command", command=(program,))}
        changed = Settings(settings.database, settings.tools_dir, actuators=actuators, file=settings.file)
        assert len(wrong(changed)) == found


@pytest.mark.parametrize("path", ["no_such_module:Pager", "json:Pager", "json:dumps"])
def test_a_channel_that_is_not_there(settings: Settings, guard: Rollguard, path: str) -> None:
    """A channel of one's own that cannot be made is found before a command that notifies fails by it."""
    finding = only(replace(settings, notify=NotifySettings(notifiers=(path,))))
    assert (finding.check, finding.health) == ("settings", Health.BROKEN)
    assert finding.says.startswith("notify.notifiers")


def test_the_command(shell: object) -> None:  # noqa: F811 - the fixture
    """`rollguard doctor` ends with 1 when something is broken, 0 otherwise, and `--json` has every finding."""
    shell.ok("call", "calculate", "expression=1+1")
    assert shell.ok("doctor").out.startswith("ok       settings: rollguard.toml is read")
    (shell.folder / "tools/calculate.py").unlink()
    ran = shell.run("doctor")
    assert ran.exit_code == 1
    assert ran.out.startswith(
        "broken   tools: calculate: version 1 is live, and its file is gone\n         to fix it: "
    )
    ran = shell.run("doctor", "--json")
    assert (ran.exit_code, ran.json[0]["check"], ran.json[0]["health"]) == (1, "tools", "broken")
    shell.write("rollguard.toml", "colour = 1\n")
    ran = shell.run("doctor", "--json")
    assert (ran.exit_code, ran.json[0]["check"]) == (1, "settings")


def test_a_layer_of_the_sandbox_that_is_missing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer is named; a missing one is a problem only where the settings say that it is needed."""
    found = (Layer("files", holds=False, why="got a file"), Layer("user", holds=True, why="an ordinary user"))
    monkeypatch.setattr(doctor, "layers", lambda: found)

    def said(**given: str) -> list[tuple[Health, str]]:
        examined = examine(replace(settings, sandbox=SandboxSettings(**given)), datetime.now(UTC))
        return [(finding.health, finding.says) for finding in examined if finding.check == "sandbox"]

    missing = "files: got a file; "
    holds = (Health.OK, "user: an ordinary user")
    refused = f"{missing}so no code that nobody has read is run"
    assert said() == [(Health.OK, f"{refused} here"), holds]
    assert said(isolation="required") == [(Health.WARNING, refused), holds]
    assert said(isolation="best_effort") == [(Health.OK, f'{missing}isolation = "best_effort" permits that'), holds]


def test_improvers_that_lack_something(guard: Rollguard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there, packages and variables that are missing are named; the others are in order."""
    given = {
        "improvers": [
            {"kind": "retry"},
            {"kind": "command", "command": ["sh", "improve.sh"]},
            {"kind": "command", "name": "gone", "command": ["./gone.sh"], "environment": ["PATH", "NOT_SET"]},
            {"kind": "model", "model": "openai:gpt-5", "key_env": "NO_KEY"},
        ]
    }
    improve = ImproveSettings.model_validate(given)
    settings = replace(guard.settings, improve=improve, improver_variables={"PATH": os.environ["PATH"]})
    found = wrong(settings)
    assert [(one.check, one.health) for one in found] == [
        ("improvers", Health.BROKEN),
        ("improvers", Health.WARNING),
        ("improvers", Health.WARNING),
    ]
    assert [word in one.says for one, word in zip(found, ("./gone.sh", "NOT_SET", "NO_KEY"), strict=True)] == [True] * 3
    monkeypatch.setattr("rollguard.cli.doctor_improvers.find_spec", lambda _name: None)
    assert any(one.fix == "pip install rollguard[model]" for one in wrong(settings))
