"""What another program inserts is checked for what counting cannot do with: one such row stopped every check.

A duration that is no number, or so large that a sum of durations is infinite, is refused by both databases. On SQLite
also an outcome that is none, and an id that counting has passed already: such a row would never be counted. There an
id whose row is deleted may be given again, so counting goes back to the highest that is left.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

POSTGRESQL = (
    "UPDATE tool_executions SET duration_ms = NULL WHERE duration_ms > 1e15",  # NaN is greater than every number there
    "ALTER TABLE tool_executions ADD CONSTRAINT ck_tool_executions_duration_limit CHECK (duration_ms <= 1e15)",
)

_TIME = """NEW.executed_at NOT GLOB
  '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'"""
_REFUSED = {
    f"{_TIME} AND strftime('%s', NEW.executed_at) IS NULL": (
        "executed_at must be a UTC time such as 2026-01-31 12:00:00"
    ),
    "typeof(NEW.duration_ms) NOT IN ('real', 'null') OR NEW.duration_ms > 1e15": (
        "duration_ms must be a number of milliseconds, 0 to 1e15"
    ),
    "NEW.success NOT IN (0, 1)": "success must be TRUE or FALSE",
    "typeof(NEW.version_number) NOT IN ('integer', 'null')": "version_number must be a whole number",
    "NEW.id <= (SELECT rolled_to FROM rollup_state) OR NEW.id >= 1 << 62": (
        "id must be left out: executions are counted in its order"
    ),
}

# One trigger for all of it: a second one would cost every insert more than a longer condition does.
SQLITE = (
    "DROP TRIGGER tool_executions_time",
    f"""
CREATE TRIGGER tool_executions_checked AFTER INSERT ON tool_executions
WHEN {_TIME} OR {" OR ".join(list(_REFUSED)[1:])}
BEGIN
  {"".join(f"SELECT RAISE(ABORT, '{why}') WHERE {what};" for what, why in _REFUSED.items())}
  UPDATE tool_executions SET executed_at = strftime('%Y-%m-%d %H:%M:%f000', NEW.executed_at) WHERE id = NEW.id;
END""",
    """
CREATE TRIGGER tool_executions_deleted AFTER DELETE ON tool_executions
WHEN OLD.id >= (SELECT rolled_to FROM rollup_state)
BEGIN
  UPDATE rollup_state SET rolled_to = (SELECT COALESCE(MAX(id), 0) FROM tool_executions)
  WHERE rolled_to > (SELECT COALESCE(MAX(id), 0) FROM tool_executions);
END""",
)


def upgrade() -> None:
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)
