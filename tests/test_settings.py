"""Settings: what is not understood is refused by name, with what is allowed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rollguard import Rollguard, Settings
from rollguard.errors import InvalidSetting
from rollguard.judge import Rules
from tests.conftest import code
from tests.improve.helpers import a_brief


def _load(folder: Path, toml: str = "", **environ: str) -> Settings:
    file = folder / "rollguard.toml"
    file.write_text(toml)
    return Settings.load(file, environ)


def test_defaults_are_the_contracts(tmp_path: Path) -> None:
    """An empty file means the contract's defaults, beside the file."""
    settings = _load(tmp_path)
    assert settings.monitor == Rules(24, 7, 0.15, 10)
    assert settings.watch.check_interval_seconds == 300
    assert settings.database == f"sqlite:///{tmp_path}/rollguard.db"
    assert settings.tools_dir == tmp_path / "tools"


def test_per_tool_tables(tmp_path: Path) -> None:
    """A tool's own table changes what it names, for that tool alone."""
    (tmp_path / "rollguard.toml").write_text(
        "[monitor]\nmin_executions = 20\n[tools.payment]\nregression_threshold = 0.10\n"
        "[tools.payment.failure]\nkeys = ['error']\nvalues = { ok = [false] }\n"
    )
    with Rollguard.from_settings(tmp_path / "rollguard.toml", {}) as guard:
        assert guard.monitor.rules_for("payment") == Rules(regression_threshold=0.10, min_executions=20)
        assert guard.monitor.rules_for("other") == Rules(min_executions=20)
        guard.deploy("payment", "def payment(r: dict) -> dict:\n    return r\n")
        for returned in ({"error": "no"}, {"ok": False}, {"ok": True, "error": None}):
            assert guard.registry.call("payment", r=returned) == returned
        session = guard.monitor.get_active_sessions()[0]
        assert session.rules.regression_threshold == 0.10
        assert guard.store.executions.windows(session, session.window_end)[1].failures == 2


def test_the_environment_comes_last(tmp_path: Path) -> None:
    """Variables override the file: tables and keys are joined by two underscores."""
    settings = _load(
        tmp_path,
        "database = 'sqlite:///a.db'\n[monitor]\nmin_executions = 20\nregression_threshold = 0.2\n",
        ROLLGUARD_DATABASE="postgresql://db/rollguard",
        ROLLGUARD_MONITOR__MIN_EXECUTIONS="30",
        ROLLGUARD_NOTIFY__WEBHOOK_URLS="['https://hooks.example/a']",
        OTHER="ignored",
    )
    assert settings.database == "postgresql://db/rollguard"
    assert settings.monitor == Rules(min_executions=30, regression_threshold=0.2)
    assert settings.notify.webhook_urls == ("https://hooks.example/a",)


@pytest.mark.parametrize(
    ("toml", "environ", "follows"),
    [
        ("", {}, True),
        ("follow = false\n", {}, False),
        ("follow = false\n", {"ROLLGUARD_FOLLOW": "true"}, True),
        ("", {"ROLLGUARD_FOLLOW": "false"}, False),
    ],
)
def test_a_folder_can_be_told_not_to_follow(tmp_path: Path, toml: str, environ: dict[str, str], follows: bool) -> None:
    """With `follow = false` a call begins no thread that brings the folder to what goes live on other machines."""
    assert _load(tmp_path, toml, **environ).follow is follows
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "t.py").write_text(code(1, "t"))
    before = set(threading.enumerate())
    with Rollguard.from_settings(tmp_path / "rollguard.toml", environ) as guard:
        assert guard.registry.call("t", x=1) == 2
        begun = {thread.name for thread in set(threading.enumerate()) - before}
    assert ("rollguard-following" in begun) is follows


def test_a_follow_of_the_environment_is_checked(tmp_path: Path) -> None:
    """`ROLLGUARD_FOLLOW` that is neither true nor false is refused as one of the file is."""
    with pytest.raises(InvalidSetting, match="follow: 'perhaps' is neither true nor false"):
        _load(tmp_path, ROLLGUARD_FOLLOW="perhaps")


