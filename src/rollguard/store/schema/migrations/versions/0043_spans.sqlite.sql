CREATE TABLE otlp_spans (
    trace_id VARCHAR(32) NOT NULL,
    span_id VARCHAR(16) NOT NULL,
    parent_id VARCHAR(16),
    due_at DATETIME NOT NULL,
    call TEXT,
    execution TEXT,
    failed TEXT,
    CONSTRAINT pk_otlp_spans PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;

CREATE INDEX ix_otlp_spans_due_at ON otlp_spans (due_at);

CREATE INDEX ix_otlp_spans_waiting ON otlp_spans (due_at) WHERE execution IS NOT NULL
