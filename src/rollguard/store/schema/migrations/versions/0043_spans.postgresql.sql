CREATE TABLE otlp_spans (
    trace_id VARCHAR(32) NOT NULL,
    span_id VARCHAR(16) NOT NULL,
    parent_id VARCHAR(16),
    due_at TIMESTAMPTZ NOT NULL,
    call TEXT,
    execution TEXT,
    failed TEXT,
    CONSTRAINT pk_otlp_spans PRIMARY KEY (trace_id, span_id)
);

CREATE INDEX ix_otlp_spans_due_at ON otlp_spans (due_at);

CREATE INDEX ix_otlp_spans_waiting ON otlp_spans (due_at) WHERE execution IS NOT NULL;

COMMENT ON TABLE otlp_spans IS
    'spans of calls that several spans may be of, for the minutes in which others may arrive';
COMMENT ON COLUMN otlp_spans.parent_id IS ''''' for none; NULL while only a log is known';
COMMENT ON COLUMN otlp_spans.due_at IS 'when it is no longer waited for other spans of the call';
COMMENT ON COLUMN otlp_spans.call IS 'JSON: of which call it is a span; NULL for any other span';
COMMENT ON COLUMN otlp_spans.execution IS 'JSON: what is recorded of it; NULL once the call is recorded';
COMMENT ON COLUMN otlp_spans.failed IS 'JSON: the exception that was logged within it';

-- As before, and without the calls that are not judged because of how they were sampled.
DO $$
DECLARE
    before text := pg_get_viewdef('version_history_with_metrics'::regclass);
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW version_history_with_metrics AS ' || regexp_replace(
        before, '''ControlFlow''(::[a-z ]+)', '''ControlFlow''\1, ''TailSampled''\1', 'g'
    );
END $$