def test_the_file_is_found_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path the nearest rollguard.toml of the working folder and those above it is read."""
    (tmp_path / "rollguard.toml").write_text("[monitor]\nmin_executions = 33\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Settings.load(environ={}).monitor.min_executions == 33
    other = tmp_path / "other.toml"
    other.write_text("")
    assert Settings.load(environ={"ROLLGUARD_CONFIG": str(other)}).monitor == Rules()


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("colour = 'red'", r"colour: unknown setting; the known ones are database"),
        ("mode = 'observe'", r"mode: unknown setting; it belongs under \[monitor\]"),
        ("max_body_bytes = 5", r"max_body_bytes: unknown setting; it belongs under \[service\]"),
        ("tool_dir = 'tools'", r"tool_dir: unknown setting; did you mean tools_dir\? the known ones are database"),
        ("[monitor]\nmin_execution = 3", r"monitor\.min_execution: unknown setting; did you mean min_executions\?"),
        ("database = 5", r"database: .* is not"),
        ("monitor = 5", r"monitor: 5 is not a table"),
        ("follow = 'no'", r"follow: 'no' is neither true nor false"),
        ("follow = 0", r"follow: 0 is neither true nor false"),
        ("[monitor]\nthreshold = 0.1", r"monitor\.threshold: unknown setting.*regression_threshold"),
        ("[monitor]\nregression_threshold = 15", r"monitor\.regression_threshold: 15 is not .*at most 1"),
        ("[monitor]\nmin_executions = 0", r"monitor\.min_executions: 0 .*from 1 to 1000000"),
        ("[monitor]\nmonitoring_window_hours = '24'", r"monitor\.monitoring_window_hours: '24'"),
        ("[tools.pay]\nregression_threshold = 2", r"tools\.pay\.regression_threshold: 2"),
        ("[tools]\npay = 1", r"pay: 1 is not a table"),
        ("[tools.pay.failure]\nkey = ['e']", r"tools\.pay\.failure\.key: unknown setting"),
        ("[tools.pay.failure]\nkeys = 'error'", r"tools\.pay\.failure\.keys: 'error' is not a list"),
        ("[tools.pay.failure]\nvalues = { ok = false }", r"tools\.pay\.failure\.values"),
        ("[watch]\ncheck_interval_seconds = 0", r"watch\.check_interval_seconds: 0: .*greater than or equal to 1"),
        ("[watch]\nevery = 5", r"watch\.every: unknown setting; the known ones are check_interval_seconds"),
        ("[record]\npayload_limit = 1", r"record\.payload_limit: 1: .*64"),
        ("[record]\nretention_days = 3651", r"record\.retention_days: 3651: .*less than or equal to 3650"),
        ("[record]\nretention_days = -1", r"record\.retention_days: -1: .*greater than or equal to 0"),
        ("[notify]\nwebhook_urls = ['ftp://x']", r"notify\.webhook_urls: entry 1 does not begin"),
        ("this is not toml", r"rollguard\.toml: is not valid TOML"),
    ],
)
def test_bad_files_are_refused_by_key(tmp_path: Path, toml: str, complaint: str) -> None:
    """An unknown key or an impossible value is refused with its name and what is allowed."""
    with pytest.raises(InvalidSetting, match=complaint):
        _load(tmp_path, toml)


@pytest.mark.parametrize("variable", ["ROLLGUARD_DATABSE", "ROLLGUARD_TOOLS__PAY", "ROLLGUARD_MONITOR"])
def test_unknown_variables_are_refused(tmp_path: Path, variable: str) -> None:
    """A variable that begins like ours and is none is refused: it is a slip of the pen."""
    with pytest.raises(InvalidSetting, match=f"{variable}: unknown variable"):
        _load(tmp_path, **{variable: "1"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is asked for and is not there is an error that says how to make one."""
    with pytest.raises(InvalidSetting, match=r"nowhere\.toml: cannot be read.*rollguard init"):
        Settings.load(tmp_path / "nowhere.toml", {})


