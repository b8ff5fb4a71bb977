"""Real databases, real folders of tools, and a clock that tests set themselves."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.model.session import Session
from rollguard.registry.serve import load_checks
from rollguard.rollback import executor, investigation_of
from rollguard.sandbox import ToolCheck, check_tool
from rollguard.store import store as stores
from rollguard.store.database.engine import Database
from rollguard.store.schema import migrate
from tests.postgres import NOW, PostgresServer

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "same")
settings.register_profile(
    "same",  # the same examples in every run
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    database=None,
)
settings.register_profile(
    "explore",  # other ones in every run, and more of them
    parent=settings.get_profile("same"),
    max_examples=600,
    derandomize=False,
    print_blob=True,
)
settings.load_profile(PROFILE)


def examples(count: int) -> settings:
    """So many examples, instead of the profile's 40; ten times as many where it explores."""
    return settings(max_examples=count * (10 if PROFILE == "explore" else 1))


# What `make test-fast` leaves out beside PostgreSQL: what takes the most of a run's time, by file.
SLOW = (
    "faults",
    *(f"cli/test_{name}" for name in ("backtest", "help", "hostile_texts", "processes", "versions")),
    "compat/test_properties",
    *(f"contract/test_{name}" for name in ("queries", "sql_page", "views")),
    "evaluate",
    *(f"judge/test_{name}" for name in ("evidence", "policy")),
    *(f"monitor/test_{name}" for name in ("after_rollback", "external", "state_machine")),
    *(f"record/test_{name}" for name in ("buffer", "recorder", "self_recording", "spool")),
    *(
        f"registry/test_{name}"
        for name in ("calls", "cut_short", "discovery", "following", "guard", "names", "processes")
    ),
    "registry/test_self_recording",
    "sandbox",
    *(f"store/test_{name}" for name in ("bulk", "failures", "forks", "held_types", "migrations", "replaced_file")),
    *(f"store/test_{name}" for name in ("retention", "rollups")),
    *("test_benchmarks", "test_demo", "test_docs", "test_doctor", "test_studies"),
)

