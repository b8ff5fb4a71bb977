CREATE TABLE shadow_test_results (
    test_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    candidate_sha256 VARCHAR(64) NOT NULL,
    test_count INTEGER NOT NULL,
    agreements INTEGER NOT NULL,
    disagreements INTEGER NOT NULL,
    agreement_rate FLOAT,
    passed BOOLEAN NOT NULL,
    differences TEXT NOT NULL,
    errors TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_shadow_test_results PRIMARY KEY (test_id),
    CONSTRAINT ck_shadow_test_results_counts CHECK (agreements + disagreements = test_count)
);

CREATE INDEX ix_shadow_test_results_tool_name_completed_at ON shadow_test_results (tool_name, completed_at);

CREATE TABLE replay_test_results (
    test_id SERIAL NOT NULL,
    tool_name VARCHAR(255) NOT NULL,
    candidate_sha256 VARCHAR(64) NOT NULL,
    replay_count INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    success_rate FLOAT,
    passed BOOLEAN NOT NULL,
    improvements_count INTEGER NOT NULL,
    regressions_count INTEGER NOT NULL,
    differences TEXT NOT NULL,
    errors TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_replay_test_results PRIMARY KEY (test_id),
    CONSTRAINT ck_replay_test_results_counts CHECK (successes + failures = replay_count)
);

CREATE INDEX ix_replay_test_results_tool_name_completed_at ON replay_test_results (tool_name, completed_at);

COMMENT ON COLUMN shadow_test_results.agreement_rate IS 'agreements / test_count';

COMMENT ON COLUMN shadow_test_results.differences IS 'JSON list: the inputs with another outcome, and both outcomes';

COMMENT ON COLUMN shadow_test_results.errors IS 'JSON list: why it did not pass, in words';

COMMENT ON COLUMN replay_test_results.success_rate IS 'successes / replay_count';

COMMENT ON COLUMN replay_test_results.improvements_count IS 'calls that failed when they were recorded';

COMMENT ON COLUMN replay_test_results.regressions_count IS 'calls that succeeded when they were recorded';

COMMENT ON COLUMN replay_test_results.differences IS 'JSON list: the inputs with another outcome, and both outcomes';

COMMENT ON COLUMN replay_test_results.errors IS 'JSON list: why it did not pass, in words';

CREATE VIEW tool_testing_history AS
SELECT
    'shadow' AS kind,
    test_id,
    tool_name,
    candidate_sha256,
    test_count,
    agreement_rate AS rate,
    passed,
    started_at,
    completed_at
FROM shadow_test_results
UNION ALL
SELECT
    'replay' AS kind,
    test_id,
    tool_name,
    candidate_sha256,
    replay_count AS test_count,
    success_rate AS rate,
    passed,
    started_at,
    completed_at
FROM replay_test_results;

CREATE VIEW testing_summary AS
SELECT
    tool_name,
    CAST(SUM(CASE WHEN kind = 'shadow' THEN 1 ELSE 0 END) AS INTEGER) AS shadow_tests,
    CAST(SUM(CASE WHEN kind = 'shadow' AND passed THEN 1 ELSE 0 END) AS INTEGER) AS shadow_tests_passed,
    CAST(SUM(CASE WHEN kind = 'replay' THEN 1 ELSE 0 END) AS INTEGER) AS replay_tests,
    CAST(SUM(CASE WHEN kind = 'replay' AND passed THEN 1 ELSE 0 END) AS INTEGER) AS replay_tests_passed,
    MAX(completed_at) AS last_tested_at
FROM tool_testing_history
GROUP BY tool_name