def test_deploy_is_deploy_and_watch(tmp_path: Path) -> None:
    """`guard.deploy` makes the version live and starts its session; live code again changes nothing."""
    (tmp_path / "rollguard.toml").write_text("")
    with Rollguard.from_settings(tmp_path / "rollguard.toml", {}) as guard:
        first = guard.deploy("t", code(1, "t"), reason="first")
        second = guard.deploy("t", code(2, "t"), reason="better", created_by="agent")
        again = guard.deploy("t", code(2, "t"))
        assert (first.version_number, second.version_number, again.version_number) == (1, 2, 2)
        assert (again.session_id, again.changed, second.changed) == (second.session_id, False, True)
        assert [s.session_id for s in guard.monitor.get_active_sessions()] == [second.session_id]
        assert guard.monitor.get_session(first.session_id or 0).status == "superseded"
        assert [v.created_by for v in guard.versions.get_version_history("t")] == ["agent", "human"]


@pytest.mark.parametrize("fsync", [True, False])
def test_the_spool_can_be_left_to_the_system(tmp_path: Path, *, fsync: bool) -> None:
    """With `spool_fsync = false` what waits while the database is away is not forced to the disk."""
    (tmp_path / "rollguard.toml").write_text(f"[record]\nspool_fsync = {str(fsync).lower()}\n")
    with Rollguard.from_settings(tmp_path / "rollguard.toml", {}) as guard:
        assert guard.registry.recorder.spool.fsync is fsync


def test_improvers(tmp_path: Path) -> None:
    """Improvers are asked in the order of the file; each gets the variables that it names."""
    settings = _load(
        tmp_path,
        "[[improve.improvers]]\nkind = 'retry'\n"
        "[[improve.improvers]]\nkind = 'command'\nname = 'coder'\ncommand = ['./x']\nenvironment = ['KEY', 'NO']\n"
        "[[improve.improvers]]\nkind = 'callable'\nfunction = 'repairs_of_a_test:Repairs'\n"
        "[[improve.improvers]]\nkind = 'model'\nmodel = 'coder-1'\nbase_url = 'http://localhost/v1'\nkey_env = 'KEY'\n"
        "[[improve.improvers]]\nkind = 'earlier_version'\n",
        KEY="the-secret",
        OTHER="not given",
    )
    assert settings.improver_variables == {"KEY": "the-secret"}
    assert "the-secret" not in repr(settings)
    (tmp_path / "repairs_of_a_test.py").write_text(
        "class Repairs:\n    def propose(self, brief):\n        return brief.source + '#'\n"
    )
    with Rollguard(settings, adopt=False) as guard:
        assert guard.improvers.names == ("retry", "coder", "callable", "model", "earlier_version")
        (answer,) = guard.improvers.ask(a_brief(), only="callable").answers
        assert answer.proposal is not None
        assert answer.proposal.source.endswith(b"#")
    with Rollguard(_load(tmp_path), adopt=False) as guard:
        assert guard.improvers.names == ()


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("kind = 'magic'", "is not one of"),
        ("kind = 'command'", "command: missing"),
        ("kind = 'callable'", "function: missing"),
        ("kind = 'callable'\nfunction = 'no path'", "is not an import path"),
        ("kind = 'model'", "model: missing"),
        ("kind = 'model'\nmodel = 'm'\nbase_url = 'nowhere'", "base_url: is no URL"),
        ("kind = 'retry'\ncommand = ['x']", 'command: has no meaning where kind is "retry"'),
        ("kind = 'model'\nmodel = 'm'\nkey = 'sk-1'", "key: unknown setting; the known ones are kind, name, command"),
        ("kind = 'retry'\n[[improve.improvers]]\nkind = 'retry'", "two are named retry"),
    ],
)
def test_improvers_that_are_invalid(tmp_path: Path, entry: str, says: str) -> None:
    """An improver that lacks what it needs, or has what has no meaning for it, is refused by its key."""
    with pytest.raises(InvalidSetting, match=r"improve\.improvers") as raised:
        _load(tmp_path, f"[[improve.improvers]]\n{entry}\n")
    assert says in str(raised.value)
    assert "sk-1" not in str(raised.value)