# What these show depends least on the database: `make test` runs them on SQLite, `make long` on PostgreSQL.
SQLITE_FIRST = (
    *(f"acceptance/test_{name}" for name in ("configuration", "report", "severity", "windows")),
    "cli",
    "contract/test_sql_page",
    "evaluate",
    "improve",
    "investigate",
    "judge",
    "loop/test_improvement",
    *(
        f"monitor/test_{name}"
        for name in ("after_rollback", "arrivals", "baseline", "deciding", "elsewhere", "external")
    ),
    *(f"monitor/test_{name}" for name in ("hangs", "invalid_rules", "investigation", "journal", "late")),
    "notify",
    *(f"record/test_{name}" for name in ("failed_at", "requests", "safe_recording", "scores", "tags")),
    *(f"registry/test_{name}" for name in ("calls", "docs", "edits", "names", "self_recording", "stale_code")),
    "rehearse/test_testers",
    "releases",
    "rollout/test_canary",
    *(f"service/test_{name}" for name in ("api", "pages")),
    *("test_demo", "test_docs", "test_doctor"),
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has them, and every process they start, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A store compiles each of its statements once. The tests open thousands: those of one kind of database share them.
COMPILED: dict[Any, Any] = {}
for kind in (SQLiteDialect, PGDialect):
    kind.__eq__ = lambda one, other: type(one) is type(other)  # type: ignore[method-assign]
    kind.__hash__ = lambda one: hash(type(one))  # type: ignore[method-assign]


@sa.event.listens_for(sa.Engine, "engine_connect")
def share_compiled(connection: sa.Connection) -> None:
    connection.execution_options(compiled_cache=COMPILED)


LOADED: dict[tuple[str, bytes | tuple[tuple[str, bytes], ...]], ToolCheck] = {}


def check_once(name: str, code: bytes | dict[str, bytes], path: Path, **options: Any) -> ToolCheck:
    """What a child process says of code; it takes 15 ms, so of code that loads it is asked once in a test process."""
    key = name, tuple(code.items()) if isinstance(code, dict) else code
    found = LOADED.get(key) or check_tool(name, code, path, **options)
    if found.loads:
        LOADED[key] = found
    return found


load_checks.check_tool = check_once  # type: ignore[attr-defined]

# A rollback waits 0.2 s for its investigation. On a busy machine that is too short for what tests expect it to find.
executor.investigation_of = partial(investigation_of, within=60.0)  # type: ignore[attr-defined]

MADE: list[str] = []


def migrate_once(database: Database) -> None:
    """Migrations of an empty SQLite file take a tenth of a second: their outcome is kept, and made in a hundredth."""
    fresh = database.dialect == "sqlite" and migrate.current(database) is None
    if fresh and MADE:
        with database.write() as connection:
            if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0:
                for statement in MADE:
                    connection.exec_driver_sql(statement)
    migrate.migrate(database)
    if fresh and not MADE:
        with database.read() as connection:
            MADE.extend(list(connection.connection.driver_connection.iterdump())[1:-1])  # type: ignore[union-attr]


stores.migrate = migrate_once  # type: ignore[attr-defined]

MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ["TMPDIR"] = str(MEMORY)  # nothing here has to survive, and on a slow disk the tests only wait for it
    tempfile.tempdir = None

DATABASES = ("sqlite", "postgresql")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and what needs PostgreSQL."""
    here = Path(__file__).parent
    for item in items:
        file = item.path.relative_to(here).as_posix()
        postgresql = "postgres" in item.name or "postgres" in getattr(item, "fixturenames", ())
        if postgresql or file.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        if postgresql and (file.startswith(SQLITE_FIRST) or item.get_closest_marker("sqlite_first")):
            item.add_marker(pytest.mark.long)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_report_header() -> str:
    """What decides which examples and which steps there are in this run."""
    return f"hypothesis profile: {PROFILE}; FAULTS_SEED={os.environ.get('FAULTS_SEED', '0')}"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three workers for two cores: a third of the time the tests wait, for other processes above all."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[], PostgresServer]]:
    """The PostgreSQL server of this test process, started when it is first asked for."""
    started: list[PostgresServer] = []

    def server() -> PostgresServer:
        if not started:
            started.append(PostgresServer())
        return started[0]

    yield server
    for one in started:
        one.stop()


@pytest.fixture
def postgres(postgres_server: Callable[[], PostgresServer]) -> Iterator[PostgresServer]:
    """The PostgreSQL server of this test process, for one test."""
    server = postgres_server()
    yield server
    server.drop_databases()


@pytest.fixture(params=DATABASES)
def dialect(request: pytest.FixtureRequest) -> str:
    """Each test that uses this runs once on every database."""
    return str(request.param)


@pytest.fixture
def new_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes URLs of fresh, empty databases of this dialect."""
    numbers = itertools.count(1)

    def make() -> str:
        if dialect == "sqlite":
            return f"sqlite:///{tmp_path}/store-{next(numbers)}.db"
        return request.getfixturevalue("postgres").new_database(migrated=False)

    return make


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: a copy takes a hundredth of the time of the migrations."""
    file = tmp_path_factory.mktemp("template") / "rollguard.db"
    ExecutionStore(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def new_store_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes URLs of fresh stores of this dialect, with nothing in them."""
    numbers = itertools.count(1)

    def make() -> str:
        if dialect == "sqlite":
            file = tmp_path / f"copy-{next(numbers)}.db"
            shutil.copy(request.getfixturevalue("sqlite_template"), file)
            return f"sqlite:///{file}"
        return request.getfixturevalue("postgres").new_database()

    return make


@pytest.fixture
def url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a fresh store."""
    if dialect == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "rollguard.db")
        return f"sqlite:///{tmp_path}/rollguard.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def store(url: str) -> Iterator[ExecutionStore]:
    """A fresh store."""
    with ExecutionStore(url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _processes() -> Iterator[None]:
    """No process that a test started lives longer than the test."""
    from tests.processes import end_processes

    yield
    end_processes()


@pytest.fixture
def tools_dir(tmp_path: Path) -> Path:
    """An empty folder for tools."""
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


@pytest.fixture
def registry(store: ExecutionStore, tools_dir: Path) -> ToolRegistry:
    """A registry of an empty folder."""
    return ToolRegistry(tools_dir, store=store)


@pytest.fixture
def monitor(store: ExecutionStore, registry: ToolRegistry) -> DeploymentMonitor:
    """A monitor with the contract's defaults."""
    return DeploymentMonitor(execution_store=store, tool_registry=registry)


@pytest.fixture
def guard(store: ExecutionStore, registry: ToolRegistry, monitor: DeploymentMonitor) -> Guard:
    """A tool under watch, and a clock."""
    return Guard(store, registry, monitor)


def code(version: int, tool: str = "my_tool") -> str:
    """Source of a tool whose versions differ."""
    return f"def {tool}(x: int = 0) -> int:\n    return x + {version}\n"


class Guard:
    """Shorthand for stories: deploy, let calls happen, check, at times of the story's own choosing."""

    def __init__(self, store: ExecutionStore, registry: ToolRegistry, monitor: DeploymentMonitor) -> None:
        self.store, self.registry, self.monitor = store, registry, monitor
        self.now = NOW

    def deploy(self, version: int, *, tool: str = "my_tool", at: datetime | None = None) -> int:
        """Deploy a version without watching it."""
        return self.registry.deploy(tool, code(version, tool), deployed_at=at or self.now)

    def calls(
        self,
        successes: int,
        failures: int,
        *,
        start: datetime,
        hours: float = 1.0,
        tool: str = "my_tool",
        ms: float = 10.0,
    ) -> None:
        """Record executions spread evenly over `hours` from `start` on, the failures in between."""
        total = successes + failures
        self.store.store_tool_executions(
            {
                "tool_name": tool,
                "success": (i * failures) // total == ((i + 1) * failures) // total,
                "duration_ms": ms,
                "error": None,
                "executed_at": start + timedelta(hours=hours) * i / total,
            }
            for i in range(total)
        )

    def watch(self, *, tool: str = "my_tool", at: datetime | None = None, **overrides: object) -> int:
        """Start a session for a deployment at `at`."""
        moment = at or self.now
        return self.monitor.start_monitoring(tool, moment, now=moment, **overrides)

    def session(self, session_id: int) -> Session:
        return self.monitor.get_session(session_id)
