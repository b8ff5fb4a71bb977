CREATE TABLE watchers (
    watcher_id VARCHAR(255) NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    checked_at TIMESTAMP WITH TIME ZONE,
    interval_seconds FLOAT NOT NULL,
    reported_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_watchers PRIMARY KEY (watcher_id)
);

COMMENT ON COLUMN watchers.seen_at IS 'its latest sign of life, by the clock of the database';

COMMENT ON COLUMN watchers.checked_at IS 'when it last finished a cycle over the sessions';

COMMENT ON COLUMN watchers.reported_at IS 'when people were notified that it is silent or behind';
