WITH added AS (
    INSERT INTO tool_execution_deltas (
        tool_name, version_number, minute, error_type, executions, successes, timed, duration_sum_ms, histogram,
        amended
    )
    SELECT g.tool_name, g.version_number, 'epoch'::timestamptz + g.minute * interval '1 minute', g.error_type,
           g.executions, g.successes, g.timed, g.duration_sum_ms, CAST(g.histogram AS bigint[]), g.amended
    FROM unnest(CAST(:tool_name AS text[]), CAST(:version_number AS int[]), CAST(:minute AS bigint[]),
                CAST(:error_type AS text[]), CAST(:executions AS bigint[]), CAST(:successes AS bigint[]),
                CAST(:timed AS bigint[]), CAST(:duration_sum_ms AS float8[]), CAST(:histogram AS text[]),
                CAST(:amended AS bigint[]))
         AS g (tool_name, version_number, minute, error_type, executions, successes, timed, duration_sum_ms, histogram,
               amended)
),
requested AS (
    INSERT INTO request_arrivals (tool_name, request_id)
    SELECT * FROM unnest(CAST(:tools AS text[]), CAST(:requests AS text[]))
)
SELECT pg_notify('rollguard_executions', tool_name) FROM deployment_monitoring
WHERE status = 'active' AND tool_name = ANY (CAST(:tool_name AS text[]))
