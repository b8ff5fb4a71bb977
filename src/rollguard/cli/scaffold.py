"""The files that `rollguard init` writes."""

from __future__ import annotations

SETTINGS = """\
# Rollguard's settings. A line that begins with '#' shows a default; take the '#' away to change it.
# The environment overrides this file: ROLLGUARD_DATABASE, ROLLGUARD_MONITOR__MIN_EXECUTIONS=20, ...

# Where executions, versions and sessions are kept. A relative path starts at this file's folder.
# For more than one machine: "postgresql://user:password@host/database"
database = "sqlite:///rollguard.db"

# The folder of tools, one Python file each.
tools_dir = "tools"

# Whether versions that go live on another machine with the same database are written into this folder too.
# follow = true

# Who may read the files that Rollguard creates for itself: "owner", "group", or "umask" (as the process's umask says).
# file_access = "owner"

# How a deployment is monitored and judged.
[monitor]
# monitoring_window_hours = 24   # how long it is monitored
# baseline_window_days = 7       # how far back its baseline reaches
# regression_threshold = 0.15    # the drop of the success rate that rolls it back: 15 percentage points
# min_executions = 10            # calls needed before and after it
# alpha = 0.05                   # the evidence rule: the bound on false alarms for an unchanged tool
# delta = 0.0                    # the evidence rule: the rise of the failure rate that is accepted
# decision = "threshold"         # "evidence": rolls back when an anytime-valid test says so, false alarms below alpha
# fast_triggers = "with_evidence"  # 3 failures in a row and the like; "alone" needs no evidence; "off"
# rollback_on_slowdown = false   # true rolls back on evidence of a slowdown too
# rollback_on_score = false      # true rolls back on evidence that answers score lower too
# caller_errors = []             # error types that are the caller's fault, such as ["ValidationError"]
# collapse_retries = 0.0         # seconds: a failed call repeated this soon with the same parameters does not count
# baseline = "before"            # "same_hours" compares with the same hours of the week only
# baseline_counts = "good_versions"  # "contract" counts bad versions and outages in the baseline too
# extend_until_sufficient = 0    # hours to monitor longer if there are not enough calls
# (hold_on_external, true or false: wait while an outage explains the failures. By default with "evidence" only.)
# mode = "act"                   # "observe" records and alerts, and never rolls back
# max_rollbacks_per_day = 3      # automatic rollbacks of one tool in 24 hours; 0 is no limit
# confirm = "off"                # "concurrent": the version before serves half of the calls again before a rollback
# confirm_calls = 300            # how many calls of both versions that takes at most
# confirm_minutes = 120.0        # and how long
# confirm_at_bound = "hold"      # without an answer by then; "roll_back" rolls back all the same
# rollout = []                   # [0.1, 0.25, 0.5]: new versions serve beside the live one first, at these shares
# rollout_stage_minutes = 60.0   # how long a share lasts at least
# rollout_stage_units = 50       # calls, or requests, that a share needs at least
# rollout_limit_hours = 12.0     # then the old version serves alone again, unless the new one was promoted
# rollout_unit_seconds = 60.0    # then a call beside another version has failed, and a request is over
# rollout_amend_seconds = 0.0    # how long the outcome of such a call may be amended; counting waits for it

# How often `rollguard watch` checks.
[watch]
# check_interval_seconds = 300

# What is recorded of each call.
[record]
# store_payloads = true          # false keeps no parameters and no results
# payload_limit = 16384          # larger JSON is truncated to this many bytes
# busy_timeout_seconds = 5.0     # how long to wait for another process's lock
# durable = false                # true writes every execution through before its call returns
# flush_interval_seconds = 0.1   # the longest time that an execution waits in memory
# buffer_size = 50000            # the most that wait in memory; further ones wait on disk
# retention_days = 30            # how long each call is kept; counts stay. 0 keeps calls for ever
# redact = { names = [] }        # names of secrets, beside api_key, password, token and the like

# Who is notified of rollbacks and slowdowns.
[notify]
# log = true
# webhook_urls = []              # ["https://example.com/hook"]
# webhook_timeout_seconds = 5.0
# notifiers = []                 # ["my_package.alerts:Pager"]
# parameters = false             # true: alerts show what failed calls were given

# A tool may override any key of [monitor], and say which of its results are failures.
# [tools.calculate]
# regression_threshold = 0.10
# [tools.calculate.failure]
# keys = ["error"]               # {"error": "..."} is a failure
# values = { ok = [false] }      # {"ok": false} is one too
"""

EXAMPLE_NAME = "calculate"

EXAMPLE = '''\
"""A calculator for agents: models are bad at arithmetic, Python is not."""

import ast
import operator

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def calculate(expression: str) -> float:
    """Work out an arithmetic expression.

    Args:
        expression: numbers, parentheses and + - * / // %, such as "(2 + 3) * 4".
    """
    return _value(ast.parse(expression, mode="eval").body)


def _value(node):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand))
    raise ValueError(f"not arithmetic: {ast.unparse(node)}")
'''
